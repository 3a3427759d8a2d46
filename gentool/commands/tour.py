"""Every family on one dataset, one page."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from pydantic import NonNegativeInt, PositiveFloat

import gentool
from gentool import config
from gentool.commands.compare import write
from gentool.commands.program import gentool as run_program
from gentool.comparison import read_runs, unevaluated
from gentool.config import config_dir
from gentool.data.dataset import Dataset
from gentool.device import Device
from gentool.errors import Interrupted, RunError, UsageError, nearest
from gentool.metrics.evaluation import Several
from gentool.training.console import duration
from gentool.training.folders import OUTPUTS, output_folder

SIGNALS = (130, 143)
"""Exit codes of a run that was told to stop."""


def tour(
    *,
    dataset: Dataset,
    device: Device,
    minutes: PositiveFloat,
    models: list[str] | None,
    metrics: list[str],
    num_samples: Several,
    seed: NonNegativeInt,
    out: str | None,
) -> Path:
    """Train every family on one dataset for a share of the minutes, evaluate each, and compare them on one page.

    What is finished is skipped when the same tour is started again. A family that fails does not stop the others.

    Args:
        dataset: the data; built here only to see that it is there.
        device: where the runs run.
        minutes: of training in all; evaluation comes on top.
        models: names of models; None: every one there is.
        metrics: what is measured of each.
        num_samples: of each that are held against the examples.
        seed: of every run and evaluation.
        out: the tour's folder; None: one that the same words find again.

    Returns:
        The folder.

    Raises:
        UsageError: if there is no such model, or none fits the data.
        RunError: if no run finishes.
        Interrupted: on a signal; the same command goes on.
    """
    name = config.current()["choices"]["dataset"]
    typed = [str(word) for word in HydraConfig.get().overrides.task]
    words = [f"dataset={name}", *(word for word in typed if word.startswith(("dataset.", "device")))]
    fitting, refused = _sorted(models, words)
    folder = (
        Path(out)
        if out
        else OUTPUTS / "tour" / _name(name, minutes, seed, [word for word in words if word.startswith("dataset.")])
    )
    output_folder("tour", "", str(folder))
    share = minutes / len(fitting)
    measured = [f"metrics=[{','.join(metrics)}]", f"num_samples={num_samples}"]
    print(f"{len(fitting)} models, {duration(60 * share)} of training each; then each is evaluated. Folder: {folder}")
    failed = []
    for i, model in enumerate(fitting):
        did, said = _visit(model, folder, [*words, f"seed={seed}"], [f"trainer.minutes={share:.6f}"], measured)
        if said:
            failed.append(f"{model} failed: {said}")
        print(f"{i + 1}/{len(fitting)}  {failed[-1] if said else f'{model}: {did}'}", flush=True)
    left_out = [*failed, *(f"{model} is refused: {reason}" for model, reason in refused.items())]
    done = [model for model in fitting if (folder / "runs" / model / "summary.json").is_file()]
    runs = read_runs([str(folder / "runs" / model) for model in done]) if done else []
    missing = {run.folder for run in unevaluated(runs)}
    runs = [run for run in runs if run.folder not in missing]
    if not runs:
        raise RunError(f"no model finished: {'; '.join(left_out)}")
    return write(runs, folder, left_out)


def _sorted(models: Sequence[str] | None, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the models that fit the data, and why the others do not: each is built once."""
    there = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))
    for model in models or []:
        if model not in there:
            raise UsageError(f"models={model}: no such model; {nearest(model, there)}")
    fitting: list[str] = []
    refused = {}
    for model in there if models is None else dict.fromkeys(models):
        try:
            gentool.build(f"model={model}", *(word for word in words if not word.startswith("device")))
            fitting.append(model)
        except UsageError as reason:
            refused[model] = str(reason)
            print(f"{model} is refused: {reason}", flush=True)
    if not fitting:
        raise UsageError(f"no model fits: {'; '.join(f'{model}: {reason}' for model, reason in refused.items())}")
    return fitting, refused


def _name(dataset: str, minutes: float, seed: int, words: Sequence[str]) -> str:
    """Return a folder's name that the same words give again."""
    more = hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()[:8]
    return f"{dataset}_{minutes:g}min_seed{seed}" + (f"_{more}" if words else "")


def _visit(
    model: str, folder: Path, words: Sequence[str], length: Sequence[str], measured: Sequence[str]
) -> tuple[str, str]:
    """Train and evaluate one model, as far as that is not done.

    Args:
        model: its name.
        folder: of the tour.
        words: the data, device and seed, as they are typed.
        length: of the training.
        measured: what is, as it is typed.

    Returns:
        What was done, and what went wrong: empty where nothing did.

    Raises:
        Interrupted: where a signal stopped it.
    """
    run, logs, did = folder / "runs" / model, folder / "logs", []
    code, said = 0, ""
    if not (run / "summary.json").is_file():
        stopped = (run / "checkpoints" / "last.pt").is_file()
        what = [f"resume={run}"] if stopped else [f"model={model}", *words, *length, f"out={run}"]
        code, said = run_program(["train", *what], logs / f"{model}_train.log")
        did.append("trained")
    if code == 0 and unevaluated(read_runs([str(run)])):
        where = [word for word in words if word.startswith(("device", "seed", "dataset.root", "dataset.path"))]
        asked = ["evaluate", f"ckpt={run}", *measured, f"out={run / 'evaluate'}", "overwrite=true", *where]
        code, said = run_program(asked, logs / f"{model}_evaluate.log")
        did.append("evaluated")
    if code in SIGNALS:
        raise Interrupted(f"stopped at {model}; the same command goes on, in {folder}", code - 128)
    return " and ".join(did) or "finished before", (said or f"exit code {code}") if code else ""
