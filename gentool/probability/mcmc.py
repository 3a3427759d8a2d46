"""Markov chains whose stationary density is a given one: pure functions of many chains at once.

A kernel takes a log density, the chains' state and a step size, and returns their next state and how probable it was
that each proposal was taken. The log density need not be normalised, so the negative of an energy will do.
"""

from collections.abc import Callable
from math import exp
from typing import NamedTuple

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]
"""Maps (chains, *shape) to (chains,) nats, up to a constant."""


class State(NamedTuple):
    """Where chains stand.

    Attributes:
        x: (chains, *shape).
        log_p: (chains,) log density there.
        gradient: (chains, *shape), of the log density; zeros where no kernel asks for it.
    """

    x: Tensor
    log_p: Tensor
    gradient: Tensor


Kernel = Callable[[LogDensity, State, float], tuple[State, Tensor]]
"""Maps log density, state and step size to the next state and (chains,) probabilities of acceptance."""


def state_at(log_density: LogDensity, x: Tensor, *, gradient: bool) -> State:
    """Evaluate a log density where chains stand.

    Args:
        log_density: of the chains.
        x: (chains, *shape).
        gradient: whether its gradient is wanted.

    Returns:
        The state; no graph hangs on it.
    """
    x = x.detach()
    if not gradient:
        return State(x, log_density(x).detach(), torch.zeros_like(x))
    with torch.enable_grad():
        inputs = x.clone().requires_grad_()
        log_p = log_density(inputs)
        total = log_p.sum()
    if not log_p.requires_grad:  # a density of flat pieces
        return State(x, log_p.detach(), torch.zeros_like(x))
    (slope,) = torch.autograd.grad(total, inputs)
    return State(x, log_p.detach(), slope.nan_to_num(0.0, 0.0, 0.0))


def metropolis(log_density: LogDensity, state: State, step_size: float) -> tuple[State, Tensor]:
    """Propose x' = x + step_size eps, eps ~ N(0, 1), and take it with probability min(1, p(x') / p(x)).

    Args:
        log_density: of the chains.
        state: where they stand.
        step_size: standard deviation of a proposal.

    Returns:
        The next state, and (chains,) probabilities of acceptance.

    Reference: Equation of State Calculations by Fast Computing Machines, Metropolis et al., 1953,
        https://doi.org/10.1063/1.1699114
    """
    proposal = state_at(log_density, state.x + step_size * torch.randn_like(state.x), gradient=False)
    return _choose(state, proposal, proposal.log_p - state.log_p)


def langevin(
    log_density: LogDensity, state: State, step_size: float, *, drift: float | None = None
) -> tuple[State, Tensor]:
    """Propose x' = x + s²/2 grad log p(x) + s eps, and take it by Metropolis and Hastings' rule (MALA).

    Args:
        log_density: of the chains.
        state: where they stand, with gradients.
        step_size: s.
        drift: largest size of an entry of s²/2 grad log p(x), in units of s; None: no limit. With one, chains
            move also where p is steep (MALTA), and their density stays what it is.

    Returns:
        The next state, and (chains,) probabilities of acceptance.

    Reference: Exponential Convergence of Langevin Distributions and Their Discrete Approximations, Roberts and Tweedie,
        1996, https://doi.org/10.2307/3318418
    """
    slope, eps = _limited(state.gradient, step_size, drift), torch.randn_like(state.x)
    moved = torch.add(state.x, slope, alpha=step_size**2 / 2).add_(eps, alpha=step_size)
    proposal = state_at(log_density, moved, gradient=True)
    # From x' the noise -back would lead to x.
    back = torch.add(eps, slope + _limited(proposal.gradient, step_size, drift), alpha=step_size / 2)
    log_q = (eps.square() - back.square()).flatten(1).sum(1) / 2
    return _choose(state, proposal, proposal.log_p - state.log_p + log_q)


def unadjusted_langevin(
    log_density: LogDensity, state: State, step_size: float, *, drift: float | None = None
) -> tuple[State, Tensor]:
    """Move to x' = x + s²/2 grad log p(x) + s eps whatever comes: right only as s goes to 0.

    Args:
        log_density: of the chains.
        state: where they stand, with gradients.
        step_size: s.
        drift: largest size of an entry of s²/2 grad log p(x), in units of s; None: no limit.

    Returns:
        The next state, and (chains,) ones.
    """
    slope = _limited(state.gradient, step_size, drift)
    moved = state.x + step_size**2 / 2 * slope + step_size * torch.randn_like(state.x)
    return state_at(log_density, moved, gradient=True), torch.ones_like(state.log_p)


def _limited(gradient: Tensor, step_size: float, drift: float | None) -> Tensor:
    return gradient if drift is None else gradient.clamp(-2 * drift / step_size, 2 * drift / step_size)


def hmc(
    log_density: LogDensity, state: State, step_size: float, *, leapfrog_steps: int, drift: float | None = None
) -> tuple[State, Tensor]:
    """Give each chain a momentum N(0, 1), follow Hamilton's equations by leapfrog, accept by the energy's error.

    Args:
        log_density: of the chains.
        state: where they stand, with gradients.
        step_size: of a leapfrog.
        leapfrog_steps: leapfrogs of one transition.
        drift: largest size of an entry of s²/2 grad log p(x), in units of s; None: no limit. Any force keeps
            volumes and can be reversed, so the density stays what it is.

    Returns:
        The next state, and (chains,) probabilities of acceptance.

    Reference: MCMC using Hamiltonian dynamics, Neal, 2011, https://arxiv.org/abs/1206.1901
    """
    start = torch.randn_like(state.x)
    momentum, moving = start, state
    for _ in range(leapfrog_steps):
        half = momentum + step_size / 2 * _limited(moving.gradient, step_size, drift)
        moving = state_at(log_density, moving.x + step_size * half, gradient=True)
        momentum = half + step_size / 2 * _limited(moving.gradient, step_size, drift)
    kinetic = (start.square() - momentum.square()).flatten(1).sum(1) / 2
    return _choose(state, moving, moving.log_p - state.log_p + kinetic)


def _choose(state: State, proposal: State, log_ratio: Tensor) -> tuple[State, Tensor]:
    """Take each chain's proposal with probability min(1, exp(log_ratio)); from p = 0 none that leads to p = 0."""
    log_accept = log_ratio.nan_to_num(-torch.inf, 0.0, -torch.inf).clamp(max=0)
    taken = torch.rand_like(log_accept).log() < log_accept
    wide = taken.reshape(-1, *[1] * (state.x.dim() - 1))
    chosen = State(
        torch.where(wide, proposal.x, state.x),
        torch.where(taken, proposal.log_p, state.log_p),
        torch.where(wide, proposal.gradient, state.gradient),
    )
    return chosen, log_accept.exp()


class Run(NamedTuple):
    """What chains did.

    Attributes:
        frames: (frames, chains, *shape): where they stood, from the start to the end.
        acceptance: mean probability of acceptance, over chains and the transitions after burn-in; a scalar.
        step_size: of the first of those transitions.
    """

    frames: Tensor
    acceptance: Tensor
    step_size: float


def run(
    kernel: Kernel,
    log_density: LogDensity,
    state: State,
    *,
    step_size: float,
    burn_in: int,
    steps: int,
    target: float | None,
    frames: int,
    decay: float = 1.0,
    period: int | None = None,
) -> Run:
    """Run chains: burn in, where the step size may follow the acceptance, then step on with it held.

    Args:
        kernel: one transition.
        log_density: of the chains.
        state: where they start.
        step_size: of the first transition.
        burn_in: transitions in which the step size moves; it must not move later, or the chains lose their density.
        steps: transitions after them.
        target: the acceptance that the step size is moved towards; None: it stays.
        frames: how many moments are kept, the start and the end among them; 1: the end.
        decay: factor on the step size from one transition after burn-in to the next. Every transition leaves the
            density as it is, so large steps may find its parts, and small ones settle in them.
        period: transitions after which the step size begins again; None: never.

    Returns:
        The moments, and what the transitions after burn-in were like.
    """
    total = burn_in + steps
    # Chains move far at first and little later, so the moments kept thin out: 0, …, total.
    kept = {round(total * (i / max(frames - 1, 1)) ** 2) for i in range(frames)} if frames > 1 else {total}
    shots = [state.x] if 0 in kept else []
    accepted = torch.zeros_like(state.log_p[0])  # on the device: only adapting chains wait for it
    for t in range(1, total + 1):
        shrunk = decay ** (max(0, t - burn_in - 1) % (period or total))
        state, probability = kernel(log_density, state, step_size * shrunk)
        if t <= burn_in and target is not None:  # Robbins and Monro's steps
            step_size *= exp(2 * (float(probability.mean()) - target) / t**0.6)
        elif t > burn_in:
            accepted += probability.mean() / steps
        if t in kept:
            shots.append(state.x)
    return Run(torch.stack(shots), accepted, step_size)


OPTIMAL = {"metropolis": 0.44, "langevin": 0.574, "hmc": 0.8}
"""Acceptances that mix best, of few dimensions for metropolis (Gelman, Roberts and Gilks, 1996; Neal, 2011)."""
