"""What every family implements: one training step, one way to sample, and the capabilities it claims."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.space import DataSpace

Metrics = Mapping[str, Tensor]
"""Named detached tensors, keyed `player/term`; they stay on the device until they are logged."""

Pass = Callable[[], Iterator[Batch]]
"""One ordered pass over a split."""


class Loss(NamedTuple):
    """What one player minimises.

    Attributes:
        total: scalar; the only thing minimised. Likelihood models: nats per example.
        terms: named detached scalars, logged (reconstruction, kl, penalty, …).
    """

    total: Tensor
    terms: Mapping[str, Tensor]


class Minimizer(Protocol):
    """What a model needs of the optimisation; `training.optimizers.Optimizers` implements it.

    Attributes:
        step: training steps done.
        steps: training steps planned; warm-ups and annealing are functions of these two.
    """

    step: int
    steps: int

    def minimize(self, player: str, loss: Callable[[Batch], Loss], batches: Iterator[Batch]) -> Metrics:
        """Draw what one update needs from `batches`, and take one step of `player` down `loss`."""
        ...

    def minimize_together(
        self, players: Sequence[str], losses: Callable[[Batch], Mapping[str, Loss]], batches: Iterator[Batch]
    ) -> Metrics:
        """Take one step of each player down its own loss, all computed in one shared graph."""
        ...

    def sum_over_processes(self, t: Tensor) -> Tensor:
        """Sum a tensor over the processes that train together; itself where there is one."""
        ...


def sampler_options(model: "GenerativeModel") -> dict[str, Any]:
    """Return the options of a model's sampler, by name."""
    return dict(model.sampler if isinstance(model.sampler, Mapping) else vars(model.sampler))


class GenerativeModel(nn.Module, ABC):
    """A model of data in `space`; the public space of x is always data space.

    Args:
        space: facts of the data.
        sampler: what sampling can be asked for, a mapping or an object with its options; every reader may override
            its values.

    Attributes:
        conditional: whether the model is of p(x | y).
    """

    conditional: bool = False

    sampler: Any

    def __init__(self, space: DataSpace, sampler: Any) -> None:
        super().__init__()
        self.space = space
        self.sampler = copy(sampler)

    def condition(self, conditional: bool) -> None:
        """Make it a model of p(x | y), or of p(x).

        Args:
            conditional: whether labels are seen.

        Raises:
            UsageError: if the data has no labels to see.
        """
        if conditional and not self.space.classes:
            raise UsageError("model.conditional=true needs data with classes, and this has none")
        self.conditional = conditional

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters each player of the training moves; disjoint, and together all of them."""
        return {"model": list(self.parameters())}

    def averaged(self) -> list[nn.Parameter]:
        """Return the parameters an exponential moving average follows; buffers are shared, not copied."""
        return list(self.parameters())

    def begin(self, data: Pass) -> None:
        """Initialise what depends on data (ActNorm, k-means++); once, on training data, never on resume."""

    @abstractmethod
    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Do one training step and return what it measured."""

    def finish(self, data: Pass) -> None:
        """Fit what is fitted after training (a density over codes), on training data."""

    def objective(self, batch: Batch) -> Tensor | None:
        """Return (batch,) what `best.pt` minimises: the training loss unannealed; None where none exists."""
        return None

    def report(self, data: Pass) -> Metrics:
        """Return what validation logs beside the objective: scalars, or vectors (one number a latent dimension)."""
        return {}

    @abstractmethod
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw from p(x), or p(x | y).

        Args:
            n: number of samples.
            y: (n,) int64 labels; None draws them by their training frequency.

        Returns:
            (n, *space.shape), in data space.
        """

    def picture(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw what a grid shows of `sample(n, y)` under the same random state: means of p(x | z), where there are any.

        Args:
            n: number of samples.
            y: (n,) int64 labels, or None.

        Returns:
            (n, *space.shape) in data space, float where it is a mean.
        """
        return self.sample(n, y)

    def remarks(self) -> Mapping[str, float]:
        """Return what the last sampling measured of itself (acceptance of a chain), by name; `sample` prints it."""
        return {}

    def draw_labels(self, n: int) -> Tensor:
        """Draw (n,) int64 labels by their training frequency."""
        return torch.multinomial(self.space.frequencies, n, replacement=True)

    def labels(self, n: int, y: Tensor | None) -> Tensor | None:
        """Return the labels of n samples: y, drawn where that is None; None where the model is not conditional."""
        return (self.draw_labels(n) if y is None else y) if self.conditional else None

    def each_label(self, x: Tensor, log_prob: Callable[[Tensor], Tensor]) -> Tensor:
        """Return log p(y) + log p(x | y) for every class y, p(y) by frequency; its logsumexp over y is log p(x).

        Args:
            x: (batch, …), of which the batch and the device are taken.
            log_prob: maps labels (batch,) to log p(x | y), (batch,) nats.

        Returns:
            (batch, classes) nats.
        """
        labels = [torch.full((len(x),), c, device=x.device) for c in range(self.space.classes)]
        return torch.stack([log_prob(y) for y in labels], 1) + self.space.frequencies.to(x.device).log()


@runtime_checkable
class HasLikelihood(Protocol):
    """log p(x), exactly or as a bound.

    Attributes:
        likelihood: what `log_prob` returns: the exact value, a lower bound, an importance-sampled
            lower bound that rises to the value with `draws`, or the value by an ODE solver.
    """

    likelihood: Literal["exact", "bound", "importance", "ode"]

    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return (batch,) log p(x) in nats, of x (batch, *space.shape) in data space."""
        ...


@runtime_checkable
class Infers(Protocol):
    """A variational posterior that gradient steps can bring closer to the true one, an example at a time."""

    def elbo(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1, steps: int = 0) -> Tensor:
        """Return (batch,) nats: the evidence lower bound over `draws`, after `steps` of each example's posterior."""
        ...


@runtime_checkable
class Decodes(Protocol):
    """A latent space that can be sampled and decoded."""

    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, *latent shape) from the prior."""
        ...

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (n, *space.shape) float, the mean of p(x | z) in data space."""
        ...


@runtime_checkable
class Encodes(Decodes, Protocol):
    """A latent space with a map from data."""

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch, *latent shape), the code of x; the mean where it is random."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """A map from data to its reconstruction."""

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch, *space.shape) float, in data space."""
        ...


@runtime_checkable
class Completes(Protocol):
    """Filling in what is unknown: prompts, image completion and inpainting are one thing."""

    def complete(self, x: Tensor, known: Tensor, y: Tensor | None = None) -> Tensor:
        """Return x with its unknown part drawn; `known` (batch, *space.shape) is True where x is given."""
        ...


@runtime_checkable
class Refines(Protocol):
    """Samples that are the ends of chains; `sample` draws them as a moving picture."""

    def chain(self, n: int, y: Tensor | None = None, *, frames: int) -> Tensor | None:
        """Return (frames, n, *space.shape), what `sample(n, y)` under the same random state passes through.

        The last frame is the samples. None where the model as it is configured draws them without a chain.
        """
        ...


@runtime_checkable
class HasFields(Protocol):
    """Functions over data space that say what the model believes there: an energy, a critic, a score."""

    def fields(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return functions by name, each of points (n, d) in data space; `plot` draws them in one and two dimensions.

        A field of (n,) numbers that is differentiable is drawn as a map with arrows along its gradient; one of (n, d)
        vectors as arrows over a map of their length. Names are plain words: "energy", "critic", "score at sigma 0.5".
        """
        ...
