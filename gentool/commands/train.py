"""Train a model."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import instantiate
from torch import Tensor

from gentool import config as composed
from gentool.data.batches import Batches, ordered
from gentool.data.dataset import Dataset
from gentool.device import Device
from gentool.errors import Diverged, GentoolError, Interrupted, UsageError
from gentool.models.base import Decodes, Encodes, GenerativeModel, Reconstructs
from gentool.plots.fields import draw_fields
from gentool.plots.grids import Pixels, make_grid
from gentool.plots.pictures import draw_examples
from gentool.space import DataSpace
from gentool.training import processes, rng
from gentool.training.checkpoints import atomic_write, versions
from gentool.training.estimates import estimate
from gentool.training.folders import check_out, held, output_folder
from gentool.training.interrupts import Interrupts
from gentool.training.log import RunLog, Silence
from gentool.training.loop import Loop
from gentool.training.optimizers import Factory
from gentool.training.runs import run_name
from gentool.training.schedules import Schedule
from gentool.training.trainer import Trainer
from gentool.training.validation import check_monitor

SHOWN, POINTS = 64, 1000
"""Samples in a grid, and points in a scatter, drawn while training."""

EVALUATION_BATCH, EVALUATION_VALUES = 512, 512 * 3072
"""Examples a batch of a pass, and values: of large images it has fewer. Nothing measured depends on it."""


def train(
    *,
    model: Callable[[DataSpace], GenerativeModel],
    dataset: Dataset,
    optimizer: Callable[..., torch.optim.Optimizer] | Mapping[str, Callable[..., torch.optim.Optimizer]],
    schedule: Callable[[float], float],
    device: Device,
    trainer: Trainer,
    seed: int,
    out: str | None,
    resume: str | None,
    dry_run: bool,
    sweep: Mapping[str, str | None],
    choices: Mapping[str, str],
) -> float | None:
    """Train a model, or go on where a run stopped.

    Args:
        model: builds the model for a space.
        dataset: the data.
        optimizer: builds the optimiser of a player's parameters; one for all, or one for each player.
        schedule: the factor on the learning rate.
        device: where it runs.
        trainer: lengths and intervals.
        seed: of initialisation, batches and noise.
        out: the run's folder, or None.
        resume: the run to go on with, or None.
        dry_run: whether to print an estimate of memory and time, and stop.
        sweep: what a sweep minimises.
        choices: the files the groups took.

    Returns:
        What a sweeper minimises; None where the run has no such value.

    Raises:
        UsageError: if the run to resume is none.
        Diverged: on a non-finite loss or gradient.
        Interrupted: on a signal, after saving.
    """
    if device.processes > 1 and not processes.launched():
        return processes.launch(partial(worker, composed.current()), device.processes)
    processes.join(device.kind)
    built = model(dataset.space)
    device.place(built)
    data = dataset.to(device.torch)
    make = partial(_loop, built, data, optimizer, schedule, device, trainer, seed)
    if dry_run:
        print(
            f"{estimate(make(Path(), {}))}\nnothing was written; --cfg job in place of dry_run=true prints the config"
        )
        return None
    if resume is not None and not (Path(resume) / "checkpoints" / "last.pt").is_file():
        raise UsageError(f"resume={resume}: no run there (expected checkpoints/last.pt in it)")
    config = composed.current() | {"resume": None, "dry_run": False, "out": None}
    loop = make(Path(), config)  # whatever cannot be built says so before there is a folder
    check_monitor(trainer.monitor, built, loop.valid, seed, data.density)
    with _folder(resume, out, config) as loop.folder:
        if resume is not None:
            loop.resume()
        elif processes.rank() > 0:  # equal weights, but noise of its own
            rng.seed_all(seed, processes.rank())
        summary = _run(loop, device, _header(loop, device) | _remarks(loop, data))
    if processes.rank() == 0:
        print(loop.folder)
    return _objective(summary, sweep.get("metric"))


def worker(config: dict[str, Any]) -> float | None:
    """Train as one of several processes that `device.processes` started.

    Args:
        config: the composed config of the command.

    Returns:
        What `train` returns.
    """
    rng.seed_all(config["seed"])
    try:
        with composed.use(config):
            command = instantiate({**config, "_partial_": True}, _convert_="all")
            result: float | None = command()  # called by us: Hydra would wrap what it raises
    finally:
        processes.leave()
    return result


@contextmanager
def _folder(resume: str | None, out: str | None, config: dict[str, Any]) -> Iterator[Path]:
    """Make the run's folder, hold it, and write its config there; rank 0 does, the others are told what came of it."""
    made: tuple[str, GentoolError | None] = "", None
    with ExitStack() as stack:
        if processes.rank() == 0:
            try:
                folder = Path(resume) if resume else output_folder("train", run_name(config), out)
                stack.enter_context(held(folder))
                if out is not None and resume is None:
                    check_out("train", out)  # once more: another run may have come and gone before it was held
                (folder / "checkpoints").mkdir(exist_ok=True)
                text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
                atomic_write(folder / "config.yaml", lambda file: file.write(text.encode()))
                made = str(folder), None
            except GentoolError as error:
                made = "", error
        path, refusal = processes.broadcast(made)
        if refusal is not None:
            raise refusal
        yield Path(path)


def _loop(
    model: GenerativeModel,
    data: Dataset,
    optimizer: Factory | Mapping[str, Factory],
    schedule: Schedule,
    device: Device,
    trainer: Trainer,
    seed: int,
    folder: Path,
    config: dict[str, Any],
) -> Loop:
    plan = trainer.plan(len(data.train))
    size = evaluation_batch(data.space.shape)
    return Loop(
        model,
        trainer,
        data=lambda position: Batches(data.train, plan.batch_size, seed, position, processes.rank(), processes.count()),
        train=partial(ordered, data.train, size, seed),
        valid=partial(ordered, data.valid, size, seed, trainer.validation_examples) if len(data.valid) else None,
        density=data.density,
        optimizer=optimizer,
        schedule=schedule,
        draw=partial(draw, data=data),
        folder=folder,
        config=config,
        seed=seed,
    )


def evaluation_batch(shape: tuple[int, ...]) -> int:
    """Return how many examples of a shape a pass takes at once."""
    return max(1, min(EVALUATION_BATCH, EVALUATION_VALUES // prod(shape)))


def draw(model: GenerativeModel, data: Dataset) -> dict[str, Pixels]:
    """Draw what a run shows of its model: samples, reconstructions, and on points the fields it defines.

    Args:
        model: in eval mode.
        data: what it is trained on.

    Returns:
        Pixels by tag; "step" is the sample grid.
    """
    space = model.space
    y = labels_for_grid(space, SHOWN) if model.conditional and not space.is_points else None
    drawn = model.sample(POINTS) if space.is_points else model.picture(SHOWN, y)  # the mean of points hides their noise
    pictures = {"step": draw_examples(drawn, space, y, title="samples", columns=8)}
    if isinstance(model, Reconstructs) and space.is_image:
        source = data.valid if len(data.valid) else data.train
        x, labels, _ = next(ordered(source, 8, 0))
        rows = torch.cat([x.float(), model.reconstruct(x, labels if model.conditional else None)])
        pictures["reconstruction"] = make_grid(rows, space, columns=len(x))
    if space.is_points:
        pictures |= draw_fields(model, data)
    return pictures


def labels_for_grid(space: DataSpace, n: int) -> Tensor:
    """Return (n,) labels that give every class the same share, class after class along the rows."""
    return torch.arange(n, device=space.frequencies.device) * space.classes // n


def _run(loop: Loop, device: Device, header: Mapping[str, str]) -> dict[str, Any]:
    log: RunLog | Silence = Silence()
    if processes.rank() == 0:
        steps = None if loop.plan.minutes else loop.plan.steps
        log = RunLog(loop.folder, step=loop.step, steps=steps, header=header)
    command = f"gentool train resume={loop.folder}"
    try:
        with Interrupts() as interrupts:
            loop.run(log, interrupts)
        summary = _summary(loop, device)
        if loop.best["value"] is None:
            log.say("no validation objective: best is last")
        log.finish(summary, loop.config, _next_commands(loop))
        if processes.rank() == 0:  # last of all: it says that the run is whole
            text = json.dumps(summary, indent=2)
            atomic_write(loop.folder / "summary.json", lambda file: file.write(text.encode()))
    except Diverged as error:
        raise Diverged(f"{error}; the last good checkpoint is {loop.checkpoint('last')}") from error
    except Interrupted as error:
        raise Interrupted(f"{error}. Go on with: {command}", error.exit_code - 128) from error
    finally:
        log.close()
    return summary


def _header(loop: Loop, device: Device) -> dict[str, str]:
    return {
        "model": loop.config["choices"]["model"],
        "dataset": loop.config["choices"]["dataset"],
        "parameters": f"{sum(p.numel() for p in loop.model.parameters()):,}",
        "device": device.describe(),
        "run folder": str(loop.folder),
    }


def _remarks(loop: Loop, data: Dataset) -> dict[str, str]:
    """Return what a run does that its user may not expect, by what it is about."""
    found, plan = {}, loop.plan
    if plan.is_short and loop.optimizers.learning_rates:
        found["length"] = (
            f"{plan.steps} steps only: {loop.trainer.epochs:g} epochs of {len(data.train):,} examples; "
            "trainer.steps=… or trainer.examples=… set another"
        )
    n, most = len(data.valid), loop.trainer.validation_examples
    if most is not None and most < n:
        found["validation"] = (
            f"by {most:,} of {n:,} examples, always the same; trainer.validation_examples=null: by all"
        )
    return found


def _summary(loop: Loop, device: Device) -> dict[str, Any]:
    return {
        "model": loop.config["choices"]["model"],
        "dataset": loop.config["choices"]["dataset"],
        "parameters": sum(p.numel() for p in loop.model.parameters()),
        "device": device.kind,
        "precision": device.precision,
        "seconds": round(loop.seconds, 3),
        "steps": loop.step,
        "epochs": round(loop.epoch, 3),
        "examples_per_second": round(loop.step * loop.plan.examples_per_step / max(loop.seconds, 1e-9), 1),
        "best": loop.best if loop.best["value"] is not None else {"step": loop.step, "value": None, "metric": None},
        "final": {f"{split}/{name}": value for split, values in loop.last.items() for name, value in values.items()},
        "versions": versions(),
    }


def _next_commands(loop: Loop) -> list[str]:
    """What to try next with this run, as far as its model allows."""
    verbs = ["sample"]
    verbs += ["interpolate"] if isinstance(loop.model, Decodes) else []
    verbs += ["latent"] if isinstance(loop.model, Encodes) else []
    commands = [f"gentool {verb} ckpt={loop.folder}" for verb in [*verbs, "evaluate"]]
    return [*commands, f"gentool compare runs={loop.folder.parent} evaluate=true"]


def _objective(summary: Mapping[str, Any], metric: str | None) -> float | None:
    if metric is None:
        best: float | None = summary["best"]["value"]
        return best
    if metric not in summary["final"]:
        raise UsageError(f"sweep.metric={metric}: the run has {', '.join(summary['final'])}")
    final: float = summary["final"][metric]
    return final
