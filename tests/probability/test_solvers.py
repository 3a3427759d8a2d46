"""Solvers on Gaussian data, whose best denoiser is known: mean, variance, and the order of their errors."""

from functools import partial
from itertools import pairwise
from math import log2

import pytest
import torch

from gentool.probability import solvers
from gentool.probability.noise import Geometric
from gentool.probability.solvers import Counted, unseen

MEAN, STD = torch.tensor([1.5, -0.5], dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64)
HIGH, LOW = 40.0, 0.05
DETERMINISTIC = {
    "ddim": partial(solvers.ddim, eta=0.0),
    "heun": partial(solvers.heun, churn=0.0),
    "dpmpp_2m": partial(solvers.dpmpp_2m, drawn=False),
}
ORDERS = {"ddim": 1, "heun": 2, "dpmpp_2m": 2}


def best(z, r):
    """E[x | z] of x ~ N(MEAN, STD²)."""
    return MEAN + STD**2 / (STD**2 + r * r) * (z - MEAN)


def levels(steps, rho=7.0):
    return Geometric(sigma_min=LOW, sigma_max=HIGH).levels(steps, rho)


def noise(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return MEAN + (STD**2 + HIGH**2).sqrt() * torch.randn(n, 2, generator=g, dtype=torch.float64)


def path_error(solver, steps):
    """How far a solver ends from the flow's end, z - mean shrunk by sqrt((s² + r²) / (s² + R²))."""
    start = noise(20)
    end = solver(best, start, levels(steps)[:-1], unseen)
    exact = MEAN + ((STD**2 + LOW**2) / (STD**2 + HIGH**2)).sqrt() * (start - MEAN)
    return float((end - exact).abs().max())


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_error_falls_with_the_order(name):
    errors = [path_error(DETERMINISTIC[name], steps) for steps in (65, 129, 257)]
    for coarse, fine in pairwise(errors):
        assert abs(log2(coarse / fine) - ORDERS[name]) < 0.25, errors


def moments_return(solver, steps, tolerance, n=40_000):
    torch.manual_seed(0)
    x = solver(best, noise(n), levels(steps), unseen)
    assert ((x.mean(0) - MEAN).abs() < 5 * STD / n**0.5 + tolerance).all(), x.mean(0)
    assert ((x.std(0) / STD - 1).abs() < 5 / (2 * n) ** 0.5 + tolerance).all(), x.std(0) / STD


SOLVERS = {
    **DETERMINISTIC,
    "half": partial(solvers.ddim, eta=0.5),
    "churned": partial(solvers.heun, churn=10.0),
    "ancestral": solvers.ancestral,
    "dpmpp_2m_sde": partial(solvers.dpmpp_2m, drawn=True),
    "langevin": partial(solvers.annealed_langevin, inner_steps=25, step_size=0.3),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_mean_and_variance_return(name):
    if name == "langevin":  # slow to forget the wider levels
        moments_return(SOLVERS[name], 40, 0.06, n=3000)
    else:
        moments_return(SOLVERS[name], 100, 0.03)


def deviation_error(solver, steps, monkeypatch):
    """How far the deviation at the last ratio above 0 is off, exactly: what a solver makes of each noise, one a row."""
    rows = iter(range(1, steps + 1))

    def one(z):
        unit = torch.zeros_like(z)
        unit[next(rows)] = 1
        return unit

    monkeypatch.setattr(torch, "randn_like", one)
    start = torch.zeros(steps + 1, 2, dtype=torch.float64)
    start[0] = (STD**2 + HIGH**2).sqrt()
    end = solver(lambda z, r: best(z + MEAN, r) - MEAN, start, levels(steps)[:-1], unseen)
    return float((end.square().sum(0).sqrt() / (STD**2 + LOW**2).sqrt() - 1).abs().max())


@pytest.mark.parametrize(("name", "order"), [("ancestral", 1), ("dpmpp_2m_sde", 2)])
def test_error_of_a_drawn_deviation_falls_with_the_order(name, order, monkeypatch):
    errors = [deviation_error(SOLVERS[name], steps, monkeypatch) for steps in (65, 129, 257)]
    for coarse, fine in pairwise(errors):
        assert abs(log2(coarse / fine) - order) < 0.25, errors


def _wrong_drift(denoise, z, levels, seen):
    return solvers.heun(lambda z, r: 2 * z - denoise(z, r), z, levels[:3], seen, churn=0.0)


def _std_for_variance(denoise, z, levels, seen):
    return solvers.ddim(denoise, z, levels, seen, eta=0.7)[:, :1] * 1.1


def _clipped(denoise, z, levels, seen):
    return solvers.heun(lambda z, r: denoise(z, r).clamp(-1, 1), z, levels, seen, churn=0.0)


@pytest.mark.parametrize("fault", [_wrong_drift, _std_for_variance, _clipped], ids=lambda f: f.__name__)
def test_moments_catch_faults(fault):
    with pytest.raises(AssertionError):
        moments_return(fault, 100, 0.03)


def test_evaluations():
    counts = {}
    for name, solver in SOLVERS.items():
        counted = Counted(best)
        shown = []
        solver(counted, noise(2), levels(10), lambda z, r, shown=shown: shown.append(r))
        counts[name] = counted.evaluations
        assert len(shown) >= 11 and shown[-1] == 0
    assert counts == {
        "ddim": 10,
        "heun": 19,
        "dpmpp_2m": 10,
        "half": 10,
        "churned": 19,
        "ancestral": 10,
        "dpmpp_2m_sde": 10,
        "langevin": 251,
    }


def test_ancestral_is_ddim_at_eta_one():
    ends = []
    for solver in (solvers.ancestral, partial(solvers.ddim, eta=1.0)):
        torch.manual_seed(3)
        ends.append(solver(best, noise(5), levels(10), unseen))
    assert torch.equal(*ends)


COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)


def correlated(z, r):
    gain = COVARIANCE @ torch.linalg.inv(COVARIANCE + r * r * torch.eye(2, dtype=torch.float64))
    return z @ gain.T


def unknown_follows_the_known(visits, n=4000):
    """x_2 given x_1 = 1 is N(0.8, 0.36)."""
    torch.manual_seed(0)
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(n, 2)
    known = torch.tensor([[True, False]]).expand(n, 2)
    z = HIGH * torch.randn(n, 2, dtype=torch.float64)
    out = solvers.inpaint(correlated, z, levels(40), x, known, visits=visits)
    assert torch.equal(out[:, 0], x[:, 0])
    assert abs(float(out[:, 1].mean()) - 0.8) < 0.06, out[:, 1].mean()
    assert abs(float(out[:, 1].std()) - 0.6) < 0.06, out[:, 1].std()


def test_inpainting_draws_the_conditional():
    unknown_follows_the_known(10)


def test_inpainting_needs_its_visits():
    with pytest.raises(AssertionError):
        unknown_follows_the_known(1)
