import pytest
import torch

from gentool.errors import UsageError
from gentool.models.base import GenerativeModel
from gentool.probability import toys
from gentool.training.validation import check_monitor, validate
from tests.spaces import space

RING = toys.ring(modes=8, radius=1.0, sigma=0.01)


class OneMode(GenerativeModel):
    """Every sample is the first mode; nothing is known of its density."""

    def __init__(self):
        super().__init__(space((2,)), {})

    def train_step(self, batches, optimizers):
        return {}

    def sample(self, n, y=None):
        return torch.tensor([1.0, 0.0]) + 0.005 * torch.randn(n, 2)


class Known(OneMode):
    likelihood = "exact"

    def log_prob(self, x, y=None, *, draws=1):
        return torch.zeros(len(x))


def test_a_collapse_is_logged_where_no_likelihood_tells_and_the_modes_are_known():
    state = torch.get_rng_state()
    measured = validate(OneMode(), lambda: iter([]), 0, RING)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: value.item() for name, value in measured.items()} == pytest.approx(
        {"model/modes": 1, "model/high_quality": 1, "model/reverse_kl": 2.0794, }, abs=1e-4
    )  # fmt: skip
    assert validate(OneMode(), lambda: iter([]), 0) == {}
    assert validate(OneMode(), lambda: iter([]), 0, toys.moons(noise=0.1)) == {}
    assert validate(Known(), lambda: iter([]), 0, RING) == {}


def test_they_can_choose_the_best_checkpoint():
    check_monitor("model/reverse_kl", OneMode(), lambda: iter([None]), 0, RING)
    with pytest.raises(UsageError, match="model/reverse"):
        check_monitor("model/reverse_kl", OneMode(), lambda: iter([None]), 0, None)
