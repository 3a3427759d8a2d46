from math import log

import pytest
import torch

from gentool.probability import toys
from gentool.probability.densities import GaussianMixture
from gentool.probability.modes import SAMPLES, modes_captured, separated


def test_the_data_itself_captures_every_mode_at_the_rate_of_a_chi():
    for mixture in (toys.ring(modes=8, radius=1.0, sigma=0.01), toys.grid(side=5, spacing=2.0, sigma=0.05)):
        x = mixture.sample(40 * SAMPLES, torch.Generator().manual_seed(0))
        modes = modes_captured(x, mixture)
        assert modes.captured == len(mixture.means)
        assert modes.high_quality == pytest.approx(1 - torch.exp(torch.tensor(-4.5)).item(), abs=1e-3)
        assert modes.reverse_kl == pytest.approx(0, abs=1e-3)


def test_by_hand_one_mode_of_high_quality_and_one_sample_astray():
    mixture = toys.ring(modes=4, radius=1.0, sigma=0.01)
    x = torch.tensor([[1.0, 0.0], [1.0, 0.029], [1.0, -0.02], [0.0, 1.5]])  # the last is nearest to mode 1, far off
    modes = modes_captured(x, mixture)
    assert modes == pytest.approx((1.0, 0.75, 0.75 * log(3) + 0.25 * log(1)))
    assert modes_captured(x[:3], mixture).reverse_kl == pytest.approx(log(4))
    assert modes_captured(x[[3, 1, 0, 2]], mixture) == modes


def test_the_reach_ends_at_three_standard_deviations_of_the_mode_itself():
    mixture = GaussianMixture(torch.ones(2), torch.tensor([[0.0, 0.0], [10.0, 0.0]]), torch.tensor([1.0, 0.1]))
    assert modes_captured(torch.tensor([[2.99, 0.0]]), mixture).high_quality == 1
    assert modes_captured(torch.tensor([[3.01, 0.0]]), mixture).high_quality == 0
    assert modes_captured(torch.tensor([[10.0, 0.31]]), mixture).captured == 0
    assert modes_captured(torch.tensor([[8.0, 0.0]]), mixture).reverse_kl == pytest.approx(log(2))


def test_what_has_modes_to_count():
    assert separated(toys.ring(modes=8, radius=1.0, sigma=0.01))
    assert not separated(toys.ring(modes=8, radius=1.0, sigma=0.2))
    assert not separated(toys.mixture(weights=[1.0], means=[[0.0]], sigmas=[1.0]))
    assert not separated(toys.moons(noise=0.1))
    assert not separated(None)
