"""How long it will take: told before, and while it goes on."""

from dataclasses import replace

import pytest
import torch

from gentool.metrics import forecast as forecasts
from gentool.metrics.forecast import forecast
from gentool.metrics.frechet import Frechet
from gentool.metrics.generalisation import GeneralisationGap
from gentool.metrics.likelihood import BitsPerDim, KullbackLeibler, NegativeLogLikelihood
from gentool.metrics.pace import paced
from gentool.metrics.transport import Wasserstein
from gentool.probability import toys
from tests.metrics.evaluations import evaluation
from tests.metrics.models import Noisy
from tests.spaces import space


class Clock:
    """Stands in for `time`; moves only when it is told to."""

    now = 0.0

    def perf_counter(self):
        return self.now


class Slow(Noisy):
    """Takes 10 s to score a block and 30 s to draw one, by a clock of its own."""

    def __init__(self, clock):
        super().__init__(replace(space((2,)), examples=400))
        self.clock, self.drawn = clock, 0

    def log_prob(self, x, y=None, *, draws=1):
        self.clock.now += 10
        return super().log_prob(x, y, draws=draws)

    def sample(self, n, y=None):
        self.clock.now += 30
        self.drawn += n
        return torch.randn(n, 2)


def test_the_time_of_all_metrics_is_told_from_one_block_of_each_and_its_samples_are_kept(monkeypatch):
    """Planted faults kill it: shared work counted twice, training examples left out, drawn samples thrown away."""
    clock = Clock()
    monkeypatch.setattr(forecasts, "time", clock)
    model = Slow(clock)
    density = toys.ring(modes=8, radius=1.0, sigma=0.1)
    ours = evaluation(model.space, None, torch.randn(1000, 2), model=model, density=density)
    chosen = {
        "nll": NegativeLogLikelihood(draws=3),
        "bits": BitsPerDim(draws=3),  # unavailable
        "kl": KullbackLeibler(draws=3),  # of every example too, so it needs all values
        "gap": GeneralisationGap(draws=3),
        "frechet": Frechet(features="auto", num_samples=2000),
        "wasserstein": Wasserstein(num_samples=2000),
    }
    assert forecast(chosen, ours) == pytest.approx(10 * 10 + 4 * 10 + 3 * 30)  # three more of four drawings
    assert model.drawn == 500 and model.scored == 200 and not ours.kept and not ours._log_prob
    before = ours.samples(500)
    assert model.drawn == 500
    again = evaluation(model.space, None, torch.randn(1000, 2), model=model)
    assert torch.equal(again.samples(500), before)


@pytest.mark.parametrize(
    ("seconds", "count", "said"),
    [
        ([3, 3] + [3] * 18, 20, ["work: about 54 s more"]),  # after two
        ([6] + [6] * 19, 20, ["work: about 2 min more"]),  # after one, as it was slow
        ([1] * 20, 20, []),  # 18 s are not long
        ([60], 1, []),
    ],
)
def test_a_long_pass_says_once_how_long(seconds, count, said, monkeypatch):
    clock, lines = Clock(), []
    monkeypatch.setattr("gentool.metrics.pace.time", clock)
    for each in paced(seconds, count, "work", lines.append):
        clock.now += each
    assert lines == said
