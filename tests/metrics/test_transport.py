from math import sqrt

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from gentool.metrics.bootstrap import bootstrap_error, parts_error
from gentool.metrics.transport import SlicedWasserstein, Wasserstein, directions, sliced_wasserstein_2, wasserstein_1
from tests.metrics.evaluations import evaluation
from tests.spaces import space


def test_on_the_line_it_is_scipys():
    torch.manual_seed(0)
    a, b = torch.randn(70, 1).double(), 2 * torch.randn(70, 1).double() + 1
    assert wasserstein_1(a, b) == pytest.approx(wasserstein_distance(a[:, 0].numpy(), b[:, 0].numpy()))


def test_a_shift_moves_every_point_by_its_length_and_a_set_is_nowhere_far_from_itself():
    torch.manual_seed(0)
    a, shift = torch.randn(60, 3).double(), torch.tensor([0.3, -0.4, 1.2]).double()
    shuffled = a[torch.randperm(60)]
    assert wasserstein_1(a, shuffled) == pytest.approx(0, abs=1e-12)
    assert wasserstein_1(a, shuffled + shift) == pytest.approx(1.3)
    lines = directions(3, 4000, seed=0)
    assert sliced_wasserstein_2(a, shuffled, lines) == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein_2(a, shuffled + shift, lines) == pytest.approx(1.3 / sqrt(3), rel=0.03)
    assert sliced_wasserstein_2(a[:, :1], 3 * a[:, :1], directions(1, 5, 0)) == pytest.approx(
        2 * a[:, 0].square().mean().sqrt().item()
    )


def test_of_samples_whatever_the_order_and_the_blocks():
    torch.manual_seed(0)
    x, held = torch.randn(160, 2), torch.randn(160, 2) + torch.tensor([2.0, 0.0])
    for metric in (Wasserstein(num_samples=500), SlicedWasserstein(projections=50, num_samples=500)):
        first = metric(evaluation(space((2,)), x, held))
        again = metric(evaluation(space((2,)), x[torch.randperm(160)], held[torch.randperm(160)], size=9))
        assert again.value == pytest.approx(first.value) and first.protocol["num_samples"] == 160
        assert 0 < first.standard_error < 0.3 * first.value
    assert metric(evaluation(space((2,)), x[:15], held)).standard_error is None


def test_errors_of_a_mean_are_those_of_the_textbook():
    torch.manual_seed(0)
    x = torch.randn(400, dtype=torch.float64)
    expected = x.std().item() / 20
    assert bootstrap_error(lambda rows: float(x[rows].mean()), 400, seed=0) == pytest.approx(expected, rel=0.2)
    spread = [parts_error(lambda a, b: float(a.mean() - b.mean()), *torch.randn(2, 64, 1).double()) for _ in range(200)]
    assert np.mean(spread) == pytest.approx(sqrt(2 / 64), rel=0.15)
