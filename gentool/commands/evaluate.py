"""Measure a model on held-out data."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from gentool.commands.reader import Examples, Output, announce, dataset_of, held_out
from gentool.device import Device
from gentool.errors import Unavailable, UsageError, nearest
from gentool.metrics.evaluation import BLOCK, Evaluation, Metric
from gentool.training.runs import Loaded, load


def evaluate(
    *,
    ckpt: str | None,
    which: str | None,
    weights: Literal["ema", "raw"] | None,
    device: Device,
    sampler: Mapping[str, Any],
    dataset: Mapping[str, str | None],
    seed: NonNegativeInt,
    out: str | None,
    metrics: list[str],
    split: Literal["test", "valid", "train"],
    n: PositiveInt | None,
    draws: PositiveInt,
    definitions: Mapping[str, Metric],
) -> Path:
    """Measure a model: a table, and `metrics.json`.

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run.
        which: best, last or step_… of a run.
        weights: ema or raw; None: EMA where there is one.
        device: where it runs.
        sampler: overrides of the model's sampling knobs.
        dataset: where the run's data is now.
        seed: of every noise.
        out: the folder to write to; None: a fresh one.
        metrics: names of what is measured.
        split: what it is measured on.
        n: the first so many examples; None: all.
        draws: importance samples of each log p(x).
        definitions: the metrics there are, by name.

    Returns:
        The folder.

    Raises:
        UsageError: if there is no such metric, or the split is empty.
    """
    for name in metrics:
        if name not in definitions:
            raise UsageError(f"metrics={name}: no such metric; {nearest(name, definitions)}")
    loaded = load(ckpt, which=which, weights=weights, device=device, sampler=sampler)
    announce(loaded)
    data = dataset_of(loaded, dataset, device.torch)
    examples = held_out(data, seed, split=split, n=n)
    blocks = partial(examples.blocks, BLOCK, with_labels=loaded.model.conditional)
    evaluation = Evaluation(loaded.model, blocks, examples.n, seed=seed, density=data.density)
    chosen = {name: definitions[name] for name in metrics}
    report = measure(chosen, evaluation, _stamp(loaded, examples, seed))
    print(table(report))
    output = Output()
    output.text("metrics.json", json.dumps(report, indent=2) + "\n")
    return output.write("evaluate", loaded, out)


def _stamp(loaded: Loaded, examples: Examples, seed: int) -> dict[str, Any]:
    """Return what every metric was measured under."""
    stamp = {
        "split": examples.split,
        "n": examples.n,
        "binarize": loaded.config["dataset"].get("binarize", "none"),
        "weights": loaded.weights,
        "seed": seed,
    }
    return {**stamp, "conditional": True} if loaded.model.conditional else stamp


def measure(metrics: Mapping[str, Metric], evaluation: Evaluation, stamp: Mapping[str, Any]) -> dict[str, Any]:
    """Compute metrics; one that the model or its data does not allow is listed with the reason.

    Args:
        metrics: by name.
        evaluation: the model and its examples.
        stamp: what every metric is measured under.

    Returns:
        What `metrics.json` holds: metrics, standard_error, protocol, unavailable; each by name.
    """
    report: dict[str, Any] = {"metrics": {}, "standard_error": {}, "protocol": {}, "unavailable": {}}
    for name, metric in metrics.items():
        try:
            value, error, protocol = metric(evaluation)
        except Unavailable as reason:
            report["unavailable"][name] = str(reason)
            continue
        report["metrics"][name] = value
        report["standard_error"][name] = error
        report["protocol"][name] = {**stamp, **protocol}
    return report


def table(report: Mapping[str, Any]) -> str:
    """Return a report as aligned text: value, standard error and protocol of each metric, and what is unavailable."""
    protocols = report["protocol"].values()
    shared = {key for p in protocols for key in p if all(key in q and q[key] == p[key] for q in protocols)}
    lines = [("metric", "value", "± s.e.", "")]
    for name, value in report["metrics"].items():
        error = report["standard_error"][name]
        protocol = _words({key: each for key, each in report["protocol"][name].items() if key not in shared})
        lines.append((name, f"{value:.4f}", "" if error is None else f"{error:.4f}", protocol))
    a, b, c = (max(len(line[i]) for line in lines) for i in range(3))
    rows = [f"{name:<{a}}  {value:>{b}}  {error:>{c}}  {protocol}" for name, value, error, protocol in lines]
    missing = [f"{name}: unavailable: {reason}" for name, reason in report["unavailable"].items()]
    first: Mapping[str, Any] = next(iter(protocols), {})
    rows.append(_words({key: each for key, each in first.items() if key in shared}))
    return "\n".join([*(row.rstrip() for row in rows if len(lines) > 1), *missing])


def _words(protocol: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in protocol.items())
