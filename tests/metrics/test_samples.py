"""What an evaluation hands its metrics, and what a model costs."""

import pytest
import torch

from gentool.commands.evaluate import measure, table
from gentool.errors import Unavailable
from gentool.metrics.cost import CheckpointBytes, NetworkEvaluations, Parameters, SamplesPerSecond
from gentool.metrics.evaluation import DRAWN
from gentool.metrics.frechet import Frechet
from gentool.metrics.modes import ModesCaptured
from gentool.metrics.transport import SlicedWasserstein
from gentool.nn.network import Network
from gentool.probability import toys
from tests.metrics.evaluations import evaluation
from tests.metrics.models import Normal
from tests.spaces import space

RING = toys.ring(modes=8, radius=1.0, sigma=0.01)


class Counted(Normal):
    """Draws points; keeps how many."""

    def __init__(self):
        super().__init__(space((2,)))
        self.network, self.drawn = Network(torch.nn.Linear(2, 2)), 0

    def sample(self, n, y=None):
        self.drawn += n
        x = torch.randn(n, 2)
        for _ in range(3):
            x = self.network(x)
        return x


def test_samples_are_drawn_once_for_all_metrics_and_fewer_are_the_first_of_more():
    model = Counted()
    state = torch.get_rng_state()
    ours = evaluation(model.space, None, torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), model=model)
    chosen = {
        "frechet": Frechet(features="auto", num_samples=700),
        "sliced": SlicedWasserstein(projections=5, num_samples=30),
    }
    report = measure(chosen, ours, {"seed": 0})
    assert model.drawn == 2 * DRAWN and set(report["metrics"]) == set(chosen)
    assert torch.equal(ours.samples(30), ours.samples(700)[:30]) and model.drawn == 2 * DRAWN
    assert torch.equal(torch.get_rng_state(), state)
    again = evaluation(model.space, None, torch.zeros(50, 2), model=model)
    assert torch.equal(again.samples(30), ours.samples(30))
    other = evaluation(model.space, None, torch.zeros(50, 2), model=model, seed=1)
    assert not torch.equal(other.samples(30), ours.samples(30))
    assert not torch.equal(ours.samples(2 * DRAWN)[:DRAWN], ours.samples(2 * DRAWN)[DRAWN:])


def test_a_sample_that_is_not_finite_is_told():
    class Broken(Counted):
        def sample(self, n, y=None):
            return torch.full((n, 2), float("nan"))

    model = Broken()
    with pytest.raises(Unavailable, match="not finite"):
        evaluation(model.space, None, torch.zeros(5, 2), model=model).samples(3)


def test_what_samples_alone_cannot_tell_is_unavailable():
    alone = evaluation(space((2,)), torch.randn(9, 2), torch.randn(9, 2))
    for metric in (Parameters(), CheckpointBytes(), SamplesPerSecond(batch=3)):
        with pytest.raises(Unavailable):
            metric(alone)


def test_costs():
    model = Counted()
    ours = evaluation(model.space, None, torch.zeros(5, 2), model=model)
    assert NetworkEvaluations(batch=7)(ours).value == 3
    assert not model.network._forward_hooks
    model.remarks = lambda: {"network evaluations": 40.0}  # a model that counts for itself knows better
    assert NetworkEvaluations(batch=7)(ours).value == 40
    assert Parameters()(ours).value == 7
    speed = SamplesPerSecond(batch=4)(ours)
    assert speed.value > 0 and speed.protocol["batch"] == 4
    with pytest.raises(Unavailable, match="no network whole"):
        NetworkEvaluations(batch=7)(evaluation(space((2,)), None, torch.zeros(5, 2), model=Normal(space((2,)))))


def test_modes_with_their_errors_and_where_there_are_none():
    x = RING.sample(2500, torch.Generator().manual_seed(0))
    seven = x[(x[:, 0] < 0.9) | (torch.arange(2500) % 2 == 0)]  # one mode half as often as the others

    def found(quantity, density=RING):
        return ModesCaptured(quantity=quantity, num_samples=2500)(evaluation(space((2,)), seven, x, density=density))

    assert found("captured").value == 8 and found("captured").standard_error == 0
    share = found("high_quality")
    assert share.standard_error == pytest.approx((share.value * (1 - share.value) / len(seven)) ** 0.5, rel=0.2)
    assert 0.01 < found("reverse_kl").value < 0.03 and found("captured").protocol["protocol"] == "pacgan-1"
    with pytest.raises(Unavailable, match="stand six deviations apart"):
        found("captured", density=toys.moons(noise=0.1))


def test_the_table_leaves_lists_to_the_file():
    report = {"metrics": {"a": 1.0}, "standard_error": {"a": None}, "unavailable": {}}
    assert "shares" not in table({**report, "protocol": {"a": {"n": 3, "shares": [0.5, 0.5]}}})
