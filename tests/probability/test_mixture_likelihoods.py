"""Mixtures in closed form, and levels drawn from given uniform numbers."""

import pytest
import torch

from gentool.errors import UsageError
from gentool.probability.conditionals import conditional_for
from gentool.probability.inverse_cdf import inverse_cdf, sharpen
from gentool.probability.mixture_likelihoods import GaussianMixture, LogisticMixture
from gentool.training.rng import fork
from tests.spaces import space

LEVELS = space((2,), levels=7)
REALS = space((2,), loc=1.0, scale=2.0)
P = torch.tensor([0.4, 0.3, 0.2, 0.1])


def outputs(components, n=5, seed=0, spread=1.0):
    with fork(seed):
        return spread * torch.randn(n, 3 * components, 2)


def every_level():
    return torch.arange(7)[:, None].expand(7, 2)


def test_bins_of_a_logistic_mixture_sum_to_one():
    for spread in (0.3, 3.0):
        likelihood, out = LogisticMixture(LEVELS, 3), outputs(3, spread=spread)
        table = likelihood.log_table(out[..., 0])
        torch.testing.assert_close(table.exp().sum(-1), torch.ones(5))


def test_log_prob_adds_what_the_tables_say():
    likelihood, out = LogisticMixture(LEVELS, 3), outputs(3)
    x = torch.tensor([[0, 6], [3, 3], [6, 0], [1, 5], [2, 4]], dtype=torch.uint8)
    tables = [likelihood.log_table(out[..., d]).gather(1, x[:, d : d + 1].long()) for d in (0, 1)]
    torch.testing.assert_close(likelihood.log_prob(x, out), sum(tables)[:, 0])


def test_one_component_is_a_logistic_distribution():
    likelihood = LogisticMixture(LEVELS, 1)
    mu, log_sigma = 0.2, -1.0
    out = torch.tensor([0.0, mu, log_sigma])[:, None].expand(3, 2)[None]
    edges = torch.tensor([(2 * k - 1) / 6 - 1 for k in range(1, 7)])
    floor = -7 + torch.nn.functional.softplus(torch.tensor(log_sigma + 7))
    below = torch.cat([torch.zeros(1), ((edges - mu) / floor.exp()).sigmoid(), torch.ones(1)])
    torch.testing.assert_close(likelihood.log_table(out[..., 0]).exp()[0], below.diff(), atol=1e-6, rtol=1e-5)


def test_mean_and_samples_of_levels_follow_the_table():
    likelihood, out = LogisticMixture(LEVELS, 3), outputs(3, n=1)
    p = likelihood.log_table(out[..., 0]).exp()[0]
    torch.testing.assert_close(likelihood.mean(out)[0, 0], p @ torch.arange(7.0))
    with fork(1):
        x = likelihood.sample(out.expand(4000, -1, -1))[:, 0]
    share = torch.bincount(x.long(), minlength=7) / 4000
    assert ((share - p).abs() < 4.5 * (p * (1 - p) / 4000).sqrt() + 1e-3).all()


def test_gaussian_mixture_is_torchs():
    likelihood, out = GaussianMixture(REALS, 3), outputs(3)
    with fork(1):
        x = REALS.to_data(torch.randn(5, 2))
    weights, mu, raw = out.movedim(1, -1).chunk(3, -1)
    sigma = (-7 + torch.nn.functional.softplus(raw + 7)).exp()
    parts = torch.distributions.Normal(REALS.loc[:, None] + 2 * mu, 2 * sigma)
    exact = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=weights), parts)
    torch.testing.assert_close(likelihood.log_prob(x, out), exact.log_prob(x).sum(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(likelihood.mean(out), exact.mean)
    with fork(2):
        drawn = likelihood.sample(out[:1].expand(20000, -1, -1))
    torch.testing.assert_close(drawn.mean(0), exact.mean[0], atol=0.15, rtol=0)
    torch.testing.assert_close(drawn.var(0), exact.variance[0], atol=0.3, rtol=0.1)


def test_gaussian_mixture_draws_what_it_says_from_uniform_numbers():
    likelihood, out = GaussianMixture(REALS, 3), outputs(3, n=1)
    with fork(3):
        z = likelihood.draw(out[..., 0].expand(20000, -1), torch.rand(20000, 2), 1.0)
    x = REALS.to_data(torch.stack([z, z], 1))[:, 0]
    with fork(4):
        other = likelihood.sample(out.expand(20000, -1, -1))[:, 0]
    quantiles = torch.linspace(0.05, 0.95, 10)
    torch.testing.assert_close(x.quantile(quantiles), other.quantile(quantiles), atol=0.2, rtol=0.05)
    assert torch.isfinite(likelihood.draw(out[..., 0], torch.zeros(1, 2), 1.0)).all()


def test_start_is_nearly_flat():
    likelihood = LogisticMixture(space((1,), levels=256), 10)
    p = likelihood.log_table(likelihood.start().T).exp()
    assert p[0, 1:-1].min() > 0.3 / 256 and p[0, 1:-1].max() < 3 / 256


def test_inverse_cdf_gives_each_level_its_share():
    u = (torch.arange(1000) + 0.5) / 1000
    level = inverse_cdf(P.log().expand(1000, 4), u)
    assert torch.bincount(level, minlength=4).tolist() == [400, 300, 200, 100]
    assert (level.diff() >= 0).all()


@pytest.mark.parametrize("u", [0.0, 1 - 2.0**-24])
def test_inverse_cdf_never_draws_what_has_no_share(u):
    log_p = torch.tensor([[-torch.inf, 0.0, -1.0, -torch.inf]])
    assert inverse_cdf(log_p, torch.tensor([u])).item() in (1, 2)


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ((1.0, None, None), [0.4, 0.3, 0.2, 0.1]),
        ((0.5, None, None), [0.16 / 0.3, 0.09 / 0.3, 0.04 / 0.3, 0.01 / 0.3]),
        ((0.0, None, None), [1.0, 0, 0, 0]),
        ((1.0, 2, None), [4 / 7, 3 / 7, 0, 0]),
        ((1.0, 9, None), [0.4, 0.3, 0.2, 0.1]),
        ((1.0, None, 0.6), [4 / 7, 3 / 7, 0, 0]),
        ((1.0, None, 0.1), [1.0, 0, 0, 0]),
        ((1.0, 3, 0.95), [4 / 9, 3 / 9, 2 / 9, 0]),
    ],
)
def test_sharpening(knobs, expected):
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        found = sharpen(P[order].log()[None], *knobs).softmax(-1)[0]
        torch.testing.assert_close(found, torch.tensor(expected)[order])


def test_likelihoods_fit_the_data_or_are_refused():
    text = space((3,), levels=5, vocabulary=tuple("abcde"))
    kinds = {
        "Bernoulli": space((2,), levels=2),
        "Categorical": text,
        "LogisticMixture": space((2,), levels=256),
        "GaussianMixture": REALS,
    }
    for name, where in kinds.items():
        assert type(conditional_for(where, "auto", 2)).__name__ == name
    assert type(conditional_for(LEVELS, "auto", 2)).__name__ == "Categorical"
    with pytest.raises(UsageError, match="choose auto, gaussian_mixture"):
        conditional_for(REALS, "categorical", 2)
