"""MADE with several masks: one network, trained under all of them, whose p(x) is their mixture."""

from contextlib import contextmanager

import pytest
import torch

from gentool.training.rng import fork
from tests.laws import exact_laws
from tests.laws.subjects import build, endless, examples, train

SEVERAL = ("model.network.masks=3", "model.network.order=agnostic")


@pytest.fixture
def ensemble():
    with fork(0):
        return train("made", build("made", "states", *SEVERAL), endless("states"), 20, lr=3e-2).eval()


def test_the_mixture_sums_to_one(ensemble):
    exact_laws.sums_to_one(ensemble)


def test_samples_are_the_mixtures(ensemble):
    exact_laws.samples_have_the_states_moments(ensemble)


def test_log_prob_is_the_mean_over_masks(ensemble):
    x, body = examples("states").x, ensemble.network.body
    each = []
    for mask in range(3):
        with body.wearing(mask), torch.no_grad():
            each.append(-ensemble.objective(examples("states")))
    each = torch.stack(each).double()
    assert (each.std(0) > 1e-3).any(), "the masks are all alike"
    torch.testing.assert_close(ensemble.log_prob(x).double(), each.exp().mean(0).log(), rtol=1e-4, atol=1e-4)


def test_one_mask_for_all_is_caught(ensemble, monkeypatch):
    body = ensemble.network.body
    wearing = body.wearing

    @contextmanager
    def the_first(mask):
        with wearing(0):
            yield

    x = exact_laws.states(ensemble.space)
    p = ensemble.log_prob(x)
    monkeypatch.setattr(type(body), "wearing", lambda self, mask: the_first(mask))
    assert not torch.allclose(ensemble.log_prob(x), p, atol=1e-3)
