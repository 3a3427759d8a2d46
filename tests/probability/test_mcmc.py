"""Chains reach the density they are run for: moments of Gaussians in closed form, and no step size of their own."""

from functools import partial

import pytest
import torch

from gentool.probability import mcmc
from gentool.training.rng import fork

CHAINS = 3000
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)
NORMAL = torch.distributions.MultivariateNormal(torch.tensor([0.5, -1.0], dtype=torch.float64), COVARIANCE)
HMC = partial(mcmc.hmc, leapfrog_steps=5)
KERNELS = {
    "metropolis": (mcmc.metropolis, 1.0, 150),
    "langevin": (mcmc.langevin, 0.9, 60),
    "hmc": (HMC, 0.4, 15),
}


def log_density(x):
    return NORMAL.log_prob(x) + 7.0  # no chain may need the constant


def ends(kernel, step_size, steps, log_p=log_density, start=2.0, **options):
    options = {"burn_in": 0, "target": None, "frames": 1, **options}
    with fork(0):
        x = start * torch.randn(CHAINS, 2, dtype=torch.float64)
        state = mcmc.state_at(log_p, x, gradient=True)
        return mcmc.run(kernel, log_p, state, step_size=step_size, steps=steps, **options)


def has_the_moments(x):
    torch.testing.assert_close(x.mean(0), NORMAL.mean, atol=5 / CHAINS**0.5, rtol=0)
    torch.testing.assert_close(x.T.cov(), COVARIANCE, atol=0.12, rtol=0)


@pytest.mark.parametrize("name", KERNELS)
def test_chains_end_in_their_density(name):
    kernel, step_size, steps = KERNELS[name]
    run = ends(kernel, step_size, steps)
    has_the_moments(run.frames[-1])
    assert 0.2 < run.acceptance < 1 and run.step_size == step_size


def _always(state, proposal, log_ratio):
    return proposal, torch.ones_like(log_ratio)


@pytest.mark.parametrize("name", KERNELS)
def test_chains_that_accept_everything_miss_it(name, monkeypatch):
    kernel, step_size, steps = KERNELS[name]
    monkeypatch.setattr(mcmc, "_choose", _always)
    with pytest.raises(AssertionError):
        has_the_moments(ends(kernel, 1.2 if name == "hmc" else step_size, steps).frames[-1])


def test_langevin_without_its_correction_for_asymmetry_misses_it(monkeypatch):
    choose = mcmc._choose
    monkeypatch.setattr(
        mcmc, "_choose", lambda state, proposal, ratio: choose(state, proposal, proposal.log_p - state.log_p)
    )
    with pytest.raises(AssertionError):
        has_the_moments(ends(mcmc.langevin, 0.9, 60).frames[-1])


def test_unadjusted_langevin_of_a_quadratic_energy_has_its_own_variance():
    """x' = (1 - s²/2) x + s eps is stationary at variance 1 / (1 - s²/4): right as s goes to 0, and only then."""
    for s in (0.3, 1.0):
        x = ends(
            mcmc.unadjusted_langevin, s, round(12 / s**2), log_p=lambda x: -x.square().sum(1) / 2, start=1.0
        ).frames[-1]
        torch.testing.assert_close(x.var(0).mean().item(), 1 / (1 - s**2 / 4), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("kernel", "step_size", "steps"),
    [(partial(mcmc.langevin, drift=0.2), 0.9, 60), (partial(HMC, drift=0.2), 0.4, 15)],
)
def test_a_limit_on_the_drift_leaves_the_density_and_lets_chains_leave_where_it_is_steep(kernel, step_size, steps):
    has_the_moments(ends(kernel, step_size, steps).frames[-1])
    steep = ends(kernel, step_size, 1, log_p=lambda x: -1e4 * x.square().sum(1))
    free = kernel.func if kernel.func is mcmc.langevin else HMC
    assert steep.acceptance > ends(free, step_size, 1, log_p=lambda x: -1e4 * x.square().sum(1)).acceptance


def test_step_sizes_shrink_round_by_round():
    seen = []

    def watching(log_p, state, step_size):
        seen.append(step_size)
        return state, torch.ones_like(state.log_p)

    ends(watching, 0.8, 5, decay=0.5, period=3)
    assert seen == [0.8, 0.4, 0.2, 0.8, 0.4]


@pytest.mark.parametrize("name", KERNELS)
def test_the_step_size_finds_the_wanted_acceptance(name):
    kernel, _, steps = KERNELS[name]
    for first in (0.03, 3.0):
        run = ends(kernel, first, steps, burn_in=200, target=mcmc.OPTIMAL[name])
        assert abs(run.acceptance - mcmc.OPTIMAL[name]) < 0.05
    has_the_moments(run.frames[-1])


def test_energy_is_almost_conserved_and_its_error_falls_with_the_step_squared():
    with fork(0):
        state = mcmc.state_at(log_density, NORMAL.sample((500,)), gradient=True)
    rejected = []
    for step in (0.2, 0.1):
        with fork(1):
            rejected.append(1 - HMC(log_density, state, step)[1].mean().item())
    assert 2.5 < rejected[0] / rejected[1] < 6


def test_gradients_are_those_of_the_density_and_leave_no_graph():
    x = torch.randn(5, 2, dtype=torch.float64)
    with torch.no_grad():
        state = mcmc.state_at(log_density, x, gradient=True)
    torch.testing.assert_close(state.gradient, (NORMAL.mean - x) @ COVARIANCE.inverse())
    assert not any(t.requires_grad for t in state)


def test_a_density_of_flat_pieces_has_no_gradient_and_no_chain_leaves_it():
    def box(x):
        return torch.where((x.abs() < 1).all(1), 0.0, -torch.inf).double()

    for kernel in (mcmc.metropolis, mcmc.langevin):
        x = ends(kernel, 0.8, 60, log_p=box, start=0.1).frames[-1]
        assert (x.abs() < 1).all()
        torch.testing.assert_close(x.var(0), torch.full((2,), 1 / 3).double(), atol=0.04, rtol=0)


def test_images_are_chains_too_and_frames_go_from_start_to_end():
    with fork(0):
        x = torch.randn(20, 1, 3, 3)
        state = mcmc.state_at(lambda x: -x.square().flatten(1).sum(1), x, gradient=True)
        options = {"step_size": 0.3, "burn_in": 5, "steps": 20, "target": 0.6}
        run = mcmc.run(mcmc.langevin, lambda x: -x.square().flatten(1).sum(1), state, frames=6, **options)
    assert run.frames.shape == (6, 20, 1, 3, 3) and torch.equal(run.frames[0], x)
    with fork(0):
        torch.randn(20, 1, 3, 3)
        end = mcmc.run(mcmc.langevin, lambda x: -x.square().flatten(1).sum(1), state, frames=1, **options)
    assert torch.equal(end.frames[-1], run.frames[-1])
