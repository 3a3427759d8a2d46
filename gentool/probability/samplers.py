"""How a diffusion model draws its samples: a solver from noise to data with its options, chosen by name."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from gentool.probability import solvers
from gentool.probability.solvers import Denoise, Seen
from gentool.signatures import OneOf


@dataclass(kw_only=True)
class DiffusionSampler(ABC):
    """What every sampler of a diffusion model can be asked for.

    Attributes:
        steps: noise levels visited, 1 or more: as many network evaluations (heun: 2 steps - 1; annealed_langevin: times
            inner_steps).
        rho: r^(1/rho) falls evenly over the steps, > 0; None: the noise schedule's own time does.
        guidance: w of x0(no label) + w (x0(label) - x0(no label)): 1 is the model's own, more exaggerates the label
            (which needs label dropout in training), 0 ignores it.
        clip: whether x0 of integer levels is kept within their range.
        likelihood: log p(x): bound (evidence bound in continuous time) or ode (probability flow).
        ode_steps: of the probability flow, 1 or more, four evaluations each: encode, decode, and likelihood=ode.
        visits: completion: times each step is taken, 1 or more.
    """

    steps: PositiveInt = 250
    rho: PositiveFloat | None = None
    guidance: float = 1.0
    clip: bool = True
    likelihood: Literal["bound", "ode"] = "bound"
    ode_steps: PositiveInt = 40
    visits: PositiveInt = 5

    @abstractmethod
    def __call__(self, denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen) -> Tensor:
        """Go from z at the first ratio to the last; see `solvers`."""


@dataclass(kw_only=True)
class Ancestral(DiffusionSampler):
    """Draw each step from q(z_s | z_t, x0), as the noise was added; see `solvers.ancestral`."""

    def __call__(self, denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen) -> Tensor:
        """Go from z at the first ratio to the last."""
        return solvers.ancestral(denoise, z, levels, seen)


@dataclass(kw_only=True)
class Ddim(DiffusionSampler):
    """Step along q(z_s | z_t, x0) with less of its noise, or none; see `solvers.ddim`.

    Attributes:
        eta: fraction of the ancestral noise, 0 (deterministic) to 1.
    """

    eta: NonNegativeFloat = 0.0

    def __call__(self, denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen) -> Tensor:
        """Go from z at the first ratio to the last."""
        return solvers.ddim(denoise, z, levels, seen, eta=self.eta)


@dataclass(kw_only=True)
class Heun(DiffusionSampler):
    """Follow the probability flow by a rule of second order; see `solvers.heun`.

    Attributes:
        churn: noise added over all steps (S_churn), 0 or more; 0 is deterministic.
    """

    steps: PositiveInt = 18
    rho: PositiveFloat | None = 7.0
    churn: NonNegativeFloat = 0.0

    def __call__(self, denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen) -> Tensor:
        """Go from z at the first ratio to the last."""
        return solvers.heun(denoise, z, levels, seen, churn=self.churn)


@dataclass(kw_only=True)
class Dpmpp2M(DiffusionSampler):
    """Follow the probability flow by DPM-Solver++(2M), one evaluation a step; see `solvers.dpmpp_2m`."""

    steps: PositiveInt = 20
    rho: PositiveFloat | None = 7.0

    def __call__(self, denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen) -> Tensor:
        """Go from z at the first ratio to the last."""
        return solvers.dpmpp_2m(denoise, z, levels, seen, drawn=False)


@dataclass(kw_only=True)
class Dpmpp2MSde(Dpmpp2M):
    """Draw along the path by SDE-DPM-Solver++(2M), one evaluation a step; see `solvers.dpmpp_2m`."""

    def __call__(self, denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen) -> Tensor:
        """Go from z at the first ratio to the last."""
        return solvers.dpmpp_2m(denoise, z, levels, seen, drawn=True)


@dataclass(kw_only=True)
class AnnealedLangevin(DiffusionSampler):
    """Move by the score, several times at each noise level; see `solvers.annealed_langevin`.

    Attributes:
        inner_steps: moves at each level, 1 or more.
        step_size: of a move, in units of the level's variance, 0 to below 4.
    """

    steps: PositiveInt = 100
    inner_steps: PositiveInt = 5
    step_size: Annotated[float, Field(gt=0, lt=4)] = 0.2

    def __call__(self, denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen) -> Tensor:
        """Go from z at the first ratio to the last."""
        return solvers.annealed_langevin(
            denoise, z, levels, seen, inner_steps=self.inner_steps, step_size=self.step_size
        )


Sampler = Annotated[
    DiffusionSampler,
    OneOf(
        ancestral=Ancestral,
        ddim=Ddim,
        heun=Heun,
        dpmpp_2m=Dpmpp2M,
        dpmpp_2m_sde=Dpmpp2MSde,
        annealed_langevin=AnnealedLangevin,
    ),
]
"""A sampler by its name."""
