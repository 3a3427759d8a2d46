"""Known densities: five ways to draw from them, each held against the density itself."""

from dataclasses import replace

import pytest
import torch

from gentool.errors import Unavailable, UsageError
from gentool.models.base import Refines
from gentool.models.known import Known
from gentool.probability import mcmc, toys
from gentool.training.rng import fork
from tests.spaces import space

METHODS = ("exact", "inverse_cdf", "metropolis", "langevin", "hmc")
LINE = toys.mixture(weights=[0.3, 0.7], means=[[-1.0], [1.0]], sigmas=[0.6, 0.4])
PLANE = toys.mixture(weights=[0.7, 0.3], means=[[0.0, 0.0], [1.0, 0.8]], sigmas=[0.7, 0.4])


QUANTILE = type(PLANE).quantile


def built(density, method="exact", **sampler):
    x = density.sample(4000, torch.Generator().manual_seed(0))
    where = replace(space((density.dims,)), loc=x.mean(0), scale=x.std(0))
    defaults = {"method": method, "step_size": None, "burn_in": 60, "steps": 60, "leapfrog_steps": 4}
    return Known(where, density=density, sampler={**defaults, **sampler})


def drawn(model, n, seed=0):
    with fork(seed):
        return model.sample(n).double()


def kolmogorov(x, n_draws):
    """Assert that draws (n,) come from LINE: the largest gap between the CDFs, at a chance of 1e-4 to be wrong."""
    x = x[:, 0].sort().values
    cdf = (LINE.weights * torch.special.ndtr((x[:, None] - LINE.means[:, 0]) / LINE.sigmas)).sum(1)
    steps = torch.arange(n_draws + 1) / n_draws
    gap = torch.maximum((cdf - steps[:-1]).abs().max(), (cdf - steps[1:]).abs().max()).item()
    assert gap < 2.23 / n_draws**0.5, f"the CDFs are {gap:.4f} apart"


@pytest.mark.parametrize("method", METHODS)
def test_draws_pass_kolmogorov_and_smirnovs_test(method):
    kolmogorov(drawn(built(LINE, method), 4000), 4000)


@pytest.mark.parametrize(
    ("method", "sampler"),
    [("metropolis", {"steps": 1, "burn_in": 0}), ("langevin", {"steps": 2, "burn_in": 0, "step_size": 0.05})],
)
def test_chains_that_are_too_short_do_not(method, sampler):
    with pytest.raises(AssertionError):
        kolmogorov(drawn(built(LINE, method, **sampler), 4000), 4000)


@pytest.mark.parametrize("method", ["metropolis", "langevin", "hmc"])
def test_chains_of_another_density_are_caught(method, monkeypatch):
    """Every proposal taken; or those taken by half of the log ratio, which is another temperature."""
    choose = mcmc._choose
    for fault in (
        lambda state, proposal, ratio: choose(state, proposal, ratio + torch.inf),
        lambda state, proposal, ratio: choose(state, proposal, ratio / 2),
    ):
        monkeypatch.setattr(mcmc, "_choose", fault)
        with pytest.raises(AssertionError):
            kolmogorov(drawn(built(LINE, method, step_size=0.9, burn_in=0), 4000), 4000)


def has_the_densitys_moments(method):
    x = drawn(built(PLANE, method), 2000)
    other = PLANE.sample(200_000, torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(x.mean(0), other.mean(0), atol=0.08, rtol=0)
    torch.testing.assert_close(x.T.cov(), other.T.cov(), atol=0.08, rtol=0)
    assert abs(PLANE.log_prob(x).mean() + PLANE.entropy()) < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_draws_in_the_plane_have_the_densitys_moments(method):
    has_the_densitys_moments(method)


def _marginal(self, u):
    lines = [type(self)(self.weights, means[:, None], self.sigmas) for means in self.means.T]
    return torch.cat([QUANTILE(line, column[:, None]) for line, column in zip(lines, u.T, strict=True)], 1)


@pytest.mark.parametrize(
    "fault",
    [_marginal, lambda self, u: QUANTILE(self, u[:, :1].expand_as(u)), lambda self, u: QUANTILE(self, u.square())],
    ids=["each dimension by itself", "one number for both", "numbers that are not uniform"],
)
def test_a_wrong_inverse_cdf_is_caught(fault, monkeypatch):
    monkeypatch.setattr(type(PLANE), "quantile", fault)
    with pytest.raises(AssertionError):
        has_the_densitys_moments("inverse_cdf")


def test_quantiles_invert_the_cdf():
    u = torch.rand(1000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = LINE.quantile(u)
    back = (LINE.weights * torch.special.ndtr((x - LINE.means[:, 0]) / LINE.sigmas)).sum(1)
    torch.testing.assert_close(back, u[:, 0], atol=1e-12, rtol=0)
    assert (LINE.quantile(u.sort(0).values).diff(dim=0) >= 0).all()
    ring = toys.ring(modes=8, radius=1.0, sigma=0.01)
    x = ring.quantile(torch.rand(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert abs(ring.log_prob(x).mean() + ring.entropy()) < 0.08


def test_quantiles_of_a_second_dimension_are_those_given_the_first():
    u = torch.rand(1000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = PLANE.quantile(u)
    normal = torch.distributions.Normal(PLANE.means, PLANE.sigmas[:, None])
    weights = PLANE.weights * normal.log_prob(x[:, None]).exp()[:, :, 0]
    below = (weights * normal.cdf(x[:, None])[:, :, 1]).sum(1) / weights.sum(1)
    torch.testing.assert_close(below, u[:, 1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", ["metropolis", "langevin", "hmc"])
def test_chains_say_what_they_did_and_their_last_moment_is_the_sample(method):
    model = built(PLANE, method, burn_in=80)
    assert isinstance(model, Refines) and model.remarks() == {}
    x = drawn(model, 200)
    assert 0.3 < model.remarks()["acceptance"] < 0.95 and model.remarks()["step size"] > 0
    with fork(0):
        frames = model.chain(200, frames=10)
    assert frames.shape == (10, 200, 2) and torch.equal(frames[-1].double(), x)
    assert model.state_dict() == {}


def test_methods_without_chains_have_no_moments():
    assert built(PLANE, "exact").chain(3, frames=5) is None


def test_a_step_size_that_is_given_is_kept():
    model = built(PLANE, "metropolis", step_size=0.3)
    drawn(model, 10)
    assert model.remarks()["step size"] == 0.3


def test_what_cannot_be_is_refused():
    with pytest.raises(Unavailable, match="CDF"):
        drawn(built(toys.moons(noise=0.1), "inverse_cdf"), 5)
    with pytest.raises(UsageError, match="density is known"):
        Known(space((2,)), density=None, sampler=built(PLANE).sampler)
    with pytest.raises(UsageError, match="of 2 real numbers"):
        Known(space((1,)), density=PLANE, sampler=built(PLANE).sampler)


@pytest.mark.parametrize("method", ["exact", "metropolis", "langevin", "hmc"])
@pytest.mark.parametrize(
    "density", [toys.moons(noise=0.1), toys.checkerboard(squares=4, side=2.0)], ids=["moons", "board"]
)
def test_other_densities_are_sampled_too(method, density):
    x = drawn(built(density, method, burn_in=40, steps=40), 300)
    assert torch.isfinite(density.log_prob(x)).all()
