"""Dequantisation: the noise fills the cell, the constants are those of integers, the way back is the inverse."""

from math import log

import pytest
import torch
from torch import Tensor

from gentool.models.flow import Flow
from gentool.probability.dequantise import dequantise, quantise
from gentool.probability.transforms import Compose, Flatten, Transform
from tests.spaces import space

NORMAL = torch.distributions.Normal(0.0, 1.0)


class Gaussianise(Transform):
    """Maps what is uniform on [-1, 1) to N(0, 1)."""

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = NORMAL.icdf((x + 1) / 2)
        return z, (-NORMAL.log_prob(z) - log(2)).flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return 2 * NORMAL.cdf(z) - 1, (NORMAL.log_prob(z) + log(2)).flatten(1).sum(1)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_has_log_levels_nats_a_pixel(levels):
    data = space((1, 4, 3), levels=levels, classes=0)
    model = Flow(
        data,
        transform=lambda where, classes: Compose([Gaussianise(), Flatten(where.shape)]),
        prior="normal",
        components=1,
        alpha=None,
        conditional=False,
        sampler={"temperature": 1.0},
    )
    x = torch.randint(0, levels, (50, 1, 4, 3))
    expected = torch.full((50,), -12 * log(levels))
    for draws in (1, 5):
        torch.testing.assert_close(model.log_prob(x, draws=draws), expected, rtol=1e-5, atol=1e-4)
    model.register_parameter("where", torch.nn.Parameter(torch.zeros(())))  # sample asks a parameter for its device
    share = torch.bincount(model.sample(2000).flatten().long(), minlength=levels) / 24000
    assert (share - 1 / levels).abs().max() < 5 * (1 / levels / 24000) ** 0.5


@pytest.mark.parametrize("alpha", [None, 0.05, 1e-3])
@pytest.mark.parametrize("levels", [2, 256])
def test_the_way_back_is_the_inverse(levels, alpha):
    x = torch.arange(levels)[None].double()
    u = torch.rand(1, levels).double() * 0.998 + 0.001
    v, _ = dequantise(x, u, levels, alpha)
    torch.testing.assert_close(quantise(v, levels, alpha), x + u, rtol=1e-6, atol=1e-6)
    assert (quantise(v, levels, alpha).floor() == x).all()


@pytest.mark.parametrize("alpha", [None, 0.05])
def test_log_det_is_the_slope(alpha):
    x = torch.randint(0, 256, (3, 5)).double()
    u = torch.rand(3, 5).double().requires_grad_()
    v, log_det = dequantise(x, u, 256, alpha)
    slopes = torch.autograd.grad(v.sum(), u)[0]
    torch.testing.assert_close(log_det, slopes.log().sum(1), rtol=1e-9, atol=1e-9)


def test_the_noise_fills_the_whole_cell():
    """Half a cell would make every likelihood too high by log 2 a dimension."""
    u = torch.tensor([0.0, 1.0])
    ends, _ = dequantise(torch.tensor([[3], [3]]), u[:, None], 8, None)
    assert (ends[1] - ends[0]).item() == pytest.approx(2 / 8)
    assert dequantise(torch.tensor([[0]]), 0.0, 8, None)[0].item() == -1
    assert dequantise(torch.tensor([[7]]), 1.0, 8, None)[0].item() == 1
