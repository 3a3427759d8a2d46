"""Chains that go down an energy in model space: Langevin's, or Hamilton's, as a table of values says."""

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Literal

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from typing_extensions import TypedDict

from gentool.probability import mcmc

Method = Literal["langevin", "adjusted_langevin", "hmc"]


class Chain(TypedDict):
    """How a chain goes down an energy.

    Attributes:
        method: langevin; adjusted_langevin, which accepts by Metropolis and Hastings' rule; or hmc.
        steps: transitions of a round.
        step_size: lambda of x' = x - lambda grad E(x) + noise eps, in model space.
        last_step_size: lambda of the last transition, to which it goes geometrically; None: it stays.
        noise: deviation of the noise of the first transition; None: sqrt(2 lambda), at which the chain draws from
            exp(-E), and less of it draws from exp(-E / T), T = noise² / (2 lambda).
        leapfrog_steps: of one transition of hmc.
        largest_drift: largest size of an entry of lambda grad E, in units of the noise; None: no limit.
    """

    method: Method
    steps: PositiveInt
    step_size: PositiveFloat
    last_step_size: PositiveFloat | None
    noise: PositiveFloat | None
    leapfrog_steps: PositiveInt
    largest_drift: PositiveFloat | None


def mirrored(x: Tensor) -> Tensor:
    """Fold space into the cube [-1, 1]^d, as mirrors at its walls would.

    Args:
        x: of any shape.

    Returns:
        Of the same shape: x where it lies within [-1, 1].
    """
    return 1 - ((x + 1).remainder(4) - 2).abs()


def run_chain(
    chain: Chain, energy: Callable[[Tensor], Tensor], start: Tensor, *, rounds: int, frames: int, walls: bool
) -> mcmc.Run:
    """Run chains on exp(-E(x) / T), T = noise² / (2 lambda).

    A density that is mirrored at its walls has none in space unfolded, so every kernel will do.

    Args:
        chain: how they go.
        energy: E: (chains, *shape) -> (chains,), within the walls.
        start: (chains, *shape).
        rounds: how often the chain's transitions are gone through.
        frames: how many moments are kept, the start and the end among them; 1: the end.
        walls: whether E is of the cube [-1, 1]^d alone.

    Returns:
        The moments, within the walls, and what the chains were like.
    """
    first, last = chain["step_size"], chain["last_step_size"]
    steps, drift = chain["steps"], chain["largest_drift"]
    noise = chain["noise"] or sqrt(2 * first)
    temperature = noise**2 / (2 * first)

    def log_density(x: Tensor) -> Tensor:
        return -energy(mirrored(x) if walls else x) / temperature

    kernels: dict[str, mcmc.Kernel] = {
        "langevin": partial(mcmc.unadjusted_langevin, drift=drift),
        "adjusted_langevin": partial(mcmc.langevin, drift=drift),
        "hmc": partial(mcmc.hmc, leapfrog_steps=chain["leapfrog_steps"], drift=drift),
    }
    run = mcmc.run(
        kernels[chain["method"]],
        log_density,
        mcmc.state_at(log_density, start, gradient=True),
        step_size=noise,
        decay=1.0 if last is None or steps == 1 else (last / first) ** (0.5 / (steps - 1)),
        period=steps,
        burn_in=0,
        steps=rounds * steps,
        target=None,
        frames=frames,
    )
    return run._replace(frames=mirrored(run.frames)) if walls else run
