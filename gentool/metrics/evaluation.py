"""What a metric is given, and what it gives back."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from typing_extensions import TypedDict

from gentool.batch import Batch
from gentool.errors import Unavailable
from gentool.metrics.pace import paced
from gentool.models.base import GenerativeModel, HasLikelihood, Pass
from gentool.space import DataSpace
from gentool.training.rng import fork

BLOCK = 100
"""Examples evaluated at once. It is no option: noise is drawn block by block, so no result depends on a batch size."""

DRAWN = 500
"""Samples drawn at once, under a random state of their own: the first m of n samples are m samples."""

Several = Annotated[int, Field(ge=2)]
"""A number of samples: no distribution shows in one."""


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


class DrawsByKind(TypedDict):
    """Draws of each log p(x), by the kind of likelihood; an exact one needs none.

    Attributes:
        importance: importance samples.
        bound: noises of a bound.
        ode: solutions of a flow.
    """

    importance: PositiveInt
    bound: PositiveInt
    ode: PositiveInt


Draws = PositiveInt | DrawsByKind
"""Draws of each log p(x): whatever its kind, or by it."""


class Density(Protocol):
    """A density that is known."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return (batch,) log p(x) in nats, of x (batch, d)."""
        ...

    def entropy(self) -> float:
        """Return the entropy in nats."""
        ...


class Data(NamedTuple):
    """What the samples of a model are held against.

    Attributes:
        space: facts of the data.
        held_out: one ordered pass over the examples, labels included.
        train: one ordered pass over the training split, labels included.
    """

    space: DataSpace
    held_out: Pass
    train: Pass


class Evaluation:
    """A model, or samples of one, and the examples it is measured on; what several metrics need is computed once.

    Args:
        model: in eval mode; None: there are only samples.
        blocks: one ordered pass over the examples as the model sees them, in batches of `BLOCK`.
        n: number of examples.
        seed: of every noise.
        density: what the data was drawn from, where that is known.
        say: prints a line.
        data: what samples are held against; None: no metric of samples is asked for.
        given: (m, *space.shape), samples made elsewhere.
        checkpoint: the model's file.
    """

    def __init__(
        self,
        model: GenerativeModel | None,
        blocks: Callable[[], Iterator[Batch]],
        n: int,
        *,
        seed: int,
        density: Density | None = None,
        say: Callable[[str], None] = print,
        data: Data | None = None,
        given: Tensor | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.blocks, self.n, self.seed, self.say, self.density = blocks, n, seed, say, density
        self.checkpoint = checkpoint
        self._model, self._data, self._given = model, data, given
        self._drawn: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._log_prob: dict[int, Tensor] = {}
        self.kept: dict[tuple[object, ...], Any] = {}  # what metrics share, by a name of theirs

    @property
    def model(self) -> GenerativeModel:
        """The model.

        Raises:
            Unavailable: if there are only samples.
        """
        if self._model is None:
            raise Unavailable("there are only samples: it needs the model, ckpt=…")
        return self._model

    @property
    def data(self) -> Data:
        """What samples are held against.

        Raises:
            Unavailable: if there is nothing.
        """
        if self._data is None:
            raise Unavailable("there are no examples to hold samples against")
        return self._data

    @property
    def space(self) -> DataSpace:
        """Facts of the data."""
        return self.data.space if self._model is None else self._model.space

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

    def conditional(self) -> GenerativeModel:
        """Return the model as one of p(x | y).

        Returns:
            The model itself.

        Raises:
            Unavailable: if there are no labels, or it does not see them.
        """
        if not self.model.space.classes:
            raise Unavailable("the data has no labels")
        if not self.model.conditional:
            raise Unavailable("the model is of p(x), not of p(x | y): train it with model.conditional=true")
        return self.model

    def samples(self, n: int) -> Tensor:
        """Return samples of the model, drawn once for all metrics; of samples made elsewhere the first n.

        Args:
            n: number of samples, 2 or more.

        Returns:
            (n, *space.shape) in data space, on the CPU; fewer where fewer were given.

        Raises:
            Unavailable: if a sample is not finite, or there is only one.
        """
        if self._given is not None:
            if len(self._given) < 2:
                raise Unavailable("there is one sample, and no distribution shows in one: 2 or more are needed")
            return self._given[:n]
        missing = range(len(self._drawn), ceil(n / DRAWN))
        for i in paced(missing, len(missing), f"drawing {n:,} samples", self.say):
            with fork(self.seed, 5, i), torch.no_grad():
                y = self.model.labels(DRAWN, None)
                x = self.model.sample(DRAWN, y).cpu()
            if x.is_floating_point() and not torch.isfinite(x).all():
                raise Unavailable("a sample is not finite")
            self._drawn.append(x)
            self._labels += [] if y is None else [y.cpu()]
        return torch.cat(self._drawn)[:n]

    def labelled_samples(self, n: int) -> tuple[Tensor, Tensor]:
        """Return `samples(n)` of a model of p(x | y), and the (n,) labels asked for, by training frequency."""
        self.conditional()
        return self.samples(n), torch.cat(self._labels)[:n]

    def walk(self, step: Callable[[Batch], Tensor], blocks: Iterator[Batch], n: int, what: str, *state: int) -> Tensor:
        """Return what a step says of every example, each block of them under a random state of its own.

        Args:
            step: maps a block to (batch,).
            blocks: all of one size, the last one smaller.
            n: number of examples in all.
            what: is done, for the line that says how long it will take, where that is long.
            *state: block i draws from (seed, *state, i).

        Returns:
            (n,) float64, on the CPU.
        """
        values: list[Tensor] = []
        first = next(blocks)
        for i, block in enumerate(paced(chain([first], blocks), ceil(n / len(first.x)), what, self.say)):
            with fork(self.seed, *state, i), torch.no_grad():
                values.append(step(block).double().cpu())
        return torch.cat(values)

    def draws(self, asked: Draws) -> int:
        """Return how many draws each log p(x) takes: 1 where it is exact.

        Args:
            asked: whatever the kind of the model's likelihood, or by it.

        Returns:
            A count.

        Raises:
            Unavailable: if the model has no likelihood.
        """
        kind = self.likelihood().likelihood
        if kind == "exact":
            return 1
        return asked if isinstance(asked, int) else asked[kind]

    def log_prob_of(self, blocks: Iterator[Batch], n: int, draws: int) -> Tensor:
        """Return (n,) float64 log p(x) in nats by so many draws, of any examples: y where the model shall see it."""
        model = self.likelihood()

        def step(block: Batch) -> Tensor:
            return model.log_prob(block.x, block.y, draws=draws)

        return self.walk(step, blocks, n, f"log p(x) of {n:,} examples by {draws:,} draws", draws)

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
            values = self.log_prob_of(self.blocks(), self.n, draws)
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
