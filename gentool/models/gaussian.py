"""One Gaussian, as near to the data as one of several divergences sees it."""

from collections.abc import Iterator
from math import log, pi
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from typing_extensions import TypedDict

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer, Pass
from gentool.models.mixture import Floor
from gentool.probability import mixtures
from gentool.probability.densities import KnownDensity
from gentool.space import DataSpace

FEW = 4  # dimensions up to which each has its name among the reported numbers


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        temperature: factor on the standard deviations; 1 is the model's own.
    """

    temperature: NonNegativeFloat


SAMPLER: Sampler = {"temperature": 1.0}


class Gaussian(GenerativeModel):
    """q(x) = N(x; mu, S), nearest to the data's p(x) by what `divergence` names.

    - ml: mu and S are the sample's, in closed form and before the first step; no step changes them.
    - kl: KL(p || q) = E_p[-log q(x)] + const, whose minimum over all of p is maximum likelihood's: q covers p.
    - mmd: E k(x', x'') - 2 E k(x', x) + const, x', x'' from q and x from p, k(a, b) = exp(-|a - b|² / (2 l²)); both
      expectations over q are in closed form.
    - js: (KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2, p known, draws of q reparameterised: q picks a mode.

    Integer levels are given uniform noise within their bins, as in `mixture.Mixture`, of which this is one component.

    Args:
        space: the data's facts.
        divergence: what is minimised: ml (maximum likelihood, in closed form), or by gradients kl (the same fit), mmd
            (maximum mean discrepancy) or js (Jensen-Shannon, which picks a mode).
        covariance: full, diagonal, or isotropic (one standard deviation).
        floor: ml only: added to every variance, 0 to 1, in units of the data's variance.
        bandwidth: mmd only: standard deviation of its Gaussian kernel, > 0, in units of the data's; a wide one matches
            moments, a narrow one a single mode.
        density: js only: the density of the data, which the recipes of the toy sets give.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where the divergence does not fit the data.

    Reference: A note on the evaluation of generative models, Theis, van den Oord and Bethge, 2015,
        https://arxiv.org/abs/1511.01844; A Kernel Two-Sample Test, Gretton et al., 2012,
        https://jmlr.org/papers/v13/gretton12a.html
    """

    def __init__(
        self,
        space: DataSpace,
        *,
        divergence: Literal["ml", "kl", "mmd", "js"] = "ml",
        covariance: Literal["full", "diagonal", "isotropic"] = "full",
        floor: Floor = 1e-06,
        bandwidth: PositiveFloat = 0.5,
        density: KnownDensity | None = None,
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        _check(space, divergence, density)
        self.divergence, self.covariance, self.floor, self.bandwidth = divergence, covariance, floor, bandwidth
        self.density = density
        learns = divergence != "ml"
        width = 1 if covariance == "isotropic" else space.dims
        self.mean = nn.Parameter(torch.zeros(space.dims), requires_grad=learns)
        self.log_sigma = nn.Parameter(torch.zeros(width), requires_grad=learns)
        if covariance == "full":
            self.lower = nn.Parameter(torch.zeros(space.dims, space.dims).tril(-1), requires_grad=learns)

    @property
    def likelihood(self) -> Literal["exact", "bound"]:
        """Exact for reals; a bound for integer levels."""
        return "exact" if self.space.levels is None else "bound"

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that gradients move; none of maximum likelihood."""
        return {} if self.divergence == "ml" else super().players()

    @torch.no_grad()
    def begin(self, data: Pass) -> None:
        """Set mean and covariance to the sample's: the end of maximum likelihood, the start of all others."""
        x = torch.cat([self._flat(batch.x) for batch in data()])
        ridge = self.floor + self._noise()
        every = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
        _, means, spread = mixtures.m_step(x, every, diagonal=self.covariance != "full", ridge=ridge)
        self.mean.copy_(means[0])
        if self.covariance == "full":
            factor = mixtures.cholesky(spread[0])
            self.lower.copy_(factor.tril(-1))
            self.log_sigma.copy_(factor.diagonal().log())
        elif self.covariance == "diagonal":
            self.log_sigma.copy_(0.5 * spread[0].log())
        else:
            self.log_sigma.copy_(0.5 * spread[0].mean().log())

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step down the divergence; of maximum likelihood, which is reached, say where it stands."""
        if self.divergence != "ml":
            return optimizers.minimize("model", self.loss, batches)
        with torch.no_grad():
            return {"model/loss": self.objective(next(batches)).mean(), **_named("model/", self._moments())}

    def loss(self, batch: Batch) -> Loss:
        """Return the divergence up to a constant, and the Gaussian's mean and variances."""
        return Loss(self.objective(batch).mean(), _named("", self._moments()))

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) each example's part of the divergence, up to a constant: nats, of mmd no unit."""
        x = self._flat(batch.x)
        if self.divergence == "mmd":
            apart = self._log_density(x, more=self.bandwidth**2).exp()
            within = self._log_density(self.mean[None], more=self.bandwidth**2, twice=True).exp()
            top: float = (2 * pi * self.bandwidth**2) ** (self.space.dims / 2)  # a kernel is 1 at its middle
            return (within - 2 * apart) * top
        if self.divergence == "js":
            drawn = self._draw(torch.randn_like(x))
            return 0.5 * (self._log_ratio(x)[0] + self._log_ratio(drawn)[1])
        return self._log_volume() - self._log_density(x)

    def _log_ratio(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p/m and log q/m, m = (p + q) / 2, of x (n, d) in the model's units."""
        assert self.density is not None
        log_p = self.density.log_density(self._shaped(x).cpu().double()).to(x)
        log_q = self._log_density(x) - self._log_volume()
        log_m = torch.logaddexp(log_p, log_q) - log(2)
        return log_p - log_m, log_q - log_m

    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return log q(x); of integer levels a lower bound.

        Args:
            x: (batch, *space.shape), in data space.
            y: has no effect.
            draws: has no effect.

        Returns:
            (batch,) nats.
        """
        return self._log_density(self._flat(x)) - self._log_volume()

    @torch.no_grad()
    def report(self, data: Pass) -> Metrics:
        """Return mean and variances, in units of the data; of integer levels bits_per_dim too."""
        found = self._moments()
        if self.space.levels is not None:
            values = torch.cat([self.objective(batch) for batch in data()])
            found["bits_per_dim"] = values.mean() / (self.space.dims * log(2))
        return found

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw mu + L eps; levels are rounded to."""
        eps = torch.randn(n, self.space.dims, device=self.mean.device)
        return self.space.quantise(self._shaped(self._draw(float(self.sampler["temperature"]) * eps)))

    def _draw(self, eps: Tensor) -> Tensor:
        factor = self._factor()
        return self.mean + (eps * factor if factor.dim() == 1 else eps @ factor.T)

    def _factor(self) -> Tensor:
        """Return the factor of S as `mixtures` wants it: (d,) deviations, or (d, d) Cholesky's."""
        sigma = self.log_sigma.exp().expand(self.space.dims)
        return self.lower.tril(-1) + sigma.diag() if self.covariance == "full" else sigma

    def _log_density(self, x: Tensor, *, more: float = 0.0, twice: bool = False) -> Tensor:
        """Return log N(x; mu, S + more I), S doubled where `twice`, of x (n, d) in the model's units."""
        factor = self._factor()
        if more:
            times = 2 if twice else 1
            if factor.dim() == 1:
                factor = (times * factor.square() + more).sqrt()
            else:
                eye = torch.eye(self.space.dims, device=factor.device)
                factor = torch.linalg.cholesky(times * factor @ factor.T + more * eye)
        one = mixtures.Mixture(torch.ones(1, device=x.device), self.mean[None], factor[None])
        return mixtures.log_joint(x, one, self._noise())[:, 0]

    @torch.no_grad()
    def _moments(self) -> dict[str, Tensor]:
        """Return mean and variances in units of the data: of few dimensions each by its name."""
        factor = self._factor()
        variance = factor.square() if factor.dim() == 1 else factor.square().sum(1)
        found = {"mean": self._shaped(self.mean[None]).flatten(), "variance": variance * self._unit().square()}
        if self.space.dims > FEW:
            return found
        one = self.space.dims == 1
        return {name if one else f"{name}_{i + 1}": v for name, values in found.items() for i, v in enumerate(values)}

    def _unit(self) -> Tensor:
        """Return one length for all dimensions, so that what is round stays round."""
        return self.space.scale.square().mean().sqrt()

    def _noise(self) -> float:
        return 0.0 if self.space.levels is None else 1 / (12 * (self.space.levels - 1) ** 2)

    def _flat(self, x: Tensor) -> Tensor:
        return ((x - self.space.loc.to(x.device)) / self._unit().to(x.device)).flatten(1)

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.reshape(-1, *self.space.shape) * self._unit() + self.space.loc

    def _log_volume(self) -> Tensor:
        unit: Tensor = self._unit().log()
        return self.space.dims * unit


def _check(space: DataSpace, divergence: str, density: KnownDensity | None) -> None:
    """Refuse what does not fit the data."""
    if space.vocabulary:
        raise UsageError("a Gaussian is over numbers, and this data are symbols")
    if divergence in ("mmd", "js") and space.levels is not None:
        raise UsageError(f"model.divergence={divergence} is for points; for levels choose ml or kl")
    if divergence == "js" and density is None:
        raise UsageError(
            "model.divergence=js needs the density of the data (model.density), and this data's is not known: "
            "choose ml, kl or mmd, which need examples alone"
        )


def _named(prefix: str, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the scalars among named tensors, under a prefix."""
    return {f"{prefix}{name}": value for name, value in values.items() if value.dim() == 0}
