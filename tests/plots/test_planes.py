import pytest
import torch

from gentool.plots.latent import draw_codes, draw_manifold
from gentool.plots.planes import drawn_grid, lerp, principal_plane, quantile_grid, slerp
from tests.spaces import space


@pytest.mark.parametrize("n", [400, 6])  # more points than dimensions, and fewer: two ways to the same plane
def test_the_plane_is_that_of_the_largest_deviations(n):
    torch.manual_seed(0)
    d = 8
    basis = torch.linalg.qr(torch.randn(d, d))[0]
    points = (torch.randn(n, d) * torch.tensor([9.0, 4.0] + [0.01] * (d - 2))) @ basis.T + 3
    plane = principal_plane(points)
    assert torch.allclose(plane.axes @ plane.axes.T, torch.eye(2), atol=1e-5)
    inside = basis[:, :2] @ basis[:, :2].T
    assert torch.allclose(plane.axes @ inside, plane.axes, atol=1e-2)
    assert plane.share > 0.999
    assert plane.deviations[0] > plane.deviations[1]
    assert torch.allclose(plane.lift(plane.project(points)), points, atol=0.1)
    assert torch.allclose(plane.deviations, plane.project(points).std(0, correction=0), rtol=1e-4)
    assert "8 dimensions" in plane.describe() and "100%" in plane.describe()


def test_the_plane_does_not_flip_with_the_sign_of_the_data():
    torch.manual_seed(0)
    points = torch.randn(50, 5)
    assert torch.allclose(principal_plane(points).axes, principal_plane(-points).axes, atol=1e-5)


def test_quantiles_cut_the_normal_into_equal_shares_and_are_read_from_the_top_left():
    grid = quantile_grid(4, 3)
    assert torch.allclose(torch.special.ndtr(grid[:4, 0]), torch.tensor([0.125, 0.375, 0.625, 0.875]), atol=1e-5)
    assert torch.allclose(torch.special.ndtr(grid[::4, 1]), torch.tensor([5 / 6, 0.5, 1 / 6]), atol=1e-5)
    assert (grid[:4, 1] == grid[0, 1]).all()


def test_the_great_arc_keeps_its_length_and_its_pace():
    torch.manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(4, 2, 3).flatten(1), dim=1).reshape(4, 2, 3) for _ in range(2))
    walk = slerp(a, b, torch.linspace(0, 1, 7)).flatten(2)
    assert torch.allclose(walk.norm(dim=2), torch.ones(4, 7), atol=1e-5)
    assert torch.allclose(walk[:, 0], a.flatten(1), atol=1e-6) and torch.allclose(walk[:, -1], b.flatten(1), atol=1e-6)
    paces = (walk[:, 1:] - walk[:, :-1]).norm(dim=2)
    assert torch.allclose(paces, paces[:, :1].expand_as(paces), atol=1e-4)


def test_parallel_ends_are_walked_straight_and_a_straight_walk_is_halfway_in_the_middle():
    a = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    t = torch.tensor([0.0, 0.5, 1.0])
    assert torch.equal(slerp(a, 3 * a, t), lerp(a, 3 * a, t))
    assert torch.equal(lerp(a, 3 * a, t)[0, 1], torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize("d", [1, 2, 5])
def test_codes_of_any_dimension_are_drawn(d):
    codes, y = torch.randn(40, d), torch.arange(40) % 3
    plane = principal_plane(codes) if d > 2 else None
    coloured = draw_codes(codes, y, plane, classes=3, title="t")
    plain = draw_codes(codes, None, plane, classes=0, title="t")
    assert coloured.shape[2] == 3 and coloured.std() > 1 and plain.std() > 1


def test_a_manifold_of_images_is_a_grid_and_of_points_a_mesh():
    images = draw_manifold(torch.ones(6, 1, 8, 8), space((1, 8, 8), levels=17), columns=3, title="t")
    assert images.shape[0] > 2 * 56 and images.shape[1] > 3 * 56
    assert draw_manifold(quantile_grid(4, 4), space((2,)), columns=4, title="t").std() > 1


def test_a_drawn_grid_is_that_of_the_normal_where_the_draws_are_normal_and_follows_them_elsewhere():
    torch.manual_seed(0)
    draws = torch.randn(50_000, 2)
    torch.testing.assert_close(drawn_grid(draws, 4, 3), quantile_grid(4, 3), atol=0.03, rtol=0)
    moved = drawn_grid(draws * torch.tensor([2.0, 0.5]) + 3, 4, 3)
    torch.testing.assert_close(moved, quantile_grid(4, 3) * torch.tensor([2.0, 0.5]) + 3, atol=0.06, rtol=0)
    torch.testing.assert_close(drawn_grid(draws[:, :1], 4, 1), quantile_grid(4, 1)[:, :1], atol=0.03, rtol=0)
