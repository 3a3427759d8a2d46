"""Metrics of what a likelihood knows beyond its value: how it falls on new examples, and which class it finds."""

from collections.abc import Iterator
from math import hypot

from pydantic import PositiveInt
from torch import Tensor

from gentool.batch import Batch
from gentool.metrics.evaluation import Draws, Evaluation, Result
from gentool.metrics.likelihood import mean_and_error
from gentool.training.rng import get_state, set_state


def _first(batches: Iterator[Batch], n: int, with_labels: bool) -> Iterator[Batch]:
    for x, y, index in batches:
        if n > 0:
            yield Batch(x[:n], y[:n] if y is not None and with_labels else None, index[:n])
        else:
            return
        n -= len(x)


class GeneralisationGap:
    """Mean log p(x) of training examples minus that of held-out ones, nats: above 0 the likelihood overfits.

    Args:
        draws: of log p(x) of each example.
    """

    def __init__(self, *, draws: Draws) -> None:
        self.draws = draws

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        model = evaluation.likelihood()
        draws = evaluation.draws(self.draws)
        held_out, error = mean_and_error(evaluation.log_prob(draws))
        n = min(evaluation.n, evaluation.space.examples)
        blocks = _first(evaluation.data.train(), n, evaluation.model.conditional)
        train = evaluation.log_prob_of(blocks, n, draws)
        value, train_error = mean_and_error(train)
        both = None if error is None or train_error is None else hypot(error, train_error)
        protocol = {"n": evaluation.n, "kind": model.likelihood, "draws": draws, "train_examples": len(train)}
        return Result(value - held_out, both, protocol)


class BayesAccuracy:
    """The share of examples whose class is argmax_y log p(x | y) + log p(y): a generative model as a classifier.

    Every class of an example is scored under the same noise.

    Args:
        draws: of each log p(x | y).
        num_examples: examples at most; each is scored once for every class.
    """

    def __init__(self, *, draws: Draws, num_examples: PositiveInt) -> None:
        self.draws, self.num_examples = draws, num_examples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        likelihood, model = evaluation.likelihood(), evaluation.conditional()
        draws = evaluation.draws(self.draws)

        def is_right(block: Batch) -> Tensor:
            state = get_state()

            def log_prob(label: Tensor) -> Tensor:
                set_state(state)
                return likelihood.log_prob(block.x, label, draws=draws)

            assert block.y is not None  # a model of p(x | y) has data with labels
            return model.each_label(block.x, log_prob).argmax(1) == block.y

        n = min(self.num_examples, evaluation.n)
        blocks = _first(evaluation.data.held_out(), n, True)
        right = evaluation.walk(is_right, blocks, n, f"the likeliest class of {n:,} examples", draws)
        value, error = mean_and_error(right)
        protocol = {"kind": likelihood.likelihood, "draws": draws, "num_examples": len(right)}
        return Result(value, error, protocol)
