"""Natural-gradient ascent ends where it should, at the speed it claims."""

import pytest
import torch

from gentool.probability.ascent import TRUST, ascend, refine
from gentool.probability.posterior import Posterior
from gentool.training.rng import fork, get_state

MU, VAR = torch.tensor([[0.2, -0.1, 0.25]]), torch.tensor([[0.5, 1e-4, 30.0]])


def quadratic(z):
    return -0.5 * ((z - MU) ** 2 / VAR).sum(-1)


def start():
    return Posterior(torch.zeros(1, 3), torch.zeros(1, 3))


def test_one_step_of_rate_one_arrives_at_an_independent_gaussian():
    """Whatever the scales and the noise."""
    noise = torch.tensor([[[0.3, -2.0, 1.0]], [[0.1, 0.5, 1.5]]])
    q = ascend(quadratic, start(), rates=[1.0], noise=lambda: noise, weight=1.0)
    torch.testing.assert_close(q.mu[:, :2], MU[:, :2])
    expected = torch.where(VAR > 10, 10.0, VAR)  # no step widens q more than tenfold: see SHRINK
    torch.testing.assert_close(q.log_var.exp(), expected, rtol=1e-3, atol=0)


def test_the_entropy_s_weight_widens_the_posterior():
    q = ascend(quadratic, start(), rates=[1.0], noise=lambda: torch.ones(1, 1, 3), weight=4.0)
    torch.testing.assert_close(q.log_var.exp()[:, :2], 4 * VAR[:, :2], rtol=1e-3, atol=0)


def test_a_mean_moves_no_further_than_it_is_trusted():
    q = ascend(lambda z: quadratic(z - 5), start(), rates=[1.0], noise=lambda: torch.ones(1, 1, 3), weight=1.0)
    torch.testing.assert_close(q.mu, torch.full((1, 3), TRUST))


def test_of_a_correlated_gaussian_the_best_independent_one_is_found():
    """KL(q || p) is least at p's mean and at the inverse of the diagonal of p's precision."""
    precision = torch.tensor([[4.0, 1.5], [1.5, 2.0]])

    def log_p(z):
        d = z - 0.4
        return -0.5 * (d @ precision * d).sum(-1)

    with fork(0):
        q = refine(log_p, Posterior(torch.zeros(2, 2), torch.zeros(2, 2)), 200)
    torch.testing.assert_close(q.mu, torch.full((2, 2), 0.4), atol=0.02, rtol=0)
    torch.testing.assert_close(q.log_var.exp(), (1 / precision.diag()).expand(2, 2), rtol=0.03, atol=0)


def test_refinement_leaves_the_random_state_alone_and_works_without_gradients():
    state = get_state()["torch"]
    with torch.no_grad():
        a, b = (refine(quadratic, start(), 5) for _ in range(2))
    assert torch.equal(a.mu, b.mu) and torch.equal(a.log_var, b.log_var) and not a.mu.requires_grad
    assert torch.equal(get_state()["torch"], state)
    assert refine(quadratic, a, 0) is a


@pytest.mark.parametrize("fault", ["natural", "entropy"])
def test_the_closed_form_catches_a_wrong_step(fault, monkeypatch):
    """A plain gradient, or half an entropy, does not arrive in one step."""
    wrong = (lambda z: 0.5 * quadratic(z)) if fault == "entropy" else (lambda z: quadratic(z) * VAR.mean())
    q = ascend(wrong, start(), rates=[1.0], noise=lambda: torch.ones(1, 1, 3), weight=1.0)
    assert not torch.allclose(q.log_var.exp()[:, :2], VAR[:, :2], rtol=1e-2)
