"""Processes that train together: one place that knows torch.distributed."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gentool.errors import GentoolError, Interrupted

T = TypeVar("T")


def rank() -> int:
    """This process's number among those that train together; 0 where there is one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def count() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def launched() -> bool:
    """Whether a launcher (torchrun, or `device.processes`) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(kind: str) -> None:
    """Meet the other processes, where a launcher started several; nothing where there is one.

    Args:
        kind: of the device: NCCL between GPUs, Gloo elsewhere.
    """
    if launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")


def leave() -> None:
    """Part from the other processes."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def launch(work: Callable[[], float | None], number: int) -> float | None:
    """Start processes on this machine that each do `work`, and return what rank 0 returned.

    Args:
        work: importable (pickled to the processes).
        number: how many processes.

    Returns:
        Rank 0's result.

    Raises:
        GentoolError: what the first process that failed raised.
        Interrupted: on a signal, once the processes have ended.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        run_id="gentool",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    for name in ("agent.server.api", "multiprocessing.api"):  # we say ourselves what happened
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    results: dict[int, tuple[float | None, GentoolError | None]]
    try:
        results = elastic_launch(config, _guarded)(work)
    except SignalException as signalled:  # passed on to the processes, which have saved the run
        message = "stopped; a run that had begun is saved. Go on with: gentool train resume=RUN, its run folder"
        raise Interrupted(message, int(signalled.sigval)) from signalled
    for _, error in results.values():
        if error is not None:
            raise error
    return results[0][0]


def _guarded(work: Callable[[], float | None]) -> tuple[float | None, GentoolError | None]:
    """Return the error instead of raising it: the launcher would bury it in a report of its own."""
    try:
        return work(), None
    except Interrupted as error:  # the launcher waits for processes to end, and kills those that wait for it
        raise SystemExit(error.exit_code) from error
    except GentoolError as error:
        return None, error


def agree(claim: bool) -> bool:
    """Whether any process claims it; every process gets the same answer at the same step."""
    return claim if count() == 1 else bool(total(torch.tensor(int(claim))).item())


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their mean over the processes, in one all-reduce."""
    if count() == 1:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    flat /= count()
    for tensor, piece in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(piece.view_as(tensor))


def total(t: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes."""
    if count() == 1:
        return t
    summed = t.detach().clone()
    dist.all_reduce(summed)
    return summed


def broadcast(value: T) -> T:
    """Return rank 0's value in every process."""
    if count() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
