"""Whether samples are of the class that was asked for: what is perfect scores as the data does, a fault at chance."""

import pytest
import torch

from gentool.data.images import digits
from gentool.errors import Unavailable
from gentool.metrics.classes import LabelAccuracy
from tests.metrics.evaluations import evaluation
from tests.metrics.models import Normal
from tests.spaces import space

MEANS = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
POINTS = space((2,), classes=3)
DIGITS = digits(binarize="none", validation=0.1, test=0.2, seed=0)


def points(y):
    return MEANS[y] + torch.randn(len(y), 2)


def training_digits(y):
    return torch.stack([own[torch.randint(len(own), ())] for own in (DIGITS.train.x[DIGITS.train.y == c] for c in y)])


class Classes(Normal):
    """Samples of the class asked for, after a fault is done to it."""

    conditional = True

    def __init__(self, where, draw, fault=lambda y: y):
        super().__init__(where)
        self.draw, self.fault = draw, fault

    def sample(self, n, y=None):
        return self.draw(self.fault(self.labels(n, y)))


def measured(model, num_samples=1000, **options):
    """Measure a model of points or of digits; its training examples are enough for the judge."""
    if model.space is POINTS:
        g = torch.Generator().manual_seed(0)
        y = torch.multinomial(POINTS.frequencies, 3000, replacement=True, generator=g)
        x = MEANS[y] + torch.randn(3000, 2, generator=g)
        (train, train_y), (held, held_y) = (x[:2000], y[:2000]), (x[2000:], y[2000:])
    else:
        train, train_y, held, held_y = DIGITS.train.x, DIGITS.train.y, DIGITS.test.x, DIGITS.test.y
    ours = evaluation(model.space, None, held, labels=held_y, train=train, train_labels=train_y, model=model)
    return LabelAccuracy(num_samples=num_samples, **{"k": 5, "num_examples": 2000, **options})(ours)


def test_perfect_samples_score_as_held_out_examples_do():
    found = measured(Classes(POINTS, points))
    held_out = found.protocol["held_out"]
    assert 0.85 < held_out < 0.95  # the classes overlap
    assert found.value == pytest.approx(held_out, abs=4 * found.standard_error)
    assert found.standard_error == pytest.approx((found.value * (1 - found.value) / 999) ** 0.5)
    assert found.protocol["judge"] == "5 nearest of 2,000 training examples in points"
    assert found.protocol["num_samples"] == 1000


def test_of_digits_the_judge_sees_features_and_knows_almost_all():
    found = measured(Classes(DIGITS.space, training_digits), num_samples=300)
    assert found.value > 0.98 and found.protocol["held_out"] > 0.98
    assert found.protocol["judge"] == "5 nearest of 1,258 training examples in digits-1"


def test_labels_that_decide_nothing_are_at_chance():
    """Planted faults: labels shuffled, labels not looked at, and each class drawn as the next."""
    shares = POINTS.frequencies
    chance = float(shares.square().sum())
    shuffled = measured(Classes(POINTS, points, lambda y: y[torch.randperm(len(y))]))
    assert shuffled.value == pytest.approx(chance, abs=0.06)
    ignored = measured(Classes(POINTS, points, lambda y: torch.multinomial(shares, len(y), replacement=True)))
    assert ignored.value == pytest.approx(chance, abs=0.06)
    assert measured(Classes(POINTS, points, lambda y: (y + 1) % 3)).value < 0.1
    assert measured(Classes(DIGITS.space, training_digits, lambda y: y[torch.randperm(len(y))]), 300).value < 0.2


def test_labels_are_drawn_by_their_frequency_and_the_samples_are_those_of_every_metric():
    ours = evaluation(POINTS, None, torch.zeros(5, 2), model=Classes(POINTS, points))
    drawn = ours.samples(600)
    x, y = ours.labelled_samples(1200)
    assert torch.equal(x[:600], drawn) and y.dtype == torch.int64
    assert torch.allclose(torch.bincount(y) / 1200, POINTS.frequencies, atol=0.05)
    assert torch.equal(ours.labelled_samples(7)[1], y[:7])


@pytest.mark.parametrize(("model", "why"), [
    (Normal(POINTS), "conditional=true"),
    (Normal(space((2,))), "no labels"),
    (None, "only samples"),
])  # fmt: skip
def test_where_no_label_can_be_asked_for_it_says_so(model, why):
    ours = evaluation(POINTS, torch.zeros(5, 2), torch.zeros(5, 2), model=model)
    with pytest.raises(Unavailable, match=why):
        LabelAccuracy(num_samples=10, k=5, num_examples=10)(ours)


def test_fewer_training_examples_than_neighbours_are_refused():
    with pytest.raises(Unavailable, match="5 neighbours"):
        measured(Classes(POINTS, points), num_examples=4)
