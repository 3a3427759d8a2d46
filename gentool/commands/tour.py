"""Every family on one dataset, one page."""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

import gentool
from gentool import config
from gentool.commands.compare import write
from gentool.commands.workers import GRACE, Job, Outcome, outcomes, warm_up
from gentool.comparison import read_runs, unevaluated
from gentool.config import config_dir
from gentool.data.dataset import Dataset
from gentool.device import Device
from gentool.errors import Interrupted, RunError, UsageError, nearest
from gentool.metrics.evaluation import Several
from gentool.space import DataSpace
from gentool.training.console import duration
from gentool.training.folders import OUTPUTS, output_folder

USUAL, DIGITS = "others", 64
"""The key of `seconds` for models without an entry of their own; the dimensions that those seconds were measured on."""

LEAST = 1.0
"""Seconds of training below which a model is left out."""

BUILD = 0.35
"""Seconds of one core that building a model takes where `seconds` was measured: a slower machine shows in it."""

PAGE = 6.0
"""Seconds that reading the runs and writing the page take."""


def tour(
    *,
    dataset: Dataset,
    device: Device,
    minutes: PositiveFloat,
    models: list[str] | None,
    metrics: list[str],
    num_samples: Several,
    n: PositiveInt,
    seconds: dict[str, PositiveFloat],
    seed: NonNegativeInt,
    out: str | None,
) -> Path:
    """Train and evaluate every family on one dataset within some minutes, and compare them on one page.

    Each model is trained and evaluated in a process of its own, as many at once as there are cores (on a GPU one).
    Of the time, what starting and evaluating each model takes is set aside; the rest is training, the same for each.
    Models that this leaves less than a second of training are left out, slowest first, and named before anything is
    trained. What is finished is skipped when the same tour is started again. A family that fails does not stop the
    others.

    Args:
        dataset: the data.
        device: where the runs run.
        minutes: of the whole tour, evaluation and page included.
        models: names of models; None: every one there is.
        metrics: what is measured of each.
        num_samples: of each that are held against the examples.
        n: held-out examples each is measured on, at most.
        seconds: of one core that starting and evaluating a model takes on digits, by its name; `others` for the rest.
        seed: of every run and evaluation.
        out: the tour's folder; None: one that the same words find again.

    Returns:
        The folder.

    Raises:
        UsageError: if there is no such model, none fits the data, or the minutes are too few for any.
        RunError: if no run finishes.
        Interrupted: on a signal; the same command goes on.
    """
    start = time.monotonic()
    name = config.current()["choices"]["dataset"]
    typed = [str(word).lstrip("+") for word in HydraConfig.get().overrides.task]
    words = [f"dataset={name}", *(word for word in typed if word.startswith(("dataset.", "device")))]
    named = [word for word in words if word.startswith("dataset.")]
    folder = Path(out) if out else OUTPUTS / "tour" / _name(name, minutes, seed, named)
    done = [model for model in _asked(models) if _is_measured(folder / "runs" / model)]
    costs = {model: _cost(model, seconds, dataset.space) for model in _asked(models) if model not in done}
    warm_up()
    workers = min(os.cpu_count() or 1, 8) if device.kind == "cpu" else 1
    until = start + 60 * minutes - PAGE - GRACE
    refused, slowness = _built(costs, words)
    costs = {model: slowness * cost for model, cost in costs.items() if model not in refused}
    late = _late(costs, workers * (until - time.monotonic()), refused, done)
    waiting = sorted(costs.keys() - late, key=lambda model: (costs[model], model))
    output_folder("tour", "", str(folder))
    held_out = min(n, len(dataset.test)) or n
    measured = [f"metrics=[{','.join(metrics)}]", f"num_samples={num_samples}", f"n={held_out}"]
    plan = Plan({model: costs[model] for model in waiting}, workers, until)
    print(f"{len(waiting)} models, {duration(plan.share())} of training each, {workers} at a time. Folder: {folder}")
    jobs = _jobs(plan, folder, [*words, f"seed={seed}"], measured)
    threads = max(1, (os.cpu_count() or 1) // workers)
    failed = _visit(outcomes(jobs, count=workers, threads=threads, until=until), folder, plan)
    said = [f"{model} is left out: its evaluation takes about {duration(costs[model])}" for model in late]
    left_out = [*failed, *said, *(f"{model} is refused: {reason}" for model, reason in refused.items())]
    there = [model for model in _asked(models) if _is_measured(folder / "runs" / model)]
    if not there:
        raise RunError(f"no model finished: {'; '.join(left_out)}")
    return write(read_runs([str(folder / "runs" / model) for model in there]), folder, left_out)


class Plan:
    """How the time is shared out.

    Args:
        costs: seconds of starting and evaluating each model that is still to come.
        workers: that work at once.
        until: the end, in seconds of `time.monotonic`.
    """

    def __init__(self, costs: Mapping[str, float], workers: int, until: float) -> None:
        self.waiting, self.workers, self.until = dict(costs), workers, until
        self.total, self._most = len(costs), float("inf")

    def share(self) -> float:
        """Return the next model's seconds of training: no more than an earlier one got, less where time is short."""
        left = self.workers * (self.until - time.monotonic()) - sum(self.waiting.values())
        self._most = min(self._most, max(left / max(len(self.waiting), 1), LEAST / 2))
        return self._most


def too_slow(costs: Mapping[str, float], seconds: float) -> list[str]:
    """Return the models to leave out, slowest first, so that those that stay have a second of training each.

    >>> too_slow({"vae": 2, "ddpm": 30, "gmm": 1}, 20), too_slow({"vae": 2, "ddpm": 30, "gmm": 1}, 60)
    (['ddpm'], [])
    """
    slowest = sorted(costs, key=lambda model: -costs[model])
    kept = sum(costs.values()) + LEAST * len(costs)
    out = []
    for model in slowest:
        if kept <= seconds:
            break
        kept -= costs[model] + LEAST
        out.append(model)
    return out


def _asked(models: Sequence[str] | None) -> list[str]:
    there = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))
    for model in models or []:
        if model not in there:
            raise UsageError(f"models={model}: no such model; {nearest(model, there)}")
    return there if models is None else list(dict.fromkeys(models))


def _is_measured(run: Path) -> bool:
    return (run / "summary.json").is_file() and not unevaluated(read_runs([str(run)]))


def _cost(model: str, seconds: Mapping[str, float], space: DataSpace) -> float:
    """Return the seconds that starting and evaluating a model takes; what they are more than usual grows with d."""
    usual = seconds[USUAL]
    return usual + max(seconds.get(model, usual) - usual, 0.0) * max(space.dims / DIGITS, 0.25)


def _built(models: Iterable[str], words: Sequence[str]) -> tuple[dict[str, str], float]:
    """Build each model once: return why some do not fit the data, and how slow the machine is, 1 or more."""
    refused, count, start = {}, 0, time.monotonic()
    for count, model in enumerate(models, 1):  # noqa: B007, the last number is used
        try:
            gentool.build(f"model={model}", *(word for word in words if not word.startswith("device")))
        except UsageError as reason:
            refused[model] = str(reason)
            print(f"{model} is refused: {reason}", flush=True)
    return refused, max(1.0, (time.monotonic() - start) / (BUILD * max(count, 1)))


def _late(costs: Mapping[str, float], seconds: float, refused: Mapping[str, str], done: Sequence[str]) -> list[str]:
    """Name the models that there is no time for.

    Args:
        costs: seconds that starting and evaluating each model takes.
        seconds: that there are.
        refused: why a model does not fit the data, by model.
        done: models that an earlier start of the same tour finished.

    Returns:
        Their names, the slowest first.

    Raises:
        UsageError: where none is left.
    """
    late = too_slow(costs, seconds)
    if not costs and not done:
        raise UsageError(f"no model fits: {'; '.join(f'{model}: {reason}' for model, reason in refused.items())}")
    if len(late) == len(costs) and not done:
        least = (min(costs.values()) + LEAST + PAGE + GRACE) / 60
        raise UsageError(f"minutes: too few for {', '.join(costs)}; expected about {least:.1f} or more")
    if late:
        print(f"left out, for want of time: {', '.join(late)}; the same command again goes on with them", flush=True)
    return late


def _name(dataset: str, minutes: float, seed: int, words: Sequence[str]) -> str:
    """Return a folder's name that the same words give again."""
    more = hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()[:8]
    return f"{dataset}_{minutes:g}min_seed{seed}" + (f"_{more}" if words else "")


def _jobs(plan: Plan, folder: Path, words: Sequence[str], measured: Sequence[str]) -> Iterator[Job]:
    """Yield what is to be done of each model: trained, or trained on, and evaluated."""
    for model in list(plan.waiting):
        run, commands = folder / "runs" / model, []
        if not (run / "summary.json").is_file():
            stopped = (run / "checkpoints" / "last.pt").is_file()
            fresh = [f"model={model}", *words, f"trainer.minutes={plan.share() / 60:.6f}", f"out={run}"]
            commands.append(["train", *([f"resume={run}"] if stopped else fresh)])
        where = [word for word in words if word.startswith(("device", "seed", "dataset.root", "dataset.path"))]
        commands.append(["evaluate", f"ckpt={run}", *measured, f"out={run / 'evaluate'}", "overwrite=true", *where])
        del plan.waiting[model]
        yield Job(model, commands, folder / "logs" / f"{model}.log")


def _visit(ended: Iterator[Outcome], folder: Path, plan: Plan) -> list[str]:
    """Say how each model ended.

    Args:
        ended: the outcome of each model, as it ends.
        folder: the tour's folder.
        plan: which models there are.

    Returns:
        Sentences about the models that failed or were not begun.

    Raises:
        Interrupted: where a signal stopped the tour.
    """
    failed: list[str] = []
    try:
        for count, outcome in enumerate(ended, 1):
            said = _said(outcome)
            failed += [said] if outcome.code else []
            print(f"{count}/{plan.total}  {said}", flush=True)
    except Interrupted as stop:
        raise Interrupted(f"stopped; the same command goes on, in {folder}", stop.exit_code - 128) from stop
    return failed + [f"{model}: not begun: the time was up" for model in plan.waiting]


def _said(outcome: Outcome) -> str:
    job = outcome.job
    if outcome.is_late:
        return f"{job.name}: not finished: the time was up; log: {job.log}"
    if outcome.code:
        return f"{job.name} failed: {outcome.said or f'exit code {outcome.code}'}"
    return f"{job.name}: {'trained and evaluated' if len(job.commands) > 1 else 'evaluated'}"
