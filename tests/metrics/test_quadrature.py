from math import log

import pytest
import torch

from gentool.errors import Unavailable
from gentool.metrics.quadrature import Divergence, grid, jensen_shannon, kullback_leibler
from gentool.probability import toys
from gentool.probability.densities import GaussianMixture
from tests.metrics.evaluations import evaluation
from tests.metrics.models import Normal
from tests.spaces import space


class Known(Normal):
    """A model whose density is another known one."""

    def __init__(self, density):
        super().__init__(space((density.dims,)))
        self.density = density

    def log_prob(self, x, y=None, *, draws=1):
        self.scored += len(x)
        return self.density.log_prob(x)


def divergence(quantity, model, density, x, resolution=64):
    ours = evaluation(space((x.shape[1],)), None, x, model=model, density=density)
    return Divergence(quantity=quantity, resolution=resolution, draws=1)(ours)


def js(*args, **options):
    return divergence("js", *args, **options)


def kl(*args, **options):
    return divergence("kl", *args, **options)


def few(density, n=20):
    return density.sample(n, torch.Generator().manual_seed(0))


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
    with pytest.raises(Unavailable, match=r"no density: its integral is 2$"):
        js(Twice(space((2,))), normal, x)


def test_needs_the_plane_and_its_density():
    with pytest.raises(Unavailable, match="density is known"):
        js(Normal(space((2,))), None, torch.randn(5, 2))


@pytest.mark.parametrize("dims", [1, 2])
def test_kl_of_two_gaussians_in_closed_form_however_few_examples_there_are(dims):
    """Planted faults kill it: p and q exchanged, the cell's volume left out, a grid over the examples alone."""
    normal = GaussianMixture(torch.ones(1), torch.full((1, dims), 0.5), torch.tensor([2.0]))
    exact = dims * ((4 + 0.25 - 1) / 2 - log(2))  # KL(N(1/2, 4) || N(0, 1)) an axis
    found = kl(Normal(space((dims,))), normal, few(normal))
    assert found.value == pytest.approx(exact, abs=2e-3) and found.standard_error is None
    assert kl(Known(normal), normal, few(normal)).value == pytest.approx(0, abs=1e-6)


def test_modes_as_narrow_as_the_rings_are_resolved_and_a_grid_too_coarse_for_them_is_refused():
    """A planted fault kills it: without the check of the data's mass the coarse grid's number is given out."""
    narrow, wide = (toys.ring(modes=8, radius=1.0, sigma=sigma) for sigma in (0.01, 0.02))
    exact = 2 * (log(2) - (1 - 1 / 4) / 2)  # of the Gaussians of each mode, as modes do not meet
    assert kl(Known(wide), narrow, few(narrow), resolution=512).value == pytest.approx(exact, abs=1e-4)
    for measured in (js, kl):
        with pytest.raises(Unavailable, match="too coarse: the data's density integrates to"):
            measured(Known(wide), narrow, few(narrow), resolution=50)


def test_kl_is_infinite_where_the_models_density_vanishes_on_data_and_then_says_so():
    board = toys.checkerboard(squares=4, side=1.0)
    normal = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    with pytest.raises(Unavailable, match=r"KL is infinite: .* 0\.54 of the data's mass"):
        kl(Known(board), normal, few(normal), resolution=256)
    assert 0 < js(Known(board), normal, few(normal), resolution=256).value < log(2)
    found = kl(Known(normal), board, few(board), resolution=256)  # the other way it is finite
    area = torch.tensor(8.0)  # E_board[-log N(x; 0, I)] - log 8, E |x|² = 2 (4² / 12)
    assert found.value == pytest.approx((2 * 16 / 12 / 2 + log(2 * torch.pi) - area.log()).item(), abs=0.02)


def test_kl_by_hand_on_two_cells_and_both_quantities_share_one_pass():
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    assert kullback_leibler(p.log(), q.log(), 1.0) == pytest.approx(log(2))
    assert kullback_leibler(q.log(), p.log(), 1.0) == float("inf")
    normal = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    model = Known(normal)
    ours = evaluation(space((2,)), None, few(normal), model=model, density=normal)
    for quantity in ("js", "kl"):
        Divergence(quantity=quantity, resolution=64, draws=1)(ours)
    assert model.scored == 64**2
