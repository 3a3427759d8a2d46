"""Noise schedules, and what a network's output is read as."""

from math import log

import pytest
import torch

from gentool.errors import UsageError
from gentool.probability import noise as noises
from gentool.probability.noise import Cosine, Geometric, Linear, LogNormal, denoised, output_of, score, weight

SCHEDULES = {"linear": Linear, "cosine": Cosine, "geometric": Geometric, "log_normal": LogNormal}
LAWS = tuple(SCHEDULES)
T = torch.linspace(0.002, 0.998, 200, dtype=torch.float64)


def law(name, **to):
    return SCHEDULES[name](**{"sigma_min": 0.01, "sigma_max": 50.0, **to})


def rises_from_end_to_end(noise):
    ends = noise.ratio(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([noise.sigma_min, noise.sigma_max], dtype=torch.float64))
    assert (noise.ratio(T).diff() > 0).all()


def slope_is_the_derivative(noise):
    t = T.clone().requires_grad_()
    [found] = torch.autograd.grad(noise.ratio(t).log().sum(), t)
    torch.testing.assert_close(noise.slope(T), found)


def variance_is_preserved(noise):
    squares = noise.alpha(T) ** 2 + noise.sigma(T) ** 2
    if noise.preserves_variance:
        torch.testing.assert_close(squares, torch.ones_like(T))
    else:
        assert (noise.alpha(T) == 1).all()
    torch.testing.assert_close(noise.log_snr(T), 2 * (noise.alpha(T) / noise.sigma(T)).log())


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("claim", [rises_from_end_to_end, slope_is_the_derivative, variance_is_preserved])
def test_laws(name, claim):
    claim(law(name))


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        (slope_is_the_derivative, "slope"),
        (rises_from_end_to_end, "ratio"),
        (variance_is_preserved, "alpha"),
    ],
)
def test_laws_catch_their_faults(claim, fault):
    noise = law("cosine")
    sound = getattr(noise, fault)
    setattr(noise, fault, lambda t: sound(t) ** 2 + 1e-3)
    with pytest.raises(AssertionError):
        claim(noise)


def test_linear_is_the_limit_of_a_thousand_steps():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = (1 - betas).cumprod(0)
    noise = law("linear", sigma_min=0.01, sigma_max=float(((1 - alpha_bar[-1]) / alpha_bar[-1]).sqrt()))
    found = noise.alpha(torch.linspace(0, 1, 1000, dtype=torch.float64)) ** 2
    assert (found - alpha_bar).abs().max() < 5e-3


def test_log_normal_has_its_moments():
    r = law("log_normal", sigma_min=1e-4, sigma_max=1e4).ratio(torch.rand(100_000, dtype=torch.float64)).log()
    assert abs(r.mean() + 1.2) < 0.02 and abs(r.std() - 1.2) < 0.02


@pytest.mark.parametrize("rho", [None, 7.0])
@pytest.mark.parametrize("name", LAWS)
def test_levels_fall_from_end_to_end(name, rho):
    levels = law(name).levels(10, rho)
    assert len(levels) == 11 and levels[-1] == 0 and levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(50.0) and levels[-2] == pytest.approx(0.01)
    assert law(name).levels(1, rho) == [pytest.approx(50.0), 0]


def test_levels_are_even_to_the_power():
    roots = torch.tensor(law("geometric").levels(9, 7.0)[:-1]) ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(8), rtol=1e-4, atol=0)


def test_ends_must_be_in_order():
    with pytest.raises(UsageError, match="sigma_max"):
        law("cosine", sigma_max=0.005)


def example(scale=1.0):
    x, eps = torch.randn(2, 50, 3, dtype=torch.float64)
    r = torch.rand(50, 1, dtype=torch.float64) * 3 + 0.1
    return x, eps, x + r * eps, r, torch.tensor(scale, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_outputs_round_trip(kind, scale):
    x, eps, z, r, s = example(scale)
    out = output_of(kind, x, z, r, s)
    torch.testing.assert_close(denoised(kind, out, z, r, s), x)
    torch.testing.assert_close(score(x, z, r), -eps / r)
    wrong = out + 0.1  # an error of the output weighs the same at every r
    error = weight(kind, r, s) * (denoised(kind, wrong, z, r, s) - x) ** 2
    torch.testing.assert_close(error, torch.full_like(error, 0.01))


def test_outputs_are_what_they_are_called():
    x, eps, z, r, one = example()
    alpha, sigma = (1 + r * r).rsqrt(), r * (1 + r * r).rsqrt()
    torch.testing.assert_close(output_of("eps", x, z, r, one), eps)
    torch.testing.assert_close(output_of("x0", x, z, r, one), x)
    torch.testing.assert_close(output_of("v", x, z, r, one), alpha * eps - sigma * x)


def test_preconditioning_is_that_of_karras():
    """c_skip = s² / (r² + s²), |c_out| = r s / sqrt(r² + s²)."""
    _, _, _, r, s = example(0.5)
    skip, out = noises.coefficients("v", r, s)
    torch.testing.assert_close(skip, 0.25 / (r * r + 0.25))
    torch.testing.assert_close(out.abs(), r * 0.5 / (r * r + 0.25).sqrt())


def test_target_of_v_has_the_same_size_at_every_noise():
    g = torch.Generator().manual_seed(0)
    x, eps = 0.5 * torch.randn(2, 20_000, 1, generator=g, dtype=torch.float64)
    for r in (0.01, 0.5, 30.0):
        target = output_of("v", x, x + r * 2 * eps, torch.tensor(r), torch.tensor(0.5))
        assert abs(float(target.std()) - 1) < 0.03
    assert abs(log(float(weight("v", torch.tensor(1e-3), torch.tensor(0.5)))) - log(1e6)) < 1e-3
