from math import log

import pytest
import torch

from gentool.errors import Unavailable
from gentool.metrics.quadrature import JensenShannon, grid, jensen_shannon
from gentool.probability import toys
from gentool.probability.densities import GaussianMixture
from tests.metrics.evaluations import evaluation
from tests.metrics.models import Normal
from tests.spaces import space


def js(model, density, x, resolution=64):
    ours = evaluation(space((x.shape[1],)), None, x, model=model, density=density)
    return JensenShannon(resolution=resolution, draws=1)(ours)


def test_a_density_against_itself_is_zero_and_far_apart_log_two():
    """A planted fault kills it: with the cell's area left out neither is right."""
    normal = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    x = normal.sample(4000, torch.Generator().manual_seed(0))
    same = js(Normal(space((2,))), normal, x)
    assert same.value == pytest.approx(0, abs=1e-3) and same.protocol["mass_on_grid"] == pytest.approx(1, abs=2e-3)
    far = GaussianMixture(torch.ones(1), torch.full((1, 2), 50.0), torch.ones(1))
    apart = js(Normal(space((2,))), far, x + 50)
    assert apart.value == pytest.approx(log(2), abs=1e-3) and apart.protocol["mass_on_grid"] < 1e-6


def test_agrees_with_monte_carlo_on_the_line_and_on_the_plane():
    for dims in (1, 2):
        density = toys.two_gaussians(dims=dims, distance=3.0, sigma=0.5)
        x = density.sample(20_000, torch.Generator().manual_seed(1)).double()
        torch.manual_seed(0)
        z = torch.randn(20_000, dims).double()

        def log_q(points):
            return torch.distributions.Normal(0.0, 1.0).log_prob(points).sum(1)

        def against_both(points, log_density, other=density):
            mixed = torch.logaddexp(other.log_prob(points), log_q(points)) - log(2)
            return (log_density(points) - mixed).mean().item()

        expected = (against_both(x, density.log_prob) + against_both(z, log_q)) / 2
        found = js(Normal(space((dims,))), density, torch.cat([x, z]).float())
        assert found.value == pytest.approx(expected, abs=0.01)


def test_by_hand_on_two_cells():
    points, cell = grid(torch.tensor([[0.0], [1.0]]), 2)
    assert points[:, 0].tolist() == pytest.approx([0.2, 0.8]) and cell == pytest.approx(0.6)
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    expected = (log(4 / 3) + 0.5 * log(2 / 3) + 0.5 * log(2)) / 2
    assert jensen_shannon(p.log(), q.log(), 1.0) == pytest.approx((expected, 1, 1))
    assert jensen_shannon(p.log(), p.log() - 100, 1.0)[0] == pytest.approx(log(2))  # a model whose mass is elsewhere


def test_what_does_not_integrate_to_one_is_no_density():
    class Twice(Normal):
        def log_prob(self, x, y=None, *, draws=1):
            return super().log_prob(x) + log(2)

    normal = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    x = normal.sample(500, torch.Generator().manual_seed(0))
    with pytest.raises(Unavailable, match=r"no density: its integral is [12]\."):
        js(Twice(space((2,))), normal, x)


def test_needs_the_plane_and_its_density():
    with pytest.raises(Unavailable, match="density is known"):
        js(Normal(space((2,))), None, torch.randn(5, 2))
