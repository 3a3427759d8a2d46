"""The one training loop: step, average, log, validate, draw, save; it knows no family."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from math import inf, isfinite
from pathlib import Path
from signal import SIGINT
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gentool.errors import Diverged, Interrupted
from gentool.models.base import GenerativeModel, Pass
from gentool.nn.network import exact
from gentool.training import processes, rng
from gentool.training.average import Average
from gentool.training.checkpoints import read_checkpoint, save_checkpoint
from gentool.training.interrupts import Interrupts
from gentool.training.log import RunLog, Silence
from gentool.training.optimizers import Factory, Optimizers
from gentool.training.schedules import Schedule
from gentool.training.trainer import Trainer
from gentool.training.validation import validate

SAVE_SECONDS, SAVE_SHARE = 15, 0.1
"""Seconds between checkpoints where `trainer.save_every` is null, and the share of the time that they may take."""

Picture = Callable[[GenerativeModel], Mapping[str, np.ndarray]]
"""Draws what a run shows of its model: uint8 pixels by tag."""


class Loop:
    """A run in progress.

    Args:
        model: on its device, in training mode.
        trainer: lengths and intervals.
        data: makes an endless stream of batches from a position, `.position` being the batches drawn so far.
        train: one ordered pass over the training split.
        valid: one ordered pass over the validation split; None where it is empty.
        density: what the data was drawn from, where it is known.
        optimizer: factory of optimisers.
        schedule: factor on the learning rates.
        draw: what is drawn every `sample_every` steps, called in eval mode under fixed noise.
        folder: the run's folder.
        config: the whole resolved config, kept in every checkpoint.
        seed: of the run.
    """

    def __init__(
        self,
        model: GenerativeModel,
        trainer: Trainer,
        *,
        data: Callable[[int], Any],
        train: Pass,
        valid: Pass | None,
        density: object,
        optimizer: Factory | Mapping[str, Factory],
        schedule: Schedule,
        draw: Picture,
        folder: Path,
        config: dict[str, Any],
        seed: int,
    ) -> None:
        self.model, self.trainer, self.folder, self.config, self.seed = model, trainer, folder, config, seed
        self.data, self.train, self.valid, self.draw, self.density = data, train, valid, draw, density
        self.plan = trainer.plan(model.space.examples)
        self.optimizers = Optimizers(
            model,
            optimizer,
            schedule,
            steps=self.plan.steps,
            accumulate=trainer.accumulate,
            clip_norm=trainer.clip_norm,
        )
        self.average = Average(model, trainer.ema) if trainer.ema is not None else None
        self.batches = data(0)
        self.best: dict[str, Any] = {"step": None, "value": None, "metric": None}
        self.stale = 0  # validations since the best
        self.seconds = 0.0
        self.last: dict[str, Any] = {"train": {}, "valid": {}}
        self.log: RunLog | Silence = Silence()

    @property
    def step(self) -> int:
        """Training steps done."""
        return self.optimizers.step

    @property
    def epoch(self) -> float:
        """Passes over the training split so far: steps / (N / batch size)."""
        return self.step / self.plan.steps_per_epoch

    def checkpoint(self, name: str) -> Path:
        """The file of a checkpoint of this run."""
        return self.folder / "checkpoints" / f"{name}.pt"

    def run(self, log: RunLog | Silence, interrupts: Interrupts) -> None:
        """Train to the end of the plan, from the beginning or from where `resume` left it.

        Args:
            log: where the run is told of.
            interrupts: signals that ask it to stop.

        Raises:
            Diverged: on a non-finite loss or gradient; the last good checkpoint is kept.
            Interrupted: on a signal, after saving.
        """
        self.log = log
        self.model.train()
        if self.step == 0:
            with rng.fork(self.seed, 0):
                self.model.begin(self.train)
            self.save("last")
        self._started = self._ticked = time.perf_counter()
        self._before = self._saved = self.seconds
        self._wait: float = SAVE_SECONDS
        self._counted = self.step
        while not self._done():
            metrics = self.model.train_step(self.batches, self.optimizers)
            self.optimizers.step += 1
            if self.average is not None:
                self.average.update(self.step)
            self._at_intervals(metrics)
            if processes.agree(interrupts.received is not None):
                self._clock()
                self.save("last")
                raise Interrupted(f"stopped at step {self.step}; saved", interrupts.received or SIGINT)
        self._clock()
        self._finish()

    def _done(self) -> bool:
        if self.trainer.patience is not None and self.stale >= self.trainer.patience:
            self.log.say(f"no better for {self.stale} validations: stopped early")
            return True
        if self.plan.minutes is not None:
            return processes.agree(self._clock() >= 60 * self.plan.minutes)
        return self.step >= self.plan.steps

    def _clock(self) -> float:
        """Seconds trained, over every start of the run; by them a length in minutes becomes one in steps."""
        self.seconds = self._before + time.perf_counter() - self._started
        if self.plan.minutes is not None and self.step:  # from the first step on: a warm-up is a share of the length
            self.optimizers.steps = max(self.step + 1, round(self.step * 60 * self.plan.minutes / self.seconds))
        return self.seconds

    def _at_intervals(self, metrics: Mapping[str, Tensor]) -> None:
        """Log, validate, draw and save where the step is due; saving comes last, so resuming repeats nothing."""
        due = partial(self.plan.due, self.step)
        if due(self.plan.log_every):
            self._log(metrics)
        if due(self.plan.validate_every) and self.valid is not None:
            self._validate(self.valid)
        if due(self.plan.sample_every):
            self._draw()
        if due(self.trainer.save_every) if self.trainer.save_every else self._clock() - self._saved >= self._wait:
            started = self._clock()
            self.save("last")
            self._keep()
            self._saved = self._clock()  # from the end of a save: a large one would else be due again at once
            self._wait = max(SAVE_SECONDS, (self._saved - started) / SAVE_SHARE)

    def _log(self, metrics: Mapping[str, Tensor]) -> None:
        self.optimizers.check()
        now = time.perf_counter()
        rate = (self.step - self._counted) * self.plan.examples_per_step / (now - self._ticked)
        self._ticked, self._counted = now, self.step
        self._clock()
        left = (self.optimizers.steps - self.step) * self.plan.examples_per_step / rate
        values = {name: value.tolist() for name, value in metrics.items()} | self.optimizers.learning_rates
        self.last["train"] = values
        self.log.progress(self.step, self.optimizers.steps, self.epoch, values, rate, left)

    def evaluating(self) -> AbstractContextManager[None]:
        """Hold the averaged weights, where there are any, while something is measured or drawn."""
        return self.average.swapped() if self.average is not None else nullcontext()

    def _validate(self, data: Pass) -> None:
        started = time.perf_counter()
        self.model.eval()
        with torch.no_grad(), self.evaluating(), exact(self.model):
            measured = validate(self.model, data, self.seed, self.density)
            values: dict[str, Any] = {name: value.tolist() for name, value in measured.items()}
        self.model.train()
        self.last["valid"] = values
        self.log.validation(self.step, self.epoch, values)
        metric = self.trainer.monitor or "model/loss"
        if metric in values:
            self._judge(metric, values[metric])
        self._ticked += time.perf_counter() - started

    def _judge(self, metric: str, value: float) -> None:
        if not isfinite(value):
            raise Diverged(f"validation: {metric} is not finite at step {self.step}")
        if value < (inf if self.best["value"] is None else self.best["value"]):
            self.best = {"step": self.step, "value": value, "metric": metric}
            self.stale = 0
            self.save("best")
        else:
            self.stale += 1

    def _draw(self) -> None:
        started = time.perf_counter()
        self.model.eval()
        with torch.no_grad(), rng.fork(self.seed, 2), self.evaluating():
            for tag, pixels in self.draw(self.model).items():
                self.log.image(self.step, tag, pixels)
        self.model.train()
        self._ticked += time.perf_counter() - started

    def _finish(self) -> None:
        """Do what is still due at the last step, then what is fitted after training, on last's and best's weights."""
        self.optimizers.check()
        if not self.plan.due(self.step, self.plan.sample_every):
            self._draw()
        if self.valid is not None and not self.plan.due(self.step, self.plan.validate_every):
            self._validate(self.valid)
        self._fit_after()
        self.save("last")
        self._keep()
        if self.checkpoint("best").is_file() and type(self.model).finish is not GenerativeModel.finish:
            self._load(read_checkpoint(self.checkpoint("best")))
            self._fit_after()
            self.save("best")
            self._load(read_checkpoint(self.checkpoint("last")))

    def _fit_after(self) -> None:
        self.model.eval()
        with torch.no_grad(), rng.fork(self.seed, 3), self.evaluating():
            self.model.finish(self.train)
        self.model.train()

    def save(self, name: str) -> None:
        """Write a checkpoint of this moment; never one that is not finite.

        Args:
            name: of the file, without `.pt`.

        Raises:
            Diverged: if a loss or gradient was not finite; nothing is written.
        """
        self.optimizers.check()
        if processes.rank() > 0:
            return
        self.log.flush()
        state = {
            "config": self.config,
            "space": self.model.space.state(),
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state(),
            "schedules": {"steps": self.optimizers.steps},
            "step": self.step,
            "rng": rng.get_state(),
            "data": {"position": self.batches.position, "seconds": self.seconds},
            "best": {**self.best, "stale": self.stale, "last": self.last},
        }
        if self.average is not None:
            state["ema"] = self.average.state()
        save_checkpoint(self.checkpoint(name), state)

    def _keep(self) -> None:
        """Leave copies of the newest `trainer.keep` checkpoints under their step."""
        if self.trainer.keep == 0 or processes.rank() > 0:
            return
        self.save(f"step_{self.step:08d}")
        kept = sorted((self.folder / "checkpoints").glob("step_*.pt"))
        for old in kept[: -self.trainer.keep]:
            old.unlink()

    def resume(self) -> None:
        """Go back to exactly where the run's last checkpoint stood."""
        self._load(read_checkpoint(self.checkpoint("last")))

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizers.load(state["optimizers"])
        self.optimizers.step = state["step"]
        if self.average is not None and "ema" in state:
            self.average.load(state["ema"])
        self.batches = self.data(state["data"]["position"])
        self.seconds = state["data"]["seconds"]
        best = dict(state["best"])
        self.stale, self.last = best.pop("stale"), best.pop("last")
        self.best = best
        if processes.rank() == 0:
            rng.set_state(state["rng"])
        else:  # the checkpoint holds rank 0's alone
            rng.seed_all(self.seed, processes.rank(), self.step)
