"""The time that metrics will take, told before any is computed."""

import time
from collections.abc import Callable, Iterator, Mapping
from math import ceil

from torch import Tensor

from gentool.batch import Batch
from gentool.errors import Unavailable
from gentool.metrics.evaluation import DRAWN, Evaluation, Metric

WARM = 1.0
"""Seconds from which a first block is believed; a faster one only warms up, and is run again."""

GROWS = ("draws", "steps", "num_samples")
"""A metric without one of these arguments is soon measured, and not tried."""


class Rehearsal(Evaluation):
    """An evaluation in which one block stands for all of them: what is measured is the time.

    Samples that it draws are kept for the evaluation it rehearses; how far they are from examples is not computed.

    Args:
        evaluation: what is rehearsed.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        vars(self).update(vars(evaluation), kept={}, _log_prob={}, say=lambda line: None)
        self.seconds, self._told = 0.0, False

    def walk(self, step: Callable[[Batch], Tensor], blocks: Iterator[Batch], n: int, what: str, *state: int) -> Tensor:
        """Return the first block's values over and over; the time of all is added up. See `Evaluation.walk`."""
        first = next(blocks)
        count = ceil(n / len(first.x))
        for _ in range(2):
            start = time.perf_counter()
            values = super().walk(step, iter([first]), len(first.x), what, *state)
            seconds = time.perf_counter() - start
            if seconds > WARM:
                break
        self.seconds += seconds * count
        return values.repeat(count)[:n]

    def samples(self, n: int) -> Tensor:
        """Draw one block of samples, the first time.

        Args:
            n: number of samples.

        Returns:
            Nothing, ever.

        Raises:
            Unavailable: always: nothing is made of them.
        """
        if not self._told and self._given is None:
            start = time.perf_counter()
            super().samples(min(n, DRAWN))
            self.seconds += (time.perf_counter() - start) * (ceil(n / DRAWN) - 1)
            self._told = True
        raise Unavailable("a rehearsal measures no samples")


def forecast(metrics: Mapping[str, Metric], evaluation: Evaluation) -> float:
    """Return the seconds that the model's part of metrics will take; it costs about a hundredth of them.

    Args:
        metrics: by name.
        evaluation: the model and its examples.

    Returns:
        Seconds, without those of distances between sets, which no model slows down.
    """
    rehearsal = Rehearsal(evaluation)
    for metric in metrics.values():
        if any(hasattr(metric, name) for name in GROWS):
            try:
                metric(rehearsal)
            except Unavailable:
                continue
    return rehearsal.seconds
