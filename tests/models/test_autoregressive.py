"""Autoregressive models: their knobs, their labels, and what they refuse."""

from functools import partial
from math import log

import pytest
import torch

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.autoregressive import Autoregressive, Cached
from gentool.nn.network import Network
from gentool.training.rng import fork
from tests.spaces import space

SAMPLER = {"temperature": 1.0, "top_k": None, "top_p": None, "mean": True}
TEXT = space((4,), levels=3, classes=2, vocabulary=tuple("abc"))


class Chain(torch.nn.Module):
    """A Markov chain read backwards: each symbol from the one after it; it has no caches."""

    takes_tokens = True

    def __init__(self, where, outputs, classes):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(max(classes, 1), where.levels + 1, outputs))
        self.register_buffer("order", torch.arange(where.dims).flip(0))

    def forward(self, x, y=None):
        assert x.dtype == torch.int64
        after = torch.cat([x[:, 1:], torch.full_like(x[:, :1], len(self.table[0]) - 1)], 1)
        label = torch.zeros_like(x[:, 0]) if y is None else y
        return self.table[label[:, None], after].movedim(-1, 1)


def chain(conditional=False, **sampler):
    with fork(0):
        return Autoregressive(
            TEXT,
            network=lambda *sizes: Network(Chain(*sizes)),
            likelihood="auto",
            components=1,
            conditional=conditional,
            sampler={**SAMPLER, **sampler},
        )


class Free(torch.nn.Module):
    """Reals that know nothing of each other."""

    def __init__(self, where, outputs, classes):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(outputs, *where.shape))
        self.register_buffer("order", torch.arange(where.dims))

    def forward(self, x, y=None):
        return self.bias.expand(len(x), *self.bias.shape)


def free(**sampler):
    return Autoregressive(
        space((2,), loc=3.0, scale=2.0),
        network=lambda *sizes: Network(Free(*sizes)),
        likelihood="auto",
        components=2,
        conditional=False,
        sampler={**SAMPLER, **sampler},
    )


def test_a_body_without_caches_is_sampled_in_its_own_order():
    model = chain()
    assert not isinstance(model.network.body, Cached)
    with fork(1):
        x = model.sample(5000)
    p = model.network.body.table[0].detach().softmax(-1)
    last = torch.bincount(x[:, 3].long(), minlength=3) / 5000
    torch.testing.assert_close(last, p[3], atol=0.03, rtol=0)
    given = x[x[:, 3] == 1][:, 2].long()
    torch.testing.assert_close(torch.bincount(given, minlength=3) / len(given), p[1], atol=0.05, rtol=0)


def test_no_temperature_one_level_and_a_tiny_share_are_the_likeliest():
    draws = []
    for knobs in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-6}):
        for seed in (0, 1):
            with fork(seed):
                draws.append(chain(**knobs).sample(3))
    assert all(torch.equal(draws[0], other) for other in draws[1:])


def test_pictures_show_means_where_there_are_any():
    with fork(0):
        text = chain().picture(3)
    with fork(0):
        assert torch.equal(text, chain().sample(3))
    with fork(0):
        points = free().picture(3)
    with fork(0):
        assert torch.equal(points, free().sample(3))


def test_log_prob_of_a_conditional_model_sums_over_the_classes():
    model = chain(conditional=True)
    x = torch.randint(0, 3, (5, 4), generator=torch.Generator().manual_seed(0))
    each = torch.stack([model.log_prob(x, torch.full((5,), c)) for c in (0, 1)], 1)
    expected = (each + TEXT.frequencies.log()).logsumexp(1)
    torch.testing.assert_close(model.log_prob(x), expected)
    assert not torch.allclose(each[:, 0], each[:, 1])


def test_log_prob_in_chunks_is_log_prob(monkeypatch):
    x = torch.randint(0, 3, (7, 4), generator=torch.Generator().manual_seed(0))
    model = chain(conditional=True)
    y = torch.arange(7) % 2
    whole = model.log_prob(x, y)
    monkeypatch.setattr("gentool.models.autoregressive.CHUNK", 30)
    torch.testing.assert_close(model.log_prob(x, y), whole)


def test_terms_say_what_it_is_a_symbol_or_a_dimension():
    x = torch.zeros(2, 4, dtype=torch.uint8)
    loss = chain().loss(Batch(x, None, torch.arange(2)))
    torch.testing.assert_close(loss.terms["nats_per_token"], loss.total.detach() / 4)
    assert free().loss(Batch(torch.zeros(2, 2), None, torch.arange(2))).terms == {}


def test_reals_have_no_levels_to_choose_among():
    with pytest.raises(UsageError, match="holds reals"):
        free(top_k=2).sample(2)
    with fork(0):
        x = free(temperature=0.0).sample(3)
    assert torch.equal(x[0], x[1])


def test_colder_reals_spread_less():
    spread = []
    for t in (1.0, 0.25):
        with fork(0):
            spread.append(free(temperature=t).sample(2000).std().item())
    assert spread[1] < 0.9 * spread[0]


def test_a_model_of_labels_needs_labels():
    where = space((4,), levels=3, vocabulary=tuple("abc"))
    with pytest.raises(UsageError, match="needs data with classes"):
        Autoregressive(
            where,
            network=partial(Chain),
            likelihood="auto",
            components=1,
            conditional=True,
            sampler=SAMPLER,
        )


def test_an_untrained_start_is_that_of_the_data():
    model = free()
    assert model.log_prob(torch.full((1, 2), 3.0)).item() > -2 * log(20)
