"""Every model that claims an exact likelihood is held to it where all of space can be looked at."""

from math import log

import pytest
import torch

from gentool.errors import UsageError
from gentool.models.base import GenerativeModel
from tests.laws import exact_laws
from tests.laws.subjects import MODELS, SPACES, TINY, Subject, family
from tests.spaces import space

SMALL = ("states", "words", "points")
INEXACT = ("bound", "importance", "ode")


def claims(name: str) -> bool:
    """Whether a family may be exact: it says so, or it decides by the space."""
    return hasattr(family(name), "log_prob") and getattr(family(name), "likelihood", "exact") not in INEXACT


def exact_subjects() -> list[Subject]:
    """Every model that may be exact on every small space it does not refuse, as it is and given labels."""
    found = []
    for name in filter(claims, MODELS):
        entry = TINY.get(name, {"data": [], "refused": []})
        for data in SMALL:
            if data in entry["refused"] or (data == "states" and "binary" in entry["refused"]):
                continue
            found += [Subject(name, data, steps) for steps in (0, 20)]
            if "conditional" in entry and SPACES[data].classes:
                found.append(Subject(name, data, 20, tuple(entry["conditional"])))
    return found


@pytest.mark.parametrize("subject", exact_subjects(), ids=str)
def test_log_prob_is_the_log_of_a_distribution_that_is_sampled(subject):
    try:
        model = subject.model()
    except UsageError as reason:
        pytest.skip(f"refuses {subject.data}: {reason}")
    if not exact_laws.is_exact(model):
        pytest.skip("is not exact here")
    hold(model)


def hold(model: GenerativeModel) -> None:
    """Hold a model to all laws of its space."""
    for y in exact_laws.labels_of(model):
        if model.space.levels is not None:
            exact_laws.sums_to_one(model, y)
            exact_laws.samples_have_the_states_moments(model, y)
        else:
            exact_laws.integrates_to_one(model, y)


class Product(GenerativeModel):
    """Independent dimensions: p(x = 1) = 0.3 of two levels, N(mu, sigma²) of reals."""

    likelihood = "exact"

    def __init__(self, where, scale=1.0, shift=0.0, gain=0.0, pull=0.0):
        super().__init__(where, {})
        self.scale, self.shift, self.gain, self.pull = scale, shift, gain, pull

    def train_step(self, batches, optimizers):
        return {}

    def sample(self, n, y=None):
        if self.space.levels:
            x = torch.bernoulli(torch.full((n, *self.space.shape), 0.3 + self.shift))
            x[..., 0] = torch.where(torch.rand(x[..., 0].shape) < self.pull, x[..., 1], x[..., 0])
            return x.to(self.space.dtype)
        x = torch.randn(n, 2)
        x[:, 0] = x[:, 0] * (1 - self.pull**2) ** 0.5 + self.pull * x[:, 1]
        return self.space.to_data(self.scale * x + self.shift)

    def log_prob(self, x, y=None, *, draws=1):
        if self.space.levels:
            return torch.where(x == 1, log(0.3), log(0.7)).flatten(1).sum(1) + self.gain
        normal = torch.distributions.Normal(self.space.loc, self.space.scale)
        return normal.log_prob(x).sum(1) + self.gain


@pytest.mark.parametrize("data", ["states", "points"])
def test_laws_hold_of_a_sound_model(data):
    hold(Product(SPACES[data]))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ("states", {"gain": 0.01}),
        ("states", {"shift": 0.06}),
        ("states", {"pull": 0.3}),
        ("points", {"gain": log(2.0 * 2.0)}),  # the density of standardised points, without its Jacobian
        ("points", {"gain": -0.05}),
        ("points", {"scale": 1.1}),
        ("points", {"shift": 0.2}),
        ("points", {"pull": 0.3}),
    ],
)
def test_laws_catch_their_faults(data, fault):
    with pytest.raises(AssertionError):
        hold(Product(SPACES[data], **fault))


def test_states_are_all_there_are():
    x = exact_laws.states(space((1, 2, 2), levels=3))
    assert x.shape == (81, 1, 2, 2) and len({tuple(row) for row in x.flatten(1).tolist()}) == 81 and x.max() == 2
