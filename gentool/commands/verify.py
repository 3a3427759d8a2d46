"""Hold a checkpoint to the laws of its capabilities."""

import json
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt

from gentool.commands.reader import Output, announce
from gentool.device import Device
from gentool.errors import RunError
from gentool.laws import Subject, Verdict, examples
from gentool.laws import verify as hold
from gentool.models.base import GenerativeModel
from gentool.training.runs import Loaded, build_model, load

EXAMPLES = 8
"""Samples of the model that the laws are tried on."""


def verify(
    *,
    ckpt: str | None,
    which: str | None,
    weights: Literal["ema", "raw"] | None,
    device: Device,
    sampler: Mapping[str, Any],
    seed: NonNegativeInt,
    out: str | None,
) -> Path:
    """Hold a model to the laws of what it claims to do: a table, and `laws.json`. No data is needed.

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run.
        which: best, last or step_… of a run.
        weights: ema or raw; None: EMA where there is one.
        device: where it runs.
        sampler: overrides of the model's sampling knobs.
        seed: of the samples that the laws are tried on.
        out: the folder to write to; None: a fresh one.

    Returns:
        The folder.

    Raises:
        RunError: if a law is broken; the message names it.
    """
    loaded = load(ckpt, which=which, weights=weights, device=device, sampler=sampler)
    announce(loaded)
    subject = Subject(loaded.model, examples(loaded.model, EXAMPLES, seed), lambda: _again(loaded, device))
    print(f"{'law':<41} {'result':<9}  detail")
    verdicts = hold(subject, _say)
    results = [verdict.result for verdict in verdicts]
    held, broken = results.count("holds"), results.count("broken")
    untried = len(results) - held - broken
    print(f"{held} laws hold" + (f", {untried} could not be tried" if untried else ""), flush=True)
    output = Output()
    output.text("laws.json", json.dumps([verdict._asdict() for verdict in verdicts], indent=2) + "\n")
    folder = output.write("verify", loaded, out)
    if broken:
        named = "; ".join(f"{verdict.law}: {verdict.detail}" for verdict in verdicts if verdict.result == "broken")
        raise RunError(f"{loaded.path} breaks {broken} of {len(verdicts)} laws: {named}")
    return folder


def _say(verdict: Verdict) -> None:
    print(f"{verdict.law:<41} {verdict.result:<9}  {verdict.detail}", flush=True)


def _again(loaded: Loaded, device: Device) -> GenerativeModel:
    """Build the model of a checkpoint once more, untrained, with the same sampling knobs."""
    other = build_model(loaded.config, loaded.model.space, None)
    other.sampler = copy(loaded.model.sampler)
    device.place(other)
    return other
