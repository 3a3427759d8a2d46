"""What energies are without their network: densities in closed form, and draws from them."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from gentool.probability.energy_base import Ball, Cube, Fitted
from gentool.training.rng import fork

COVARIANCE = torch.tensor([[2.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 0.5]])
MEAN = torch.tensor([1.0, -2.0, 0.5])


def fitted(components, noise=0.0, n=20000):
    base = Fitted((3,), components)
    x = MEAN + torch.randn(n, 3, generator=torch.Generator().manual_seed(0)) @ torch.linalg.cholesky(COVARIANCE).T
    base.fit(x.split(3000), noise)
    return base, x


def is_the_gaussian(base, mean, covariance):
    density = MultivariateNormal(mean, covariance)
    with fork(0):
        x = 3 * torch.randn(50, 3)
        drawn = base.draw(40000)
    apart = base(x) + density.log_prob(x)
    torch.testing.assert_close(apart - apart[0], torch.zeros(50), atol=2e-3, rtol=0)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.04, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), covariance, atol=0.06, rtol=0)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_all_but_one_component_is_the_whole_covariance_with_noise(noise):
    base, x = fitted(2, noise)
    is_the_gaussian(base, x.mean(0), x.T.cov(correction=0) + noise**2 * torch.eye(3))
    base.along.mul_(1.2)
    with pytest.raises(AssertionError):
        is_the_gaussian(base, x.mean(0), x.T.cov(correction=0) + noise**2 * torch.eye(3))


@pytest.mark.parametrize("components", [0, 1])
def test_the_rest_has_the_mean_of_its_variances(components):
    base, x = fitted(components)
    variances, axes = torch.linalg.eigh(x.T.cov(correction=0))
    rest = 3 - components
    variances[:rest] = variances[:rest].mean()
    is_the_gaussian(base, x.mean(0), axes @ variances.diag() @ axes.T)


def test_constant_data_without_noise_have_a_density_still():
    base = Fitted((4,), 2)
    base.fit([torch.ones(10, 4)], 0.0)
    assert torch.isfinite(base(base.draw(5))).all()


def test_a_ball_and_a_cube():
    with fork(0):
        ball, cube = Ball((3,), 2.0), Cube((3,))
        is_the_gaussian(ball, torch.zeros(3), 4 * torch.eye(3))
        x = cube.draw(5000)
    assert x.abs().max() <= 1 and torch.equal(cube(x), torch.zeros(5000))
    torch.testing.assert_close(x.var(0), torch.full((3,), 1 / 3), atol=0.02, rtol=0)
