"""Likelihoods against closed forms: total mass, moments, torch.distributions, tails and refusals."""

import math

import pytest
import torch
from torch import Tensor, distributions

from gentool.errors import UsageError
from gentool.probability.likelihoods import (
    Bernoulli,
    Categorical,
    DiscretisedLogistic,
    Gaussian,
    Likelihood,
    likelihood_for,
)
from tests.spaces import space

ONE = (1, 1, 1)


def levels_of(likelihood: Likelihood) -> Tensor:
    """Every value a space of one dimension holds: (levels, 1, 1, 1)."""
    levels = likelihood.space.levels
    assert levels is not None
    return torch.arange(levels).to(likelihood.space.dtype).view(-1, *ONE)


def outputs_for(likelihood: Likelihood, n: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(n, likelihood.outputs_per_dim, *likelihood.space.shape, generator=generator)


DISCRETE = [
    pytest.param(lambda: Bernoulli(space(ONE, 2)), id="bernoulli"),
    pytest.param(lambda: Categorical(space(ONE, 7)), id="categorical"),
    pytest.param(lambda: DiscretisedLogistic(space(ONE, 256), "decoder"), id="logistic-decoder"),
    pytest.param(lambda: DiscretisedLogistic(space(ONE, 17), "learned"), id="logistic-learned"),
    pytest.param(lambda: DiscretisedLogistic(space(ONE, 2), 0.3), id="logistic-two-levels"),
    pytest.param(lambda: DiscretisedLogistic(space(ONE, 300), 0.01), id="logistic-beyond-bytes"),
    pytest.param(lambda: Gaussian(space(ONE, 256), "decoder"), id="gaussian-decoder"),
    pytest.param(lambda: Gaussian(space(ONE, 17), "per_pixel"), id="gaussian-per-pixel"),
    pytest.param(lambda: Gaussian(space(ONE, 256), 0.02), id="gaussian-fixed"),
]


@pytest.mark.parametrize("make", DISCRETE)
@pytest.mark.parametrize("spread", [0.5, 8.0])
def test_sums_to_one_over_all_levels(make, spread):
    likelihood = make()
    outputs = outputs_for(likelihood, 9, spread).unsqueeze(1)  # (9, 1, outputs, 1, 1, 1) against (levels, 1, 1, 1)
    total = likelihood.log_prob(levels_of(likelihood), outputs).logsumexp(1)
    torch.testing.assert_close(total, torch.zeros(9), atol=2e-5, rtol=0)


@pytest.mark.parametrize("make", DISCRETE)
def test_mean_is_the_mean_over_levels_and_samples_follow_the_probabilities(make):
    likelihood = make()
    outputs = outputs_for(likelihood, 3)
    x = levels_of(likelihood)
    p = likelihood.log_prob(x, outputs.unsqueeze(1)).exp()  # (3, levels)
    mean = (p * x.flatten()).sum(1)
    tolerance = 1e-5 * likelihood.space.levels
    torch.testing.assert_close(likelihood.mean(outputs).flatten(), mean, atol=tolerance, rtol=1e-5)

    torch.manual_seed(0)
    n = 4000
    draws = likelihood.sample(outputs.unsqueeze(1).expand(-1, n, *outputs.shape[1:])).flatten(1)
    assert draws.dtype == likelihood.space.dtype
    variance = (p * (x.flatten() - mean[:, None]) ** 2).sum(1)
    error = (draws.double().mean(1) - mean) / (variance / n).sqrt().clamp(min=1e-9)
    assert error.abs().max() < 4.5
    # Frequencies as a whole: Pearson's statistic over levels that expect at least 5 draws, against mean + 5 sigma.
    for row in range(3):
        counts = torch.bincount(draws[row].long(), minlength=likelihood.space.levels)
        expected = n * p[row]
        seen = expected >= 5
        statistic = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
        assert statistic < seen.sum() + 5 * (2 * seen.sum()) ** 0.5


@pytest.mark.parametrize("sigma", [0.5, "learned", "per_pixel", "decoder"])
def test_gaussian_of_reals_integrates_to_one_in_data_space(sigma):
    likelihood = Gaussian(space((1,), loc=3.0, scale=4.0), sigma)
    outputs = outputs_for(likelihood, 1, 0.7)
    x = torch.linspace(-100, 100, 20001).view(-1, 1)
    density = likelihood.log_prob(x, outputs).exp()
    assert torch.trapezoid(density, x.flatten()).item() == pytest.approx(1.0, abs=1e-4)
    mean = torch.trapezoid(density * x.flatten(), x.flatten()).item()
    assert mean == pytest.approx(likelihood.mean(outputs).item(), abs=1e-3)


def test_gaussian_of_reals_equals_torch_distributions():
    data = space((3,), loc=-1.0, scale=2.5)
    likelihood = Gaussian(data, 0.3)
    outputs = outputs_for(likelihood, 4)
    x = torch.randn(4, 3)
    reference = distributions.Normal(outputs[:, 0] * 2.5 - 1.0, 0.3 * 2.5).log_prob(x).sum(1)
    torch.testing.assert_close(likelihood.log_prob(x, outputs), reference)


def test_gaussian_samples_have_its_moments():
    likelihood = Gaussian(space((1,), loc=5.0, scale=2.0), 0.5)
    torch.manual_seed(0)
    draws = likelihood.sample(torch.ones(1, 1, 1).expand(40000, 1, 1))
    assert draws.mean().item() == pytest.approx(7.0, abs=0.02)
    assert draws.std().item() == pytest.approx(1.0, abs=0.02)


def test_bernoulli_and_categorical_equal_torch_distributions():
    bernoulli, categorical = Bernoulli(space((2, 3, 3), 2)), Categorical(space((2, 3, 3), 5))
    outputs = outputs_for(bernoulli, 4)
    x = torch.randint(0, 2, (4, 2, 3, 3), dtype=torch.uint8)
    reference = distributions.Bernoulli(logits=outputs[:, 0]).log_prob(x.float()).flatten(1).sum(1)
    torch.testing.assert_close(bernoulli.log_prob(x, outputs), reference)
    outputs = outputs_for(categorical, 4)
    x = torch.randint(0, 5, (4, 2, 3, 3), dtype=torch.uint8)
    reference = distributions.Categorical(logits=outputs.movedim(1, -1)).log_prob(x.long()).flatten(1).sum(1)
    torch.testing.assert_close(categorical.log_prob(x, outputs), reference)


def test_saturated_bernoulli_is_exact():
    likelihood = Bernoulli(space(ONE, 2))
    outputs = torch.tensor([200.0, -200.0]).view(2, 1, *ONE).requires_grad_()
    wrong = likelihood.log_prob(torch.tensor([0, 1], dtype=torch.uint8).view(2, *ONE), outputs)
    right = likelihood.log_prob(torch.tensor([1, 0], dtype=torch.uint8).view(2, *ONE), outputs)
    assert wrong.tolist() == [-200.0, -200.0]
    assert right.tolist() == [0.0, 0.0]
    wrong.sum().backward()
    assert outputs.grad.flatten().tolist() == [-1.0, 1.0]


def logistic_reference(x: int, levels: int, mu: float, sigma: float) -> float:
    """log of a bin's logistic mass, in double precision by the identity of tails."""
    half = 1 / (levels - 1)
    centre = 2 * x / (levels - 1) - 1 - mu
    low, high = (centre - half) / sigma, (centre + half) / sigma
    log_sigmoid = lambda u: -math.log1p(math.exp(-u)) if u > -30 else u  # noqa: E731
    if x == 0:
        return log_sigmoid(high)
    if x == levels - 1:
        return log_sigmoid(-low)
    return log_sigmoid(high) + log_sigmoid(-low) + math.log(-math.expm1(low - high))


@pytest.mark.parametrize(("x", "mu", "sigma"), [(0, 3.0, 0.01), (255, -3.0, 0.01), (128, 1.0, 0.002), (0, -9.0, 0.01)])
def test_logistic_tails(x, mu, sigma):
    likelihood = DiscretisedLogistic(space(ONE, 256), sigma)
    outputs = torch.full((1, 1, *ONE), mu, requires_grad=True)
    value = likelihood.log_prob(torch.full((1, *ONE), x, dtype=torch.uint8), outputs)
    assert value.item() == pytest.approx(logistic_reference(x, 256, mu, sigma), rel=2e-5, abs=1e-6)
    value.sum().backward()
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize(("x", "mu", "sigma"), [(0, 3.0, 0.05), (255, -3.0, 0.05), (128, 1.0, 0.05), (3, 1.0, 3.0)])
def test_gaussian_bins_in_the_tails(x, mu, sigma):
    likelihood = Gaussian(space(ONE, 256), sigma)
    outputs = torch.full((1, 1, *ONE), mu, requires_grad=True)
    value = likelihood.log_prob(torch.full((1, *ONE), x, dtype=torch.uint8), outputs)
    centre = abs(2 * x / 255 - 1 - mu)
    tail = lambda u: math.log(math.erfc(u / sigma / math.sqrt(2)) / 2)  # noqa: E731  (double precision reaches 37 sigma)
    if x in (0, 255) and centre / sigma > 37:
        u = (centre - 1 / 255) / sigma  # the tail's asymptotic series
        reference = -u * u / 2 - math.log(u * math.sqrt(2 * math.pi)) + math.log1p(-1 / u**2 + 3 / u**4)
    else:
        reference = tail(centre - 1 / 255) + math.log1p(-math.exp(tail(centre + 1 / 255) - tail(centre - 1 / 255)))
    assert value.item() == pytest.approx(reference, rel=1e-4)
    value.sum().backward()
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("make", DISCRETE)
def test_gradients_are_finite_for_extreme_outputs(make):
    likelihood = make()
    x = levels_of(likelihood)
    outputs = torch.linspace(-30, 30, 7).view(7, 1, 1, 1, 1, 1).repeat(1, 1, likelihood.outputs_per_dim, 1, 1, 1)
    if likelihood.outputs_per_dim == 2:
        outputs[:, :, 1] = torch.linspace(-20, 5, 7).view(7, 1, 1, 1, 1)
    outputs.requires_grad_()
    value = likelihood.log_prob(x, outputs)
    assert torch.isfinite(value).all()
    value.sum().backward()
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("kind", [Gaussian, DiscretisedLogistic])
def test_learned_sigma_reaches_the_spread_of_the_data(kind):
    """Adam at 1e-3 brings one learned number to the maximum of the likelihood within 600 steps."""
    torch.manual_seed(0)
    likelihood = kind(space((1, 2, 2), 256), "learned")
    x = (128 + 6 * torch.randn(256, 1, 2, 2)).round().clamp(0, 255).to(torch.uint8)
    outputs = torch.full((256, 1, 1, 2, 2), 2 * 128 / 255 - 1)
    optimizer = torch.optim.Adam(likelihood.parameters(), 1e-3)
    for _ in range(600):
        optimizer.zero_grad()
        (-likelihood.log_prob(x, outputs).mean()).backward()
        optimizer.step()
    spread = (x.double() - 128).square().mean().sqrt().item()
    best = 4 * (0.5 * math.log(2 * math.pi * math.e) + math.log(spread))  # nats of the Gaussian that fits best
    reached = -likelihood.log_prob(x, outputs).mean().item()
    assert reached == pytest.approx(best, rel=1e-3 if kind is Gaussian else 1e-2)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (space((1, 4, 4), 2), Bernoulli),
        (space((1, 4, 4), 3), DiscretisedLogistic),
        (space((2,)), Gaussian),
        (space((5,), 4, vocabulary=tuple("abcd")), Categorical),
    ],
)
def test_auto_fits_the_space(data, kind):
    assert type(likelihood_for(data, "auto", "learned")) is kind


@pytest.mark.parametrize(
    ("data", "name", "fits"),
    [
        (
            space((1, 4, 4), 256),
            "bernoulli",
            "discretised_logistic, gaussian, categorical .or dataset.binarize=dynamic",
        ),
        (space((2,)), "categorical", "auto, gaussian"),
        (space((2,)), "discretised_logistic", "auto, gaussian"),
        (space((5,), 4, vocabulary=tuple("abcd")), "gaussian", "auto, categorical"),
    ],
)
def test_a_likelihood_that_does_not_fit_is_refused_with_what_fits(data, name, fits):
    with pytest.raises(UsageError, match=fits):
        likelihood_for(data, name, "learned")
