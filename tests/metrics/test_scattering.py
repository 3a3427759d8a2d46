"""The features of images by a formula: fixed numbers, whatever the batch, and distances that grow with a fault."""

from itertools import pairwise

import pytest
import torch

from gentool.data.images import digits
from gentool.errors import Unavailable
from gentool.metrics import features, scattering
from gentool.metrics.features import features_for
from gentool.metrics.frechet import Frechet, frechet_distance, moments
from tests.metrics.evaluations import evaluation
from tests.spaces import space

DIGITS = digits(binarize="none", validation=0.1, test=0.2, seed=0).train
GENERATOR = torch.Generator().manual_seed(0)


def pattern(channels, height, width):
    """Images by a formula, (2, channels, height, width) in [0, 1]."""
    n, c, h, w = torch.meshgrid(*map(torch.arange, (2, channels, height, width)), indexing="ij")
    return ((3 * h + 5 * w + 7 * c + h * w * (n + 1)) % 17) / 16


def levels(x):
    return (x.clamp(0, 1) * 255).round().byte()


@pytest.mark.parametrize(("channels", "expected"), [
    (3, [-0.0184, 2.2179, 2.8645, 3.9337, 0.6756, 0.6148]),
    (1, [-0.5342, 5.3638, 15.7618, 0.0, 2.0192, 0.0]),
])  # fmt: skip
def test_the_numbers_of_this_version(channels, expected):
    """Other numbers need another `VERSION`: values measured with different features are never compared."""
    found = scattering.features(pattern(channels, 32, 32))
    assert scattering.VERSION == "images-1" and found.shape == (2, 303)
    assert found[1, ::60].tolist() == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 200), (3, 64, 48), (3, 130, 130)])
def test_images_of_any_size_one_by_one_or_together(shape):
    x = torch.cat([pattern(*shape), pattern(*shape).flip(-1)])
    together = scattering.features(x)
    assert together.shape == (4, 303) and torch.isfinite(together).all()
    one_by_one = torch.cat([scattering.features(part) for part in x.split(1)])
    assert torch.allclose(together, one_by_one, atol=1e-4)


def test_grey_is_a_colour_and_size_beyond_64_is_averaged():
    grey = pattern(1, 32, 32)
    assert torch.allclose(scattering.features(grey), scattering.features(grey.expand(-1, 3, -1, -1)), atol=1e-4)
    x = pattern(3, 64, 64)
    larger = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(scattering.features(larger), scattering.features(x), atol=1e-4)


def blocks(x):
    return levels(x.repeat_interleave(2, 2).repeat_interleave(2, 3))


FAULTS = {
    "noise": lambda x, s: x + s * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)),
    "checks": lambda x, s: x + s * ((torch.arange(16)[:, None] + torch.arange(16)) % 2),
    "brightness": lambda x, s: x + s,
    "blur": lambda x, s: (1 - s) * x + s * torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "copies": lambda x, s: x[: int(len(x) * (1 - s))].repeat(20, 1, 1, 1)[: len(x)],
}


@pytest.fixture(scope="module")
def real():
    """300 digits and others, in [0, 1], the classes of the others, and the features of the first."""
    x = blocks(DIGITS.x[:600] / 16) / 255
    return x[300:], DIGITS.y[300:600], moments(scattering.features(x[:300]).double())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_distance_grows_with_the_fault(fault, real):
    other, _, first = real
    strengths = (0.0, 0.6, 0.95) if fault in ("blur", "copies") else (0.0, 0.1, 0.3)
    sets = (scattering.features(FAULTS[fault](other, s)).double() for s in strengths)
    found = [frechet_distance(*first, *moments(x)) for x in sets]
    assert all(1.1 * a < b for a, b in pairwise(found)), found


def test_classes_that_are_missing_are_seen(real):
    other, y, first = real
    x = scattering.features(other).double()
    found = [frechet_distance(*first, *moments(x[y >= dropped])) for dropped in (0, 4, 8)]
    assert 1.2 * found[0] < found[1] and 1.2 * found[1] < found[2], found


def of_images(shape, n=30):
    x = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=GENERATOR)
    return evaluation(space(shape, levels=256), x, x[torch.randperm(n)])


def test_they_are_those_of_images_other_than_digits():
    for shape in ((3, 16, 16), (1, 12, 20)):
        assert features_for(of_images(shape), "auto").name == "images-1"
    for shape in ((3, 4, 4), (4, 9, 9)):
        assert features_for(of_images(shape), "auto").name == "pixels"
    assert features_for(of_images((3, 16, 16)), "pixels").name == "pixels"
    for shape, why in (((3, 4, 9), "4 x 9: features=pixels"), ((2, 9, 9), "1 or 3 channels"), ((9,), "needs images")):
        with pytest.raises(Unavailable, match=why):
            features_for(of_images(shape), "images")
    found = Frechet(features="auto", num_samples=30)(of_images((3, 16, 16)))
    assert found.protocol == {"features": "images-1", "num_samples": 30}
    assert found.value == pytest.approx(0, abs=1e-6)  # a set against itself


def test_no_number_depends_on_how_many_are_filtered_at_once(monkeypatch):
    ours = of_images((3, 16, 16), n=60)
    x = ours.samples(60)
    found = features_for(ours, "images").of(x)
    monkeypatch.setattr(features, "IMAGES_AT_ONCE", 7)
    assert torch.allclose(features_for(ours, "images").of(x), found, atol=1e-4)


def test_large_covariances_are_not_formed():
    large = of_images((3, 64, 64), n=9)
    with pytest.raises(Unavailable, match=r"12,288 dimensions of 3 x 64 x 64 .* 1\.2 GB; .* features=images"):
        Frechet(features="pixels", num_samples=9)(large)
    assert features_for(large, "pixels").dims == 12_288  # distances without a covariance may be in them
    assert Frechet(features="auto", num_samples=9)(large).protocol["features"] == "images-1"
    assert Frechet(features="pixels", num_samples=9)(of_images((1, 16, 16), n=9)).protocol["features"] == "pixels"
