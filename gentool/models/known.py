"""A density that is known, as a model: nothing to learn, and many ways to draw from it."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from typing_extensions import TypedDict

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Metrics, Minimizer
from gentool.probability import mcmc
from gentool.probability.densities import KnownDensity
from gentool.space import DataSpace

FIRST_STEP = 0.1  # in units of the data's deviation, where the step size is to find itself

TRIES = 100  # to start a chain where p is not 0


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        method: how; see `Known`.
        step_size: of a chain's transition, in units of the data's standard deviation; None: found while burning in.
        burn_in: transitions in which it is found.
        steps: transitions after them.
        leapfrog_steps: of one transition of hmc.
    """

    method: Literal["exact", "inverse_cdf", "metropolis", "langevin", "hmc"]
    step_size: PositiveFloat | None
    burn_in: NonNegativeInt
    steps: PositiveInt
    leapfrog_steps: PositiveInt


SAMPLER: Sampler = {"method": "exact", "step_size": None, "burn_in": 300, "steps": 300, "leapfrog_steps": 8}


class Known(GenerativeModel):
    """p(x) of a toy set itself, sampled by one of five methods.

    - exact: the way the data were made: a part, then its noise.
    - inverse_cdf: x = F^-1(u), u uniform, one dimension given those before it.
    - metropolis, langevin, hmc: every sample is the end of a chain of its own, which starts from N(loc, scale²) of the
      data and knows p only up to a constant. Modes far apart keep the chains that fall into them, so their shares are
      those of the start.

    Args:
        space: the data's facts.
        density: p(x), which the recipes of the toy sets give.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where the density is not known, or of other points than the data.
    """

    likelihood: Literal["exact"] = "exact"

    def __init__(self, space: DataSpace, *, density: KnownDensity | None = None, sampler: Sampler = SAMPLER) -> None:
        super().__init__(space, sampler)
        if density is None:
            raise UsageError("model=known needs data whose density is known (a toy set), or model.density")
        if not space.is_points or density.dims != space.dims:
            raise UsageError(f"model.density is of {density.dims} real numbers; the data has shape {space.shape}")
        self.density = density
        self._measured: dict[str, float] = {}

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Return none: there is nothing to learn."""
        return {}

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Say where the density stands; nothing moves."""
        return {"model/loss": self.objective(next(batches)).mean()}

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) -log p(x) in nats."""
        return -self.log_prob(batch.x)

    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return log p(x), computed in float64.

        Args:
            x: (batch, d).
            y: has no effect.
            draws: has no effect.

        Returns:
            (batch,) nats; -inf off the support.
        """
        return self.density.log_prob(x)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw by the sampler's method."""
        device = self.space.loc.device
        if self.sampler["method"] == "exact":
            seed = int(torch.randint(2**62, ()))
            return self.density.sample(n, torch.Generator().manual_seed(seed)).to(device)
        if self.sampler["method"] == "inverse_cdf":
            u = torch.rand(n, self.space.dims, dtype=torch.float64).clamp(min=1e-300)
            return self.density.quantile(u).float().to(device)
        return self._run(n, frames=1)[-1].to(device)

    def chain(self, n: int, y: Tensor | None = None, *, frames: int) -> Tensor | None:
        """Return where the chains of `sample(n)` stand on their way, its samples last.

        Args:
            n: number of samples.
            y: has no effect.
            frames: how many moments.

        Returns:
            (frames, n, d); None of a method without chains.
        """
        if self.sampler["method"] in ("exact", "inverse_cdf"):
            return None
        return self._run(n, frames=frames).to(self.space.loc.device)

    def remarks(self) -> dict[str, float]:
        """Return the acceptance and the step size of the chains drawn last."""
        return self._measured

    def _run(self, n: int, frames: int) -> Tensor:
        method = self.sampler["method"]
        loc, scale = self.space.loc.cpu().double(), self.space.scale.cpu().double()

        def log_density(x: Tensor) -> Tensor:
            return self.density.log_density(loc + scale * x)

        kernels: dict[str, mcmc.Kernel] = {
            "metropolis": mcmc.metropolis,
            "langevin": mcmc.langevin,
            "hmc": partial(mcmc.hmc, leapfrog_steps=self.sampler["leapfrog_steps"]),
        }
        start = torch.randn(n, self.space.dims, dtype=torch.float64)
        for _ in range(TRIES):  # chains do not find their way from where p is 0
            lost = log_density(start) == -torch.inf
            if not lost.any():
                break
            start = torch.where(lost[:, None], torch.randn_like(start), start)
        wanted = self.sampler["step_size"]
        done = mcmc.run(
            kernels[method],
            log_density,
            mcmc.state_at(log_density, start, gradient=method != "metropolis"),
            step_size=wanted or FIRST_STEP,
            burn_in=self.sampler["burn_in"],
            steps=self.sampler["steps"],
            target=mcmc.OPTIMAL[method] if wanted is None else None,
            frames=frames,
        )
        self._measured = {"acceptance": float(done.acceptance), "step size": done.step_size}
        return (loc + scale * done.frames).float()
