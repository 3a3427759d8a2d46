"""How long a run is and how often it does what: the `trainer` keys of the config."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from gentool.errors import UsageError

ENDLESS = 2**62
"""Planned steps of a run whose length is given in minutes, until its speed is known."""

FEW = 300
"""Steps below which a length in epochs is told of: the set is small, and the epochs were meant for a larger one."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A trainer's keys, resolved for a number of examples: every length in steps.

    Attributes:
        steps: length of the run.
        minutes: length of the run by the clock, where that is what ends it.
        batch_size: examples a batch.
        examples_per_step: batch_size × accumulate.
        steps_per_epoch: examples / examples_per_step.
        log_every: steps between log lines.
        validate_every: steps between validations.
        sample_every: steps between grids.
        is_short: whether epochs end the run after fewer than FEW steps.
    """

    steps: int
    minutes: float | None
    batch_size: int
    examples_per_step: int
    steps_per_epoch: float
    log_every: int
    validate_every: int
    sample_every: int
    is_short: bool

    @staticmethod
    def due(step: int, every: int) -> bool:
        """Whether something done every so many steps is due after `step`."""
        return step % every == 0


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Lengths and intervals of a run; the first of minutes, steps, examples, epochs that is set ends it.

    Args:
        minutes: length by the clock; the first of minutes, steps, examples, epochs that is set ends the run.
        steps: length in training steps.
        examples: length in examples seen, however often each: steps × batch_size × accumulate, rounded up to a step.
        epochs: length in passes over the training split.
        batch_size: examples a batch; None: the whole split.
        accumulate: batches whose gradients are averaged into one step.
        log_every: steps between log lines.
        validate_every: steps between validations; None: once an epoch; where `examples` ends the run, a hundred times a
            run at most.
        validation_examples: held-out examples that a validation measures at most, always the same; None: all.
        sample_every: steps between grids; None: twenty times a run.
        save_every: steps between checkpoints; None: every 15 seconds.
        keep: step_*.pt checkpoints kept beside last and best, 0 or more.
        clip_norm: largest norm of a player's gradient; None: no clipping.
        ema: decay of the moving average of the weights, in (0, 1); None: no average.
        monitor: the validation metric whose minimum is best; None: the model's own objective.
        patience: validations without a better one after which the run stops; None: it never does.

    Raises:
        UsageError: if no length is set.
    """

    minutes: PositiveFloat | None = None
    steps: PositiveInt | None = None
    examples: PositiveInt | None = None
    epochs: PositiveFloat | None = 20
    batch_size: PositiveInt | None = 128
    accumulate: PositiveInt = 1
    log_every: PositiveInt = 50
    validate_every: PositiveInt | None = None
    validation_examples: PositiveInt | None = 10_000
    sample_every: PositiveInt | None = None
    save_every: PositiveInt | None = None
    keep: NonNegativeInt = 0
    clip_norm: PositiveFloat | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    monitor: str | None = None
    patience: PositiveInt | None = None

    def plan(self, examples: int) -> Plan:
        """Resolve the lengths for a training split of so many examples."""
        batch_size = self.batch_size or examples
        per_step = batch_size * self.accumulate
        per_epoch = examples / per_step
        epoch, by_epochs, rare = max(1, round(per_epoch)), False, 1
        if self.minutes is not None:
            steps = ENDLESS
        elif self.steps is not None:
            steps = self.steps
        elif self.examples is not None:
            steps = ceil(self.examples / per_step)
            rare = steps // 100  # an epoch of a small set is a step or two
        elif self.epochs is not None:
            steps, by_epochs = ceil(self.epochs * per_epoch), True
        else:
            raise UsageError("trainer: one of trainer.epochs, examples, steps, minutes must be set")
        return Plan(
            steps=steps,
            minutes=self.minutes,
            batch_size=batch_size,
            examples_per_step=per_step,
            steps_per_epoch=per_epoch,
            log_every=self.log_every,
            validate_every=self.validate_every or max(epoch, rare),
            sample_every=self.sample_every or (epoch if self.minutes is not None else max(1, steps // 20)),
            is_short=by_epochs and steps < FEW,
        )
