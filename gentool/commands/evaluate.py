"""Measure a model, or samples of one, on held-out data."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from typing_extensions import TypedDict

from gentool import config
from gentool.commands.elsewhere import read_samples
from gentool.commands.reader import Examples, Output, announce, dataset_of, held_out
from gentool.data.dataset import Dataset
from gentool.device import Device
from gentool.errors import Unavailable, UsageError, nearest
from gentool.metrics.evaluation import BLOCK, Data, Draws, Evaluation, Metric, Several
from gentool.metrics.features import FeatureName, features_for
from gentool.metrics.forecast import forecast
from gentool.metrics.pace import duration
from gentool.models.base import GenerativeModel, HasLikelihood, sampler_options
from gentool.probability.ode import EXACT_DIMS
from gentool.training.checkpoints import identity
from gentool.training.runs import Loaded, load


class Standard(TypedDict):
    """What is measured where nothing is asked for.

    Attributes:
        with_likelihood: of a model that has one.
        without_likelihood: of the others, and of samples alone.
    """

    with_likelihood: list[str]
    without_likelihood: list[str]


class Subject(NamedTuple):
    """What is measured: a loaded model, or samples that some other program made.

    Attributes:
        name: of the output folder: `<model>-<dataset>`.
        loaded: the model, or None.
        samples: (n, *shape), or None.
        data: what it is held against.
        stamp: what every metric is measured under.
    """

    name: str
    loaded: Loaded | None
    samples: Tensor | None
    data: Dataset
    stamp: Mapping[str, Any]


def evaluate(
    *,
    ckpt: str | None,
    which: str | None,
    weights: Literal["ema", "raw"] | None,
    device: Device,
    sampler: Mapping[str, Any],
    dataset: Mapping[str, Any] | Any,
    samples: str | None,
    seed: NonNegativeInt,
    out: str | None,
    metrics: list[str] | Literal["full"] | None,
    standard: Standard,
    split: Literal["test", "valid", "train"],
    n: PositiveInt | None,
    costly_examples: PositiveInt,
    num_samples: Several,
    features: FeatureName,
    k: PositiveInt,
    draws: Draws,
    definitions: Mapping[str, Metric],
) -> Path:
    """Measure a model, or samples made elsewhere: a table, and `metrics.json`.

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run.
        which: best, last or step_… of a run.
        weights: ema or raw; None: EMA where there is one.
        device: where it runs.
        sampler: overrides of the model's sampling knobs.
        dataset: where the run's data is now; with `samples`, the dataset itself.
        samples: a folder of pictures or a .npz, measured in a model's place; None: a model is measured.
        seed: of every noise.
        out: the folder to write to; None: a fresh one.
        metrics: names of what is measured; full: all; None: those of `standard`.
        standard: what is measured where nothing is asked for.
        split: what it is measured on.
        n: the first so many examples; None: all.
        costly_examples: where n is None: the first so many, of log p(x) that takes a hundred passes of a network an
            example: along an ODE through images, by importance sampling through convolutions, or with a posterior that
            is fitted to the example.
        num_samples: samples of the model that are held against the examples.
        features: what distances are in; auto: what fits the data.
        k: neighbours of precision, recall, density and coverage.
        draws: of each log p(x), whatever the kind of the likelihood, or by it.
        definitions: the metrics there are, by name.

    Returns:
        The folder.

    Raises:
        UsageError: if there is no such metric, or the split is empty.
    """
    for name in [] if metrics is None or metrics == "full" else metrics:
        if name not in definitions:
            raise UsageError(f"metrics={name}: no such metric; {nearest(name, definitions)}")
    if samples is not None:
        subject = _from_elsewhere(samples, ckpt, dataset, device, seed)
    else:
        loaded = load(ckpt, which=which, weights=weights, device=device, sampler=sampler)
        subject = _from_run(loaded, dataset, device)
    examples = held_out(subject.data, seed, split=split, n=n)
    model = subject.loaded.model if subject.loaded else None
    few = n is None and _is_costly(model)
    scored = replace(examples, n=min(costly_examples, examples.n)) if few else examples
    evaluation = _evaluation(subject, examples, scored, seed)
    usual = standard["with_likelihood" if isinstance(model, HasLikelihood) else "without_likelihood"]
    names = usual if metrics is None else list(definitions) if metrics == "full" else metrics
    stamp = {"split": examples.split, "n": examples.n, **subject.stamp, "seed": seed}
    chosen = {name: definitions[name] for name in names}
    _refuse_features(chosen, evaluation)
    if metrics == "full":
        seconds = forecast(chosen, evaluation)
        print(f"{len(chosen)} metrics: about {duration(seconds)} for the model's part, besides distances between sets")
    report = measure(chosen, evaluation, stamp)
    if subject.loaded is not None:
        report["run"] = identity(subject.loaded.path)  # which checkpoint these numbers are of: `compare` asks
    print(table(report))
    output = Output()
    output.text("metrics.json", json.dumps(report, indent=2) + "\n")
    return output.write("evaluate", subject, out)


def _is_costly(model: GenerativeModel | None) -> bool:
    """Whether log p(x) takes minutes a thousand examples."""
    if not isinstance(model, HasLikelihood) or model.space.dims <= EXACT_DIMS:
        return False
    convolves = any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in model.modules())
    fits = sampler_options(model).get("steps", 0) > 0  # a posterior of each example's own
    return model.likelihood == "ode" or (model.likelihood == "importance" and (convolves or fits))


def _from_run(loaded: Loaded, dataset: Mapping[str, Any] | Dataset, device: Device) -> Subject:
    if isinstance(dataset, Dataset):
        raise UsageError("dataset: a model is measured on the data of its run; another dataset goes with samples=…")
    announce(loaded)
    stamp = {"binarize": loaded.config["dataset"].get("binarize", "none"), "weights": loaded.weights}
    if loaded.model.conditional:
        stamp["conditional"] = True
    if options := sampler_options(loaded.model):
        stamp["sampler"] = options
    return Subject(loaded.name, loaded, None, dataset_of(loaded, dataset, device.torch), stamp)


def _from_elsewhere(
    samples: str, ckpt: str | None, dataset: Mapping[str, Any] | Dataset, device: Device, seed: int
) -> Subject:
    if ckpt is not None:
        raise UsageError(f"ckpt={ckpt} and samples={samples}: one of them is measured at a time")
    if not isinstance(dataset, Dataset):
        raise UsageError("dataset: missing; samples are measured on data, such as dataset=mnist")
    x = read_samples(samples, dataset.space, seed)
    if len(x) < 2:
        raise UsageError(f"samples={samples}: one sample, and no distribution shows in one; expected 2 or more")
    asked = config.current()
    print(f"{samples}: {len(x):,} samples")
    stamp = {"binarize": asked["dataset"].get("binarize", "none"), "samples": samples}
    return Subject(f"samples-{asked['choices']['dataset']}", None, x, dataset.to(device.torch), stamp)


def _evaluation(subject: Subject, examples: Examples, scored: Examples, seed: int) -> Evaluation:
    """Return what metrics see: examples that samples are held against, and the first of them, of log p(x)."""
    loaded, data = subject.loaded, subject.data
    sees_labels = loaded is not None and loaded.model.conditional
    train = Examples(data.train, "train", len(data.train), seed)
    passes = (partial(source.blocks, BLOCK, with_labels=True) for source in (examples, train))
    return Evaluation(
        loaded.model if loaded else None,
        partial(scored.blocks, BLOCK, with_labels=sees_labels),
        scored.n,
        seed=seed,
        density=data.density,
        data=Data(data.space, *passes),
        given=subject.samples,
        checkpoint=loaded.path if loaded else None,
    )


def _refuse_features(metrics: Mapping[str, Metric], evaluation: Evaluation) -> None:
    """Refuse features that were asked for by name and cannot be had, before anything is measured or written."""
    for metric in metrics.values():
        name: FeatureName = getattr(metric, "features", "auto")
        if name != "auto":
            features_for(evaluation, name, getattr(metric, "most_dims", None))


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
    return ", ".join(f"{key} {value}" for key, value in protocol.items() if not isinstance(value, list))
