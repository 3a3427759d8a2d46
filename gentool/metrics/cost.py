"""What a model costs: time and network evaluations of its samples, parameters, bytes, seconds of training."""

import time
from statistics import median

import torch
from pydantic import PositiveInt

from gentool.errors import Unavailable
from gentool.metrics.evaluation import Evaluation, Result
from gentool.nn.network import Network
from gentool.training.checkpoints import read_checkpoint
from gentool.training.rng import fork

RUNS = 3
"""Timed drawings, after one that warms up."""


class SamplesPerSecond:
    """Samples drawn in a second, in batches: the median of three drawings; it depends on the machine and its load.

    Args:
        batch: samples drawn at once.
    """

    def __init__(self, *, batch: PositiveInt) -> None:
        self.batch = batch

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        model, seconds = evaluation.model, []
        device = evaluation.space.loc.device
        for run in range(RUNS + 1):
            with fork(evaluation.seed, 8, run), torch.no_grad():
                start = time.perf_counter()
                model.sample(self.batch).cpu()  # reading the values waits for the device
                seconds.append(time.perf_counter() - start)
        protocol = {"batch": self.batch, "device": device.type, "threads": torch.get_num_threads()}
        return Result(self.batch / median(seconds[1:]), None, protocol)


class NetworkEvaluations:
    """Forward passes of networks that each sample takes: as the model says itself, else counted over one batch.

    Args:
        batch: samples drawn at once.
    """

    def __init__(self, *, batch: PositiveInt) -> None:
        self.batch = batch

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        model, count = evaluation.model, 0

        def counted(*_: object) -> None:
            nonlocal count
            count += 1

        hooks = [part.register_forward_hook(counted) for part in model.modules() if isinstance(part, Network)]
        try:
            with fork(evaluation.seed, 8), torch.no_grad():
                model.sample(self.batch)
        finally:
            for hook in hooks:
                hook.remove()
        evaluations = model.remarks().get("network evaluations", count)
        if not evaluations:
            raise Unavailable("drawing runs no network whole: there is none, or a cache cuts its passes into steps")
        return Result(float(evaluations), None, {"batch": self.batch})


class Parameters:
    """Trainable numbers of the model."""

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        return Result(float(sum(p.numel() for p in evaluation.model.parameters())), None, {})


class CheckpointBytes:
    """Bytes of the checkpoint, optimiser and averages included."""

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        if evaluation.checkpoint is None:
            raise Unavailable("there is no checkpoint")
        return Result(float(evaluation.checkpoint.stat().st_size), None, {})


class TrainingSeconds:
    """Seconds the training had taken when the checkpoint was written, over every start of the run."""

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        if evaluation.checkpoint is None:
            raise Unavailable("there is no checkpoint")
        return Result(float(read_checkpoint(evaluation.checkpoint)["data"]["seconds"]), None, {})
