"""What a metric is given, and what it gives back."""

import time
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.errors import Unavailable
from gentool.models.base import GenerativeModel, HasLikelihood
from gentool.training.rng import fork

BLOCK = 100
"""Examples evaluated at once. It is no option: noise is drawn block by block, so no result depends on a batch size."""

LONG = 20.0
"""Seconds from which an estimate of the time is printed."""


class Result(NamedTuple):
    """The value of a metric.

    Attributes:
        value: in the metric's unit.
        standard_error: of `value`, over examples; None where there is none (one example).
        protocol: how it was measured, beyond what every metric shares: kind, draws.
    """

    value: float
    standard_error: float | None
    protocol: Mapping[str, Any]


def block_log_prob(
    model: HasLikelihood, blocks: Iterator[Batch], n: int, *, draws: int, seed: int, say: Callable[[str], None]
) -> Tensor:
    """Return log p(x) of every example, each block of them under a random state of its own.

    Args:
        model: with a likelihood.
        blocks: batches of `BLOCK` examples, the last one smaller; y where the model shall see it.
        n: number of examples in all.
        draws: importance samples of each value.
        seed: of the noise; block i draws from (seed, draws, i).
        say: is told how long it will take, where that is long.

    Returns:
        (n,) float64 nats, on the CPU.
    """
    values = []
    start = time.perf_counter()
    for i, block in enumerate(blocks):
        with fork(seed, draws, i), torch.no_grad():
            values.append(model.log_prob(block.x, block.y, draws=draws).double().cpu())
        if i == 1:  # the first block pays for warming up
            seconds = (time.perf_counter() - start) / 2 * (ceil(n / BLOCK) - 2)
            if seconds > LONG:
                say(f"log p(x) of {n:,} examples by {draws:,} draws: about {_duration(seconds)} more")
    return torch.cat(values)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


class Density(Protocol):
    """A density that is known."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return (batch,) log p(x) in nats, of x (batch, d)."""
        ...

    def entropy(self) -> float:
        """Return the entropy in nats."""
        ...


class Evaluation:
    """A model and the examples it is measured on; what several metrics need is computed once.

    Args:
        model: in eval mode.
        blocks: one ordered pass over the examples, in batches of `BLOCK`.
        n: number of examples.
        seed: of every noise.
        density: what the data was drawn from, where that is known.
        say: prints a line.
    """

    def __init__(
        self,
        model: GenerativeModel,
        blocks: Callable[[], Iterator[Batch]],
        n: int,
        *,
        seed: int,
        density: Density | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.model, self.blocks, self.n, self.seed, self.say = model, blocks, n, seed, say
        self.density = density
        self._log_prob: dict[int, Tensor] = {}

    def likelihood(self) -> HasLikelihood:
        """Return the model as one with a likelihood.

        Returns:
            The model itself.

        Raises:
            Unavailable: if it has none.
        """
        if not isinstance(self.model, HasLikelihood):
            raise Unavailable(f"{type(self.model).__name__} does not implement HasLikelihood (log_prob)")
        return self.model

    def log_prob(self, draws: int) -> Tensor:
        """Return log p(x) of every example; computed once for each `draws`.

        Args:
            draws: importance samples of each value.

        Returns:
            (n,) float64 nats.

        Raises:
            Unavailable: if the model has no likelihood, or a value is not a number: no example is left out of a mean.
        """
        if draws not in self._log_prob:
            values = block_log_prob(self.likelihood(), self.blocks(), self.n, draws=draws, seed=self.seed, say=self.say)
            bad = torch.isnan(values) | (values.abs() == torch.inf)
            if bad.any():
                first = int(bad.nonzero()[0])
                count = f"{int(bad.sum())} of {len(values)} examples, first row {first}"
                raise Unavailable(f"log p(x) is {values[first].item()} for {count}")
            self._log_prob[draws] = values
        return self._log_prob[draws]


class Metric(Protocol):
    """One number about a model."""

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure.

        Args:
            evaluation: the model, its data and the protocol.

        Returns:
            What was measured.

        Raises:
            Unavailable: with the reason, where the model or its data does not allow it.
        """
        ...
