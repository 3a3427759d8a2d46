import os
import sys
from types import ModuleType

import pytest
import torch

from gentool.data.images import digits, mnist
from gentool.errors import Unavailable
from gentool.metrics import classifier
from gentool.metrics.classes import ClassHistogram, ClassifierScore, classifier_score
from gentool.metrics.features import features_for
from gentool.metrics.frechet import Frechet
from tests.metrics.evaluations import evaluation
from tests.spaces import space

REAL = os.environ.get("GENTOOL_DATA", "")
DATA = digits(binarize="none", validation=0.1, test=0.2, seed=0)


def of_digits(given, **changes):
    options = {"labels": DATA.test.y, "train": DATA.train.x, "train_labels": DATA.train.y, **changes}
    return evaluation(DATA.space, given, DATA.test.x, **options)


def test_the_accuracy_that_is_stated_is_that_of_the_weights_in_the_package():
    """Only of the small digits: MNIST need not be here. A planted fault kills it: pixels not scaled to [0, 1]."""
    found = classifier.bundled(8)(DATA.test.x / 16).argmax(1) == DATA.test.y
    assert found.float().mean().item() == pytest.approx(classifier.ACCURACY[8], abs=2e-3)
    assert classifier.ACCURACY[28] >= 0.99 and classifier.ACCURACY[8] >= 0.98
    raw = classifier.bundled(8)(DATA.test.x.float()).argmax(1) == DATA.test.y
    assert raw.float().mean() < classifier.ACCURACY[8]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir(f"{REAL}/MNIST/raw"), reason="GENTOOL_DATA names no folder with MNIST/raw")
def test_of_mnist_too():
    test = mnist(root=REAL, binarize="none", validation=0.0, seed=0).test
    found = torch.cat([classifier.bundled(28)(x).argmax(1) for x in (test.x / 255).split(500)])
    assert (found == test.y).float().mean().item() == pytest.approx(classifier.ACCURACY[28], abs=3e-4)


def test_weights_are_small_and_hold_nothing_but_numbers():
    for size in (8, 28):
        assert classifier.weights_file(size).stat().st_size < 300_000
        assert not any(p.requires_grad for p in classifier.bundled(size).parameters())
        assert classifier.bundled(size).features(torch.rand(3, 1, size, size)).shape == (3, classifier.FEATURES)


def test_digits_are_seen_by_their_classifier_and_other_images_by_a_formula():
    assert features_for(of_digits(DATA.train.x), "auto").name == "digits-1"
    assert features_for(of_digits(DATA.train.x), "pixels").name == "pixels"
    shuffled = of_digits(DATA.train.x, labels=DATA.test.y.roll(1))  # classes that are not the digits
    assert features_for(shuffled, "auto").name == "images-1"
    with pytest.raises(Unavailable, match="it is right in"):
        features_for(shuffled, "digits")
    with pytest.raises(Unavailable, match="other classes or none"):
        ClassHistogram(num_samples=9)(of_digits(DATA.train.x, labels=None))
    assert features_for(of_digits(DATA.train.x, labels=None), "digits").name == "digits-1"
    colour = evaluation(space((3, 4, 4), levels=256), torch.zeros(5, 3, 4, 4), torch.zeros(5, 3, 4, 4))
    with pytest.raises(Unavailable, match="3 x 4 x 4"):
        features_for(colour, "digits")
    text = evaluation(space((4,), levels=3, vocabulary=("a", "b", "c")), torch.zeros(5, 4), torch.zeros(5, 4))
    with pytest.raises(Unavailable, match="text"):
        features_for(text, "auto")


def test_digits_of_one_class_are_told_by_every_metric():
    ones = DATA.train.x[DATA.train.y == 1]
    histogram = ClassHistogram(num_samples=2000)(of_digits(ones))
    assert histogram.value == pytest.approx(90, abs=1.5) and histogram.protocol["shares"][1] > 0.98
    assert ClassHistogram(num_samples=2000)(of_digits(DATA.train.x)).value < 0.5
    all_of_them = Frechet(features="auto", num_samples=2000)(of_digits(DATA.train.x)).value
    assert Frechet(features="auto", num_samples=2000)(of_digits(ones)).value > 20 * all_of_them
    assert ClassifierScore(num_samples=2000)(of_digits(ones)).value < 1.2
    score = ClassifierScore(num_samples=2000)(of_digits(DATA.train.x))
    assert score.value > 8 and score.protocol["of_the_examples"] == pytest.approx(score.value, rel=0.1)


def test_the_score_in_closed_form():
    assert classifier_score(torch.eye(10).double()) == pytest.approx(10)
    assert classifier_score(torch.full((7, 10), 0.1).double()) == pytest.approx(1)
    assert classifier_score(torch.tensor([[1.0, 0.0], [0.5, 0.5]]).double()) == pytest.approx(
        torch.tensor([(4 / 3), (2 / 3) ** 0.5 * 2 ** 0.5]).log().mul(torch.tensor([0.5, 0.5])).sum().exp().item(),
        rel=1e-6,
    )  # fmt: skip


def test_inception_is_asked_of_torch_fidelity_and_refused_in_one_line_without(monkeypatch):
    grey = of_digits(DATA.train.x)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(Unavailable, match=r"pip install 'gentool\[inception\]'"):
        features_for(grey, "inception")
    seen = []

    class Stub(torch.nn.Module):
        def __init__(self, name, layers):
            super().__init__()
            assert (name, layers) == ("inception-v3-compat", ["2048"])

        def forward(self, x):
            seen.append(x)
            return (x.float().flatten(1)[:, :6],)

    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3, module.URL_INCEPTION_V3 = Stub, "https://where.they/lie.pth"
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    found = features_for(grey, "inception")
    assert found.of(DATA.test.x).shape == (len(DATA.test), 6) and features_for(grey, "inception") is found
    assert seen[0].dtype == torch.uint8 and seen[0].shape[1] == 3 and seen[0].max() == 255
    assert max(map(len, seen)) <= 50  # they become 299 x 299: hundreds at once fill the memory
    monkeypatch.setattr(Stub, "__init__", lambda *_: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(Unavailable, match=r"cannot be had \(no network\); https://where.they/lie.pth belongs into"):
        features_for(of_digits(DATA.train.x), "inception")
