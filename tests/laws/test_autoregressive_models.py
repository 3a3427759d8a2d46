"""Every configured autoregressive model is held to its laws, and each law is seen to catch the fault it is for."""

from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.autoregressive import Autoregressive, Cached
from gentool.training.rng import fork
from tests.laws import autoregressive_laws as laws
from tests.laws import exact_laws
from tests.laws.subjects import SPACES, TINY, Subject, composed, subjects
from tests.spaces import space

SMALL = ("states", "words", "points")  # where every completion can be looked at
PIXELS = Subject("pixelcnn", "binary", 20)
ENUMERABLE = Subject("pixelcnn", "states", 20)


def small(found: list[Subject]) -> list[Subject]:
    """The same models on the small spaces that they take."""
    names = dict.fromkeys(subject.name for subject in found)
    return [Subject(name, data, 20) for name in names for data in SMALL if not refuses(name, data)]


def refuses(name: str, data: str) -> bool:
    refused = TINY[name]["refused"]
    return data in refused or (data == "states" and "binary" in refused)


everyone = subjects(of=Autoregressive)
labelled = [subject for subject in subjects("conditional", of=Autoregressive) if subject.steps]
each = pytest.mark.parametrize("subject", everyone + labelled, ids=str)
trained = pytest.mark.parametrize("subject", [subject for subject in everyone if subject.steps] + labelled, ids=str)


@each
def test_outputs_see_what_is_before_them_alone(subject):
    laws.outputs_see_what_is_before_them_alone(subject.model(), subject.batch(1))


@trained
def test_cached_sampling_equals_naive_sampling(subject):
    model = subject.model()
    if not isinstance(model.network.body, Cached):
        pytest.skip("has no caches")
    laws.cached_equals_naive(model, subject.batch(3))


LEVELS = ("model.likelihood=categorical",)
NAMES = ("model.likelihood=categorical", "model.network.embedding=3", "model.conditional=true")
DEEP = ("model.network.layers=2", "model.conditional=true")
MORE = [
    Subject("pixelcnn", "grey", 20, LEVELS),
    Subject("pixelcnn", "grey", 20, NAMES),
    Subject("transformer", "colour", 3, ("model.likelihood=categorical", *DEEP)),
    Subject("transformer", "words", 20, DEEP),
    Subject("char_rnn", "words", 20, (*DEEP, "model.network.kind=lstm")),
    Subject("char_rnn", "grey", 20, (*DEEP, "model.network.kind=gru")),
]  # what tests/tiny leaves out: ordered levels and levels as names, colours in turn, more than a layer, labels of each


@pytest.mark.parametrize("subject", MORE, ids=str)
def test_caches_of_other_kinds_equal_naive_sampling(subject):
    laws.cached_equals_naive(subject.model(), subject.batch(2))


HALVES = [replace(PIXELS, overrides=("model.conditional=true",)), *MORE[1:2], *MORE[3:]]


@pytest.mark.parametrize("subject", HALVES, ids=str)
def test_completion_needs_no_caches(subject):
    laws.completion_needs_no_caches(subject.model(), subject.batch(3))


def units_are_each_dimensions_own(name):
    """What is drawn, and what a body sees of a value, are in the units of the value's own dimension."""

    def built(*scales):
        where = replace(space((len(scales),)), loc=-10 * torch.tensor(scales), scale=torch.tensor(scales))
        with fork(0):
            return instantiate(composed(name).model, _convert_="all")(where).eval()

    exact_laws.integrates_to_one(built(2.0, 0.1))
    three = built(2.0, 0.1, 1.0)
    laws.cached_equals_naive(three, Batch(three.space.to_data(torch.ones(2, 3)), None, torch.arange(2)))


@pytest.mark.parametrize("name", ["made", "transformer", "char_rnn"])
def test_units_are_each_dimensions_own(name):
    units_are_each_dimensions_own(name)


def draws_in_the_firsts(old):
    return lambda self, outputs, u, dim: old(self, outputs, u, 0)


def sees_in_the_firsts(old):
    return lambda self, x, dim=None: old(self, x, None if dim is None else 0)


@pytest.mark.parametrize("fault", [("_draw", draws_in_the_firsts), ("_seen", sees_in_the_firsts)])
def test_units_of_another_dimension_are_caught(fault, monkeypatch):
    name, wrong = fault
    monkeypatch.setattr(Autoregressive, name, wrong(getattr(Autoregressive, name)))
    with pytest.raises(AssertionError):
        units_are_each_dimensions_own("transformer")


@trained
def test_completion_keeps_what_is_known(subject):
    laws.completion_keeps_what_is_known(subject.model(), subject.batch(4))


@pytest.mark.parametrize("subject", small(everyone), ids=str)
def test_completion_follows_the_conditional(subject):
    try:
        subject.model()
    except UsageError as reason:
        pytest.skip(f"refuses {subject.data}: {reason}")
    laws.completion_follows_the_conditional(subject.model(), subject.batch(1))


def test_completion_follows_the_conditional_of_a_class():
    subject = replace(ENUMERABLE, overrides=tuple(TINY["pixelcnn"]["conditional"]))
    laws.completion_follows_the_conditional(subject.model(), subject.batch(1))


def sees_itself(model):
    model.network.body.first_left.strictly = False


def sees_the_row_below(model):
    model.network.body.first_above.strictly = False


def swaps_two_places(model):
    model.network.body.order[[3, 7]] = model.network.body.order[[7, 3]]


@pytest.mark.parametrize("fault", [sees_itself, sees_the_row_below, swaps_two_places])
def test_a_leaky_mask_is_caught(fault):
    model = PIXELS.model()
    fault(model)
    with pytest.raises(AssertionError):
        laws.outputs_see_what_is_before_them_alone(model, PIXELS.batch(1))


def ignores_what_is_drawn(model):
    step = model.network.body.step
    model.network.body.step = lambda state, i, x_prev: step(state, i, None)


def is_off_by_a_little(model):
    step = model.network.body.step
    model.network.body.step = lambda state, i, x_prev: step(state, i, x_prev) + 1e-6


@pytest.mark.parametrize("fault", [ignores_what_is_drawn, is_off_by_a_little])
def test_a_stale_cache_is_caught(fault):
    model = PIXELS.model()
    fault(model)
    with pytest.raises(AssertionError):
        laws.cached_equals_naive(model, PIXELS.batch(3))


def test_a_stale_cache_is_caught_by_completion():
    model = PIXELS.model()
    ignores_what_is_drawn(model)
    with pytest.raises(AssertionError, match="complete otherwise"):
        laws.completion_needs_no_caches(model, PIXELS.batch(3))


def draws_what_is_known(model):
    fill = model._fill
    model._fill = lambda x, known, y, u, *, cached: fill(x, torch.zeros_like(known), y, u, cached=cached)


def is_too_cold(model):
    model.sampler["temperature"] = 0.3


def forgets_what_is_known(model):
    fill = model._fill

    def forgetful(x, known, y, u, *, cached):
        drawn = fill(x, torch.zeros_like(known), y, u, cached=cached)
        return torch.where(known, x, drawn)

    model._fill = forgetful


def test_changed_pixels_are_caught():
    model = PIXELS.model()
    draws_what_is_known(model)
    with pytest.raises(AssertionError):
        laws.completion_keeps_what_is_known(model, PIXELS.batch(4))


@pytest.mark.parametrize("fault", [is_too_cold, forgets_what_is_known])
def test_completion_by_another_law_is_caught(fault):
    model = Subject("pixelcnn", "states", 60).model()
    fault(model)
    with pytest.raises(AssertionError):
        laws.completion_follows_the_conditional(model, ENUMERABLE.batch(1))


def test_faults_are_planted_in_sound_models():
    laws.completion_follows_the_conditional(Subject("pixelcnn", "states", 60).model(), ENUMERABLE.batch(1))
    assert SPACES["states"].dims == 9
