import numpy as np
import torch

from gentool.plots.landscapes import draw_landscape, file_name, landscape
from gentool.probability.kernel_density import kernel_density

CPU = torch.device("cpu")
BOX = [(-2.0, 2.0), (-1.0, 3.0)]


def test_numbers_come_with_their_gradient_and_vectors_with_their_length():
    land = landscape(lambda x: x[:, 0] ** 2 + 3 * x[:, 1], BOX, 12, CPU)
    assert torch.allclose(land.arrows, torch.stack([2 * land.points[:, 0], torch.full((144,), 3.0)], 1))
    field = landscape(lambda x: 2 * x, BOX, 12, CPU)
    assert field.is_vector and torch.allclose(field.value, 2 * field.points.norm(dim=1))
    flat = landscape(lambda x: torch.ones(len(x)), BOX, 12, CPU)
    assert flat.arrows is None and draw_landscape(flat, None, title="t").shape[2] == 3


def test_arrows_point_up_the_field():
    """The picture of x_1 has arrows to the right: their heads, wider than their tails, lie there."""
    land = landscape(lambda x: x[:, 0], BOX, 40, CPU)
    assert (land.arrows[:, 0] == 1).all() and (land.arrows[:, 1] == 0).all()
    pixels = draw_landscape(land, None, title="t")
    assert draw_landscape(land, torch.zeros(3, 2), title="t").shape == pixels.shape


def test_a_line_has_a_curve_its_derivative_and_what_it_should_be():
    land = landscape(lambda x: torch.sigmoid(x[:, 0]), BOX[:1], 50, CPU)
    alone = draw_landscape(land, torch.zeros(4, 1), title="discriminator")
    full = draw_landscape(land, torch.zeros(4, 1), title="discriminator", densities={"p": land.value, "q": land.value},
                          reference=("p / (p + q)", land.value))  # fmt: skip
    assert alone.shape == full.shape and np.abs(alone.astype(int) - full).max() > 50
    vectors = landscape(lambda x: -x, BOX[:1], 50, CPU)
    assert draw_landscape(vectors, None, title="score").shape[1] < alone.shape[1]


def test_names_of_files():
    assert file_name("score at sigma=0.5") == "score_at_sigma_0.5" and file_name("critic") == "critic"


def test_a_kernel_density_follows_modes_that_are_far_apart():
    g = torch.Generator().manual_seed(0)
    sign = torch.randint(2, (2000, 1), generator=g) * 2.0 - 1
    draws = 2 * sign + 0.1 * torch.randn(2000, 1, generator=g)
    x = torch.linspace(-4, 4, 801)[:, None]
    density = kernel_density(draws, x).exp()
    assert abs(float(density.sum() * 0.01) - 1) < 1e-3
    parts = [torch.distributions.Normal(m, 0.1).log_prob(x[:, 0]).exp() / 2 for m in (-2.0, 2.0)]
    assert float((density - sum(parts)).abs().sum() * 0.01) < 0.12  # the rule of thumb for one mode is off by 1.6
    plane = kernel_density(torch.randn(500, 2, generator=g) * torch.tensor([1.0, 10.0]), torch.zeros(1, 2)).exp()
    assert abs(float(plane) * 2 * torch.pi * 10 - 1) < 0.3
