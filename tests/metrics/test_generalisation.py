import pytest
import torch

from gentool.errors import Unavailable
from gentool.metrics.generalisation import BayesAccuracy, GeneralisationGap
from gentool.metrics.representation import LinearProbe, NeighbourAccuracy
from tests.metrics.evaluations import evaluation
from tests.metrics.models import Normal
from tests.spaces import space

MEANS = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 3.0]])


class Classes(Normal):
    """x ~ N(mean of class y, I), the classes of `space` by their frequency."""

    conditional = True

    def log_prob(self, x, y=None, *, draws=1):
        return super().log_prob(x - MEANS[y])


class Codes(Normal):
    """Codes are the points themselves."""

    def sample_latent(self, n):
        return torch.randn(n, 2)

    def decode(self, z, y=None):
        return z

    def encode(self, x, y=None):
        return x


def drawn(n, seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.multinomial(space((2,), classes=3).frequencies, n, replacement=True, generator=generator)
    return MEANS[y] + torch.randn(n, 2, generator=generator), y


def test_the_gap_by_hand():
    train, held_out = torch.tensor([[0.0, 0.0], [0.0, 2.0], [9.0, 9.0]]), torch.tensor([[1.0, 1.0], [2.0, 0.0]])
    ours = evaluation(space((2,)), None, held_out, train=train, model=Normal(space((2,))))
    found = GeneralisationGap(draws=5)(ours)
    assert found.value == pytest.approx(-1.0 - -1.5)  # of as many training examples as there are others
    assert found.standard_error == pytest.approx((1.0 + 0.25) ** 0.5)
    assert found.protocol == {"n": 2, "kind": "exact", "draws": 1, "train_examples": 2}


def test_a_generative_classifier_is_right_as_often_as_bayes_can_be():
    """A planted fault kills it: without p(y) in the sum fewer are right."""
    where = space((2,), classes=3)
    x, y = drawn(2000, 0)
    model = Classes(where)
    found = BayesAccuracy(draws=1, num_examples=1500)(evaluation(where, None, x, labels=y, model=model))
    joint = torch.stack([torch.full((2000,), c) for c in range(3)], 1)
    scores = torch.stack([model.log_prob(x, joint[:, c]) for c in range(3)], 1)
    right = ((scores + where.frequencies.log()).argmax(1) == y)[:1500].double().mean().item()
    assert found.value == pytest.approx(right) and found.protocol["num_examples"] == 1500
    assert found.value > (scores.argmax(1) == y)[:1500].double().mean().item()
    with pytest.raises(Unavailable, match="conditional=true"):
        BayesAccuracy(draws=1, num_examples=9)(evaluation(where, None, x, labels=y, model=Normal(where)))


def test_readers_of_codes_find_the_class_and_codes_of_noise_hold_none():
    where = space((2,), classes=3)
    (train, train_labels), (x, y) = drawn(600, 1), drawn(400, 2)

    def read(model, train_labels, y):
        ours = evaluation(where, None, x, labels=y, train=train, train_labels=train_labels, model=model)
        return [metric(ours) for metric in (LinearProbe(num_examples=500), NeighbourAccuracy(k=5, num_examples=500))]

    probe, vote = read(Codes(where), train_labels, y)
    assert probe.value > 0.9 and vote.value > 0.88 and probe.protocol == {"train_examples": 500, "dims": 2}
    shuffled = train_labels[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    assert all(result.value < 0.65 for result in read(Codes(where), shuffled, y))
    for model, labels, why in ((Normal(where), y, "Encodes"), (Codes(where), None, "no labels")):
        with pytest.raises(Unavailable, match=why):
            read(model, train_labels, labels)
