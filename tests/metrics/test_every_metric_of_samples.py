"""What holds of every metric of samples in configs/evaluate.yaml, each on the first data that it fits."""

from functools import cache
from math import isfinite
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gentool.data.images import digits
from gentool.errors import Unavailable
from gentool.probability import toys
from tests.metrics.evaluations import evaluation
from tests.spaces import space

CONFIG = OmegaConf.load(Path(__file__).parents[2] / "configs" / "evaluate.yaml")
ASKS = {"label_accuracy"}  # of the labels that samples were asked for: it needs the model
NAMES = [name for name, metric in CONFIG.definitions.items() if "num_samples" in metric and name not in ASKS]
RING = toys.ring(modes=8, radius=1.0, sigma=0.01)

ITSELF = {
    "frechet": 0, "kernel_distance": 0, "mmd": 0, "sliced_wasserstein": 0, "wasserstein": 0,
    "precision": 1, "recall": 1, "density": 1, "coverage": 1, "memorisation": 1, "data_copying": 0.5,
    "class_histogram": 0, "classifier_score": 9.5, "modes": 8, "high_quality": 0.989, "reverse_kl": 0,
}  # fmt: skip
"""What a set scores against itself, that is also the training set. A new metric says here what it should be."""

LOOSE = {"class_histogram": 1.0, "classifier_score": 0.5, "high_quality": 0.01, "reverse_kl": 0.02, "modes": 0}
"""How far off, where that is more than rounding: what these compare with is no set, but shares and a density."""

UNBIASED = {"kernel_distance": 0.01, "mmd": 0.002}
"""The same of what is unbiased: of a set with itself it is below 0 by 2 (mean k(x, x) - mean k) / (n - 1)."""


@cache
def cases():
    """Return data of points and of digits: x with its labels, its space and its density."""
    data = digits(binarize="none", validation=0.1, test=0.2, seed=0)
    points = RING.sample(500, torch.Generator().manual_seed(0))
    return (points, None, space((2,)), RING), (data.train.x[:500], data.train.y[:500], data.space, None)


def measured(name, change=lambda x: x, *, held=None, size=100):
    """Measure samples `change(x)` against examples x, on the first data that the metric fits."""
    metric, refused = instantiate(CONFIG.definitions[name]), None
    for x, labels, where, density in cases():
        rows = slice(held)
        ours = evaluation(
            where, change(x), x[rows], labels=None if labels is None else labels[rows], train=x, density=density,
            size=size,
        )  # fmt: skip
        try:
            return metric(ours)
        except Unavailable as reason:
            refused = refused or reason
    raise refused


def shuffled(x):
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize("name", NAMES)
def test_a_set_against_itself(name):
    close = LOOSE.get(name, UNBIASED.get(name, 1e-9))
    assert measured(name, shuffled).value == pytest.approx(ITSELF[name], abs=close)


@pytest.mark.parametrize("name", NAMES)
def test_neither_order_nor_blocks_nor_the_second_time_change_the_value(name):
    def worse(x):
        return x[: len(x) // 2].roll(1, -1)

    state = torch.get_rng_state()
    first = measured(name, worse)
    assert measured(name, worse) == first and torch.equal(torch.get_rng_state(), state)
    assert measured(name, lambda x: shuffled(worse(x)), size=7).value == pytest.approx(first.value, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_one_sample_is_an_error_and_one_example_no_nan(name):
    with pytest.raises(Unavailable, match="one sample, .* 2 or more are needed"):
        measured(name, lambda x: x[:1])
    try:
        value = measured(name, held=1).value
    except Unavailable:
        return
    assert isfinite(value)
