import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from gentool.errors import Unavailable
from gentool.metrics.frechet import Frechet, frechet_between, frechet_distance, moments
from tests.metrics.evaluations import evaluation
from tests.spaces import space


def gaussian(n, mean, root, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, len(mean), dtype=torch.float64, generator=generator)
    return noise @ torch.tensor(root, dtype=torch.float64).T + torch.tensor(mean, dtype=torch.float64)


def test_two_gaussians_in_closed_form():
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert frechet_distance(zero + 3, one * 4, zero, one * 9) == pytest.approx(3**2 + (2 - 3) ** 2)
    a, b = torch.diag(torch.tensor([1.0, 4.0, 0.0]).double()), torch.diag(torch.tensor([9.0, 4.0, 1.0]).double())
    assert frechet_distance(zero.expand(3), a, zero.expand(3), b) == pytest.approx(4 + 0 + 1)


def test_agrees_with_scipys_matrix_root_in_any_basis():
    torch.manual_seed(0)
    a, b = (torch.randn(200, 12, dtype=torch.float64) @ torch.randn(12, 12, dtype=torch.float64) for _ in range(2))
    (ma, ca), (mb, cb) = moments(a), moments(b)
    assert torch.allclose(ca, torch.from_numpy(np.cov(a.numpy().T)))
    expected = np.sum((ma - mb).numpy() ** 2) + np.trace((ca + cb).numpy() - 2 * sqrtm((ca @ cb).numpy()).real)
    assert frechet_distance(ma, ca, mb, cb) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(mb, cb, ma, ca) == pytest.approx(expected, rel=1e-9)


def test_a_set_against_itself_is_zero_also_where_covariances_are_singular():
    x = torch.randn(5, 40, dtype=torch.float64)
    assert frechet_between(x, x[torch.randperm(5)]).value == pytest.approx(0, abs=1e-10)


def test_the_error_is_the_spread_over_new_draws():
    """A planted fault kills it: without the transport map the influence is that of the trace alone."""
    root_a, root_b = [[1.0, 0.3], [0.0, 0.5]], [[0.7, 0.0], [0.2, 1.5]]
    found = [
        frechet_between(gaussian(400, [0.0, 1.0], root_a, 2 * i), gaussian(800, [1.0, 0.0], root_b, 2 * i + 1))
        for i in range(200)
    ]
    values, errors = torch.tensor(found).T
    assert errors.mean().item() == pytest.approx(values.std().item(), rel=0.15)


def test_of_samples_against_examples_whatever_the_order_and_the_blocks():
    torch.manual_seed(0)
    where = space((2,))
    x, held = torch.randn(300, 2), torch.randn(500, 2) + 1
    metric = Frechet(features="auto", num_samples=300)
    first = metric(evaluation(where, x, held))
    assert first.protocol == {"features": "points", "num_samples": 300}
    assert first.value == pytest.approx(frechet_between(x.double(), held.double()).value)
    again = metric(evaluation(where, x[torch.randperm(300)], held[torch.randperm(500)], size=7))
    assert again.value == pytest.approx(first.value, abs=1e-9)
    assert Frechet(features="auto", num_samples=100)(evaluation(where, x, held)).protocol["num_samples"] == 100


def test_one_sample_or_one_example_is_refused():
    for given, held in ((1, 9), (9, 1)):
        with pytest.raises(Unavailable, match="2 or more"):
            Frechet(features="auto", num_samples=9)(
                evaluation(space((2,)), torch.zeros(given, 2), torch.zeros(held, 2))
            )


def test_pixels_are_divided_by_the_highest_level():
    torch.manual_seed(0)
    x, held = torch.randint(0, 5, (50, 1, 2, 2)).byte(), torch.randint(0, 5, (60, 1, 2, 2)).byte()
    value = Frechet(features="pixels", num_samples=50)(evaluation(space((1, 2, 2), levels=5), x, held)).value
    assert value == pytest.approx(frechet_between(x.flatten(1) / 4.0, held.flatten(1) / 4.0).value, rel=1e-5)
