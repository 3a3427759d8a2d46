import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

from gentool.metrics.kernel import Discrepancy, KernelDistance, cubic, gaussian, median_distance, squared_discrepancy
from tests.metrics.evaluations import evaluation
from tests.spaces import space


def by_hand(xx, yy, xy):
    n, m = len(xx), len(yy)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return within - 2 * xy.mean()


@pytest.mark.parametrize("at_once", [1000, 7])
def test_agrees_with_scikit_learns_kernels(at_once, monkeypatch):
    monkeypatch.setattr("gentool.metrics.kernel.AT_ONCE", at_once)
    torch.manual_seed(0)
    a, b = torch.randn(60, 5, dtype=torch.float64), 0.5 + torch.randn(90, 5, dtype=torch.float64)
    kernels = {
        cubic: lambda x, y: polynomial_kernel(x, y, degree=3, gamma=1 / 5, coef0=1),
        gaussian(0.7): lambda x, y: rbf_kernel(x, y, gamma=1 / (2 * 0.7**2)),
    }
    for ours, theirs in kernels.items():
        expected = by_hand(theirs(a, a), theirs(b, b), theirs(a, b))
        assert squared_discrepancy(a, b, ours)[0] == pytest.approx(expected, rel=1e-9)
        assert squared_discrepancy(b, a, ours)[0] == pytest.approx(expected, rel=1e-9)


def test_unbiased_zero_on_average_and_its_error_is_the_spread():
    """A planted fault kills it: with the diagonal left in, the mean lies far above zero."""
    torch.manual_seed(0)

    def found(shift):
        sets = ((torch.randn(80, 3).double(), torch.randn(120, 3).double() + shift) for _ in range(150))
        return torch.tensor([squared_discrepancy(a, b, gaussian(1.5)) for a, b in sets]).T

    values, _ = found(0.0)
    assert abs(values.mean()) < 4 * values.std() / 150**0.5
    values, errors = found(1.0)
    assert errors.mean().item() == pytest.approx(values.std().item(), rel=0.2)


def test_gaussians_in_closed_form():
    torch.manual_seed(1)
    a, b = torch.randn(2000, 1).double(), 2 + torch.randn(2000, 1).double()
    scale = (1 / 3) ** 0.5  # E k = sqrt(h² / (h² + 2)) exp(-d² / (2 (h² + 2))), h = 1
    expected = 2 * scale * (1 - torch.exp(torch.tensor(-4.0 / 6)).item())
    assert squared_discrepancy(a, b, gaussian(1.0))[0] == pytest.approx(expected, rel=0.1)


def test_as_metrics_whatever_the_order_and_the_blocks():
    torch.manual_seed(0)
    x, held = torch.randn(300, 2), torch.randn(400, 2) + 1
    for metric in (KernelDistance(features="auto", num_samples=300), Discrepancy(num_samples=300)):
        first = metric(evaluation(space((2,)), x, held))
        again = metric(evaluation(space((2,)), x[torch.randperm(300)], held, size=13))
        assert again.value == pytest.approx(first.value, rel=1e-9) and first.value > 5 * first.standard_error
    assert first.protocol["bandwidth"] == round(median_distance(held[:300].double()), 6)
