"""Mixtures of Gaussians, fitted by expectation-maximisation over the whole training split."""

from collections.abc import Iterator
from math import log
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import one_hot
from typing_extensions import TypedDict

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Metrics, Minimizer, Pass
from gentool.probability import mixtures
from gentool.space import DataSpace

Floor = Annotated[float, Field(ge=0, le=1)]


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        mean: pictures show the mean of the component instead of a draw from it.
        temperature: factor on the components' standard deviations; 1 is the model's own.
    """

    mean: bool
    temperature: NonNegativeFloat


SAMPLER: Sampler = {"mean": False, "temperature": 1.0}


class Mixture(GenerativeModel):
    """p(x) = sum_k w_k N(x; mu_k, S_k): which component made x is a latent z, one of K; p(z | x) are responsibilities.

    A training step is one step of EM: r_nk = p(z = k | x_n); w_k, mu_k and S_k become the moments weighted by r.
    It never lowers the likelihood of the split; a batch that is a part of it moves the moments by that part.
    Codes are the responsibilities, and a code decodes to the mean of its components' means.

    Integer levels are given uniform noise u within their bins, q(x + u) a density: log p(x) >= E_u[log q(x + u)] >=
    logsumexp_k E_u[log w_k N(x + u; mu_k, S_k)], which EM raises just as well, since only variances grow, by 1/12.

    Args:
        space: the data's facts.
        components: Gaussians, 1 or more (for each class where conditional); 1 gives the sample mean and covariance.
        covariance: full, or diagonal (for many dimensions or few examples).
        floor: added to every variance, 0 to 1, in units of the data's variance; keeps a Gaussian from collapsing onto
            one example.
        conditional: whether each class has its own mixture, p(x | y).
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where the data are symbols, have no classes to condition on, or fewer examples than components.

    Reference: Maximum Likelihood from Incomplete Data via the EM Algorithm, Dempster, Laird and Rubin, 1977,
        https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
    """

    def __init__(
        self,
        space: DataSpace,
        *,
        components: PositiveInt = 16,
        covariance: Literal["full", "diagonal"] = "full",
        floor: Floor = 1e-06,
        conditional: bool = False,
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        self.condition(conditional)
        if space.vocabulary:
            raise UsageError("Gaussians are over numbers, and this data are symbols")
        if components > space.examples:
            raise UsageError(f"model.components={components}: more than the {space.examples} examples")
        self.components, self.covariance, self.floor = components, covariance, floor
        groups = space.classes if conditional else 1
        factors = torch.ones(space.dims) if covariance == "diagonal" else torch.eye(space.dims)
        means = torch.randn(groups, components, space.dims)
        # Parameters that no gradient moves: they are counted and kept as those of any model.
        self.weights = nn.Parameter(torch.full((groups, components), 1 / components), requires_grad=False)
        self.means = nn.Parameter(means, requires_grad=False)
        self.factors = nn.Parameter(factors.repeat(groups, components, *[1] * factors.dim()), requires_grad=False)

    @property
    def likelihood(self) -> Literal["exact", "bound"]:
        """Exact for reals; a bound for integer levels."""
        return "exact" if self.space.levels is None else "bound"

    @property
    def noise(self) -> float:
        """Variance of the noise within the bin of a level, in units of the standardised data."""
        return 0.0 if self.space.levels is None else 1 / (12 * (self.space.levels - 1) ** 2)

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Return none: nothing is learnt by gradients."""
        return {}

    @torch.no_grad()
    def begin(self, data: Pass) -> None:
        """Start from the clusters of k-means, each class on its own.

        Args:
            data: one pass over the training split.

        Raises:
            UsageError: where a class has fewer examples than components.
        """
        batches = list(data())
        x = torch.cat([self._flat(batch.x) for batch in batches])
        groups = torch.cat([self._groups(batch.x, batch.y) for batch in batches])
        for c in range(len(self.weights)):
            own = x[groups == c]
            if len(own) < self.components:
                of = f" of class {c}" if self.conditional else ""
                raise UsageError(f"model.components={self.components}: more than the {len(own)} examples{of}")
            moments = self._moments(own, mixtures.k_means(own, self.components))
            self._put(c, mixtures.blend(self._mixture(c), *moments, torch.ones((), device=x.device, dtype=x.dtype)))

    @torch.no_grad()
    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step of EM; where several processes train, each measures its share of the examples."""
        batch = next(batches)
        total = optimizers.sum_over_processes
        x, groups = self._flat(batch.x), self._groups(batch.x, batch.y)
        seen = total(torch.full((), float(len(x)), device=x.device, dtype=x.dtype))
        rate = (seen / self.space.examples).clamp(max=1)
        summed = torch.zeros_like(seen)
        for c in range(len(self.weights)):
            own = x[groups == c]
            joint = mixtures.log_joint(own, self._mixture(c), self.noise)
            log_p = joint.logsumexp(1, keepdim=True)
            summed += log_p.sum()
            moments = self._moments(own, (joint - log_p).exp(), optimizers)
            self._put(c, mixtures.blend(self._mixture(c), *moments, rate))
        return {"model/loss": self._log_volume() - total(summed) / seen, "model/components": self._used()}

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) -log p(x), or -log p(x | y), in nats."""
        return -self.log_prob(batch.x, batch.y if self.conditional else None)

    def report(self, data: Pass) -> Metrics:
        """Return how many components are in use, and of integer levels bits_per_dim."""
        found = {"components": self._used()}
        if self.space.levels is not None:
            values = torch.cat([self.objective(batch) for batch in data()])
            found["bits_per_dim"] = values.mean() / (self.space.dims * log(2))
        return found

    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return log p(x | y), log p(x) where the model is not conditional; of integer levels a lower bound.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None sums p(y) p(x | y) over all classes, p(y) by frequency.
            draws: has no effect.

        Returns:
            (batch,) nats.
        """
        flat = self._flat(x)
        if not self.conditional:
            found = mixtures.log_joint(flat, self._mixture(0), self.noise).logsumexp(1)
        elif y is None:
            found = (self._class_log_prob(flat) + self.space.frequencies.to(x.device).log()).logsumexp(1)
        else:
            found = self._class_log_prob(flat).gather(1, y[:, None])[:, 0]
        return found - self._log_volume()

    def _class_log_prob(self, flat: Tensor) -> Tensor:
        parts = [mixtures.log_joint(flat, self._mixture(c), self.noise) for c in range(len(self.weights))]
        return torch.stack([part.logsumexp(1) for part in parts], 1)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw a component by its weight, then x from its Gaussian; levels are rounded to."""
        component = self._draw_components(n, y)
        return self._shaped(mixtures.draw(component, self._all(), float(self.sampler["temperature"])), quantise=True)

    @torch.no_grad()
    def picture(self, n: int, y: Tensor | None = None) -> Tensor:
        """Return what `sample` draws; where sampler.mean is true, the means of the components it draws from."""
        if not self.sampler["mean"]:
            return self.sample(n, y)
        return self._shaped(self._all().means[self._draw_components(n, y)], quantise=False)

    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, components) one-hot components by their weights (of a conditional model: over all classes)."""
        weights = self.space.frequencies.to(self.weights) @ self.weights if self.conditional else self.weights[0]
        return one_hot(torch.multinomial(weights, n, replacement=True), self.components).to(self.weights)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return sum_k z_k mu_k.

        Args:
            z: (n, components).
            y: (n,) labels of a conditional model; None draws them by their training frequency.

        Returns:
            (n, *space.shape) float, in data space.
        """
        if not self.conditional:
            return self._shaped(z @ self.means[0], quantise=False)
        y = self.draw_labels(len(z)) if y is None else y
        return self._shaped((z[:, None] @ self.means[y])[:, 0], quantise=False)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the responsibilities p(z = k | x): which component made x.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None takes the most probable ones.

        Returns:
            (batch, components), rows sum to 1.
        """
        flat, groups = self._flat(x), self._known_groups(x, y)
        found = torch.empty(len(x), self.components, dtype=flat.dtype, device=flat.device)
        for c in range(len(self.weights)):
            rows = groups == c
            found[rows] = mixtures.log_joint(flat[rows], self._mixture(c), self.noise).softmax(1)
        return found

    @torch.no_grad()
    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean of the components' means under p(z | x); x and y as in `encode`."""
        groups = self._known_groups(x, y)
        return self.decode(self.encode(x, groups), groups)

    def _known_groups(self, x: Tensor, y: Tensor | None) -> Tensor:
        if self.conditional and y is None:
            return (self._class_log_prob(self._flat(x)) + self.space.frequencies.to(x.device).log()).argmax(1)
        return self._groups(x, y)

    def _groups(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return (batch,) which mixture each example belongs to."""
        if self.conditional and y is not None:
            return y
        return torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def _moments(self, x: Tensor, r: Tensor, optimizers: Minimizer | None = None) -> tuple[Tensor, Tensor, Tensor]:
        total = optimizers.sum_over_processes if optimizers is not None else lambda t: t
        ridge = self.noise + self.floor
        return mixtures.m_step(x, r, diagonal=self.covariance == "diagonal", ridge=ridge, total=total)

    def _draw_components(self, n: int, y: Tensor | None) -> Tensor:
        """Return (n,) rows of `_all`."""
        if not self.conditional:
            return torch.multinomial(self.weights[0], n, replacement=True)
        y = self.draw_labels(n) if y is None else y
        return y * self.components + torch.multinomial(self.weights[y], 1)[:, 0]

    def _mixture(self, c: int) -> mixtures.Mixture:
        return mixtures.Mixture(self.weights[c], self.means[c], self.factors[c])

    def _all(self) -> mixtures.Mixture:
        return mixtures.Mixture(*(p.flatten(0, 1) for p in (self.weights, self.means, self.factors)))

    def _put(self, c: int, mixture: mixtures.Mixture) -> None:
        for parameter, value in zip((self.weights, self.means, self.factors), mixture, strict=True):
            parameter[c] = value

    def _used(self) -> Tensor:
        """Return exp of the weights' entropy, mean over classes: the number of components in use."""
        entropy: Tensor = torch.special.entr(self.weights).sum(1)
        return entropy.exp().mean()

    def _flat(self, x: Tensor) -> Tensor:
        return self.space.standardise(x).flatten(1).to(self.means.dtype)

    def _shaped(self, flat: Tensor, *, quantise: bool) -> Tensor:
        x = flat.reshape(-1, *self.space.shape).float()
        x = x * self.space.scale.to(x.device) + self.space.loc.to(x.device)
        if self.space.levels is None:
            return x
        return self.space.quantise(x) if quantise else x.clamp(0, self.space.levels - 1)

    def _log_volume(self) -> Tensor:
        volume: Tensor = self.space.scale.log().sum()
        return volume.to(self.means)
