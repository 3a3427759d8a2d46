import re
from math import log, pi

import pytest
import torch

from gentool.batch import Batch
from gentool.commands.evaluate import measure, table
from gentool.errors import Unavailable
from gentool.metrics.evaluation import BLOCK, Evaluation
from gentool.metrics.likelihood import BitsPerDim, Elbo, EntropyGap, KullbackLeibler, NegativeLogLikelihood
from gentool.probability.densities import GaussianMixture
from tests.metrics.models import Broken, Noisy, Normal, Uniform
from tests.spaces import space


def evaluation(model, x, seed=0, block=BLOCK, say=print, density=None):
    def blocks():
        for rows in torch.arange(len(x)).split(block):
            yield Batch(x[rows], None, rows)

    return Evaluation(model, blocks, len(x), seed=seed, density=density, say=say)


@pytest.mark.parametrize("kind, count", [("exact", 1), ("importance", 7), ("bound", 3), ("ode", 2)])
def test_draws_are_by_the_kind_of_the_likelihood_or_whatever_it_is(kind, count):
    model = Normal(space((2,)))
    model.likelihood = kind
    ours = evaluation(model, torch.zeros(3, 2))
    assert ours.draws({"importance": 7, "bound": 3, "ode": 2}) == count
    assert ours.draws(50) == (1 if kind == "exact" else 50)


def test_nll_of_a_normal_by_hand():
    x = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    result = NegativeLogLikelihood(draws=7)(evaluation(Normal(space((2,))), x))
    by_hand = torch.tensor([0.0, 4.5, 0.5]) + log(2 * pi)
    assert result.value == pytest.approx(by_hand.mean().item())
    assert result.standard_error == pytest.approx(by_hand.std().item() / 3**0.5)
    assert result.protocol == {"n": 3, "kind": "exact", "draws": 1}


def test_bits_of_uniform_bytes_are_eight_and_of_reals_there_are_none():
    where = space((1, 4, 4), levels=256)
    result = BitsPerDim(draws=1)(evaluation(Uniform(where), torch.zeros(5, 1, 4, 4)))
    assert result.value == pytest.approx(8)
    assert result.standard_error == pytest.approx(0, abs=1e-6)
    with pytest.raises(Unavailable, match="integer levels"):
        BitsPerDim(draws=1)(evaluation(Normal(space((2,))), torch.zeros(3, 2)))


def test_one_example_has_no_standard_error():
    assert NegativeLogLikelihood(draws=1)(evaluation(Normal(space((2,))), torch.zeros(1, 2))).standard_error is None


def test_the_bound_has_one_draw_lies_below_and_needs_a_model_that_bounds():
    torch.manual_seed(3)
    ours = evaluation(Noisy(space((2,))), torch.zeros(3000, 2))
    nll, elbo = NegativeLogLikelihood(draws=50)(ours), Elbo()(ours)
    assert (elbo.protocol["kind"], elbo.protocol["draws"]) == ("bound", 1)
    assert elbo.value == pytest.approx(-log(2 * pi) - 0.5, abs=0.1)
    assert -nll.value == pytest.approx(-log(2 * pi), abs=0.05)
    with pytest.raises(Unavailable, match="no bound"):
        Elbo()(evaluation(Normal(space((2,))), torch.zeros(3, 2)))


def test_noise_is_a_function_of_seed_and_block_and_the_state_outside_stays():
    x = torch.randn(2 * BLOCK + 10, 2)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = evaluation(Noisy(space((2,))), x).log_prob(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(evaluation(Noisy(space((2,))), x).log_prob(5), first)
    assert torch.equal(evaluation(Noisy(space((2,))), x[:BLOCK]).log_prob(5), first[:BLOCK])
    assert not torch.equal(evaluation(Noisy(space((2,))), x, seed=1).log_prob(5), first)
    assert not torch.equal(first[:BLOCK] - first[:BLOCK].mean(), first[BLOCK : 2 * BLOCK] - first[:BLOCK].mean())
    again = evaluation(Noisy(space((2,))), x.new_zeros(2 * BLOCK, 2)).log_prob(5)
    assert not torch.equal(again[:BLOCK], again[BLOCK:])


def test_two_metrics_share_one_computation():
    model = Normal(space((1, 2, 1), levels=256))
    ours = evaluation(model, torch.zeros(30, 1, 2, 1))
    NegativeLogLikelihood(draws=9)(ours)
    BitsPerDim(draws=9)(ours)
    assert model.scored == 30


def test_no_example_is_left_out_of_a_mean():
    x = torch.zeros(250, 2)
    x[130] = 7
    with pytest.raises(Unavailable, match=r"nan for 1 of 250 examples, first row 130"):
        NegativeLogLikelihood(draws=1)(evaluation(Broken(space((2,))), x))


def test_a_long_evaluation_says_how_long(monkeypatch):
    said = []
    monkeypatch.setattr("gentool.metrics.pace.LONG", -1.0)
    evaluation(Normal(space((2,))), torch.zeros(3 * BLOCK, 2), say=said.append).log_prob(5000)
    assert len(said) == 1 and re.search(r"300 examples by 5,000 draws: about \d+ s", said[0])


def test_a_report_stamps_every_number_and_names_what_is_missing():
    report = measure(
        {"nll": NegativeLogLikelihood(draws=4), "bits_per_dim": BitsPerDim(draws=4)},
        evaluation(Noisy(space((2,))), torch.zeros(20, 2)),
        {"split": "test", "n": 20},
    )
    assert report["protocol"] == {"nll": {"split": "test", "n": 20, "kind": "importance", "draws": 4}}
    assert list(report["metrics"]) == list(report["standard_error"]) == ["nll"]
    assert "integer levels" in report["unavailable"]["bits_per_dim"]
    text = table(report)
    assert f"{report['metrics']['nll']:.4f}" in text and "draws 4" in text
    assert "bits_per_dim: unavailable" in text


def test_the_gap_to_the_entropy_is_the_divergence_from_the_data():
    density = GaussianMixture(torch.ones(1), torch.tensor([[0.5, 0.0]]), torch.tensor([2.0]))
    x = density.sample(4000, torch.Generator().manual_seed(0))
    ours = evaluation(Normal(space((2,))), x, density=density)
    exact = 0.5 * (2 * 4 + 0.25 - 2 - 2 * log(4))  # KL(N((0.5, 0), 4 I) || N(0, I))
    gap, kl = EntropyGap(draws=5)(ours), KullbackLeibler(draws=5)(ours)
    assert abs(gap.value - exact) < 4 * gap.standard_error and abs(kl.value - exact) < 4 * kl.standard_error
    assert kl.standard_error < gap.standard_error
    entropy = pytest.approx(log(4) + log(2 * pi) + 1, abs=1e-5)
    assert gap.protocol == {"n": 4000, "kind": "exact", "draws": 1, "entropy": entropy}
    same = evaluation(
        Normal(space((2,))), x / 2, density=GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    )
    assert KullbackLeibler(draws=1)(same).value == pytest.approx(0, abs=1e-6)


def test_without_a_known_density_there_is_no_gap():
    for metric in (EntropyGap(draws=1), KullbackLeibler(draws=1)):
        with pytest.raises(Unavailable, match="not known"):
            metric(evaluation(Normal(space((2,))), torch.zeros(3, 2)))
