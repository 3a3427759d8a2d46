"""Normalizing flows: noise through an invertible map, so that log p(x) is a sum of two terms."""

from collections.abc import Callable, Iterator
from functools import partial
from math import log
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from typing_extensions import TypedDict

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer, Pass
from gentool.nn import coupling_network
from gentool.probability import priors
from gentool.probability.dequantise import VariationalNoise, dequantise, quantise
from gentool.probability.transforms import Transform
from gentool.probability.transforms.actnorm import fit_actnorm
from gentool.space import DataSpace

Dequantisation = Literal["uniform", "variational"]

_COUPLINGS, _BOUND = 2, 2.0
_NETWORK = partial(coupling_network, hidden_features=[32], hidden_channels=32, pointwise_layers=1, activation="relu")
"""Of the noise that is learned: it has to follow log p(x + u) within a level only, so little is enough."""


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        temperature: factor on the standard deviation of the noise; 1 is the model's own.
    """

    temperature: NonNegativeFloat


SAMPLER: Sampler = {"temperature": 1.0}


class Flow(GenerativeModel):
    """p(v) = p(z = f(v)) |det df/dv|, with v the data as reals, and p(z) = N(0, 1) or a mixture of Gaussians.

    Reals are standardised: log p is exact. Integer levels are dequantised by u in [0, 1), uniform or of a learned
    q(u | x): log P(x) = log E_q p(x + u) / q(u | x). One draw of u gives a bound, more draws rise to it.

    Args:
        space: the data's facts.
        transform: builds f, from v (batch, *space.shape) to noise (batch, dims): (space, classes) -> Transform.
        prior: p(z), the base distribution: normal (standard), or mixture (of Gaussians, learned with the flow) for data
            in separate clusters.
        components: Gaussians in a mixture prior, 1 or more; a few more than the data has modes.
        dequantisation: noise added to integer levels: uniform, or variational (Flow++): learned with the flow, for a
            tighter bound.
        alpha: integer levels only: the flow sees logit(alpha + (1 - 2 alpha) x), 0 < alpha < 0.5, which spreads black
            and white far apart, so that an uncertain pixel costs little; None: x centred, without a logit.
        conditional: whether f is given the label.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where options do not fit the data.

    Reference: Density estimation using Real NVP, Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2016,
        https://arxiv.org/abs/1605.08803
    """

    def __init__(
        self,
        space: DataSpace,
        *,
        transform: Callable[..., Transform],
        prior: priors.Name = "normal",
        components: PositiveInt = 16,
        dequantisation: Dequantisation = "uniform",
        alpha: Annotated[float, Field(gt=0, lt=0.5)] | None = None,
        conditional: bool = False,
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        self.condition(conditional)
        if space.vocabulary:
            raise UsageError("a flow is of reals and of ordered levels, and the symbols of text have no order")
        self.alpha = alpha
        self.transform = transform(space, space.classes if conditional else 0)
        self.prior = priors.prior_for(prior, space.dims, components)
        self.noise = None
        if dequantisation == "variational":
            if space.levels is None:
                raise UsageError("model.dequantisation=variational needs data of integer levels, and this is of reals")
            self.noise = VariationalNoise(space.shape, space.levels, _COUPLINGS, _BOUND, _NETWORK)

    @property
    def likelihood(self) -> Literal["exact", "bound"]:
        """What `log_prob` returns: of reals the value, of integer levels a bound that rises to it with draws."""
        return "exact" if self.space.levels is None else "bound"

    def begin(self, data: Pass) -> None:
        """Initialise what depends on data (ActNorm) on the first batch of the training split."""
        batch = next(data())
        y = batch.y if self.conditional else None
        fit_actnorm(self.transform, self._dequantise(batch.x)[0], y)

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step up the log-likelihood, or its bound."""
        return optimizers.minimize("model", self.loss, batches)

    def loss(self, batch: Batch) -> Loss:
        """Return -log p(x), and for integer levels its bits_per_dim."""
        nats = self.objective(batch).mean()
        if self.space.levels is None:
            return Loss(nats, {})
        return Loss(nats, {"bits_per_dim": nats.detach() / (self.space.dims * log(2))})

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) -log p(x) in nats, or a bound by one draw of the dequantising noise."""
        y = batch.y if self.conditional else None
        return -self._log_density(*self._dequantise(batch.x), y)

    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return log p(x); of integer levels log (1/k) sum_i p(x + u_i) / q(u_i | x), k = draws.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None sums p(y) p(x | y) over all classes, p(y) by frequency.
            draws: draws of u an example; of reals there is nothing to draw.

        Returns:
            (batch,) nats.
        """
        draws = 1 if self.space.levels is None else draws
        total = torch.full((len(x),), -torch.inf, device=x.device)
        for _ in range(draws):
            total = torch.logaddexp(total, self._any_label(*self._dequantise(x), y))
        return total - log(draws)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw noise at the sampler's temperature, and map it to data."""
        y = self.labels(n, y)
        x = self._leave(self.sample_latent(n), y)
        return x if self.space.levels is None else x.clamp(0, self.space.levels - 1).to(self.space.dtype)

    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, dims) noise at the sampler's temperature."""
        return self.prior.sample(n, float(self.sampler["temperature"]), next(self.parameters()).device)

    def latent_log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z), (n,) nats, of noise (n, dims)."""
        return self.prior.log_prob(z)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return what noise maps to, before levels are rounded.

        Args:
            z: (n, dims).
            y: (n,) labels of a conditional model; None draws them by their training frequency.

        Returns:
            (n, *space.shape) float, in data space.
        """
        y = self.labels(len(z), y)
        x = self._leave(z, y)
        return x if self.space.levels is None else (x - 0.5).clamp(0, self.space.levels - 1)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch, dims) the noise that maps to x, levels taken at their middle.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None takes the most probable.

        Returns:
            (batch, dims).
        """
        return self.encode_and_log_det(x, y)[0]

    def encode_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what `encode` returns and (batch,) log |det dz/dx|, of x in data space; differentiable in x."""
        v, log_det = self._enter(x, 0.5)
        if self.conditional and y is None:
            y = self.each_label(v, lambda y: self._log_density(v, log_det, y)).argmax(1)
        z, inner = self.transform.forward_and_log_det(v, y if self.conditional else None)
        return z, inner + log_det

    def _dequantise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `_enter` does, at a draw of u, less log q(u | x)."""
        u, log_q = self._noise(x)
        v, log_det = self._enter(x, u)
        return v, log_det - log_q

    def _noise(self, x: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Draw u of q(u | x), (batch, *space.shape), with log q(u | x), (batch,) nats; zeros for reals."""
        if self.space.levels is None:
            return 0.0, 0.0
        u = torch.rand(x.shape, device=x.device)
        if self.noise is None:
            return u, 0.0
        like = next(self.noise.parameters())
        found: tuple[Tensor, Tensor] = self.noise(self.space.to_model(x).to(like), u.to(like))
        return found

    def _enter(self, x: Tensor, u: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return data as the reals that the transform sees, and the log-determinant (batch,) of that."""
        if self.space.levels is not None:
            return dequantise(x, u, self.space.levels, self.alpha)
        return self.space.standardise(x), -self.space.scale.log().sum().expand(len(x))

    def _leave(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Map noise to data space; integer levels are the whole part of what is returned."""
        v = self.transform.inverse_and_log_det(z, y)[0]
        return self.space.to_data(v) if self.space.levels is None else quantise(v, self.space.levels, self.alpha)

    def _log_density(self, v: Tensor, log_det: Tensor, y: Tensor | None) -> Tensor:
        """Return log p(z = f(v)) + log |det df/dv| + log_det: (batch,) nats."""
        z, inner = self.transform.forward_and_log_det(v, y)
        return inner + log_det + self.latent_log_prob(z)

    def _any_label(self, v: Tensor, log_det: Tensor, y: Tensor | None) -> Tensor:
        if self.conditional and y is None:
            return self.each_label(v, lambda y: self._log_density(v, log_det, y)).logsumexp(1)
        return self._log_density(v, log_det, y if self.conditional else None)
