"""Commands in processes forked from one that has imported everything: each starts at once, and fails alone."""

import multiprocessing
import os
import runpy
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import NamedTuple

from gentool.errors import Interrupted
from gentool.training.interrupts import Interrupts

PRELOAD = (
    "gentool.cli.job",
    "gentool.commands.train",
    "gentool.commands.evaluate",
    "gentool.training.report",
    "hydra.main",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "PIL.Image",
    "sklearn.datasets",
    "tensorboard.compat.proto.event_pb2",
    "torch._dynamo",
)
"""Modules that the parent of all workers imports, once; importing them starts no thread, so it may be forked."""

GRACE = 5.0
"""Seconds that a worker has to save itself once it is told to stop."""


class Job(NamedTuple):
    """Commands that run one after the other in one process, until one fails.

    Attributes:
        name: what it is called.
        commands: the words after `gentool` of each.
        log: the file that keeps their output.
    """

    name: str
    commands: Sequence[Sequence[str]]
    log: Path


class Outcome(NamedTuple):
    """How a job ended.

    Attributes:
        job: the job.
        code: its exit code, 128 and the number of the signal where one ended it.
        said: the last line it wrote: where it failed, the reason.
        is_late: whether it was stopped because the time was up.
    """

    job: Job
    code: int
    said: str
    is_late: bool


def warm_up() -> None:
    """Begin to import what the workers need, in the process that they will be forked from; does not wait for it."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(PRELOAD))
    forkserver.ensure_running()


def outcomes(jobs: Iterator[Job], *, count: int, threads: int, until: float) -> Iterator[Outcome]:
    """Run jobs, several at once; a signal to stop is handed to those that run, and no other is begun.

    Args:
        jobs: the next one is asked for when a worker is free.
        count: workers at once.
        threads: of each.
        until: when those that still run are stopped, in seconds of `time.monotonic`.

    Yields:
        How each ended, in the order in which they do.

    Raises:
        Interrupted: after a signal, once all have ended.
    """
    warm_up()
    context = multiprocessing.get_context("forkserver")
    running: dict[multiprocessing.process.BaseProcess, Job] = {}
    killed = float("inf")  # when whatever is left is killed
    with Interrupts() as interrupts:
        while True:
            is_over = interrupts.received is not None or time.monotonic() >= until
            while not is_over and len(running) < count and (job := next(jobs, None)) is not None:
                started = context.Process(target=_work, args=(job, threads), name=job.name)
                started.start()
                running[started] = job
            if not running and interrupts.received is not None:
                raise Interrupted("stopped", interrupts.received)
            if not running:
                return
            if is_over and killed == float("inf"):
                killed = time.monotonic() + GRACE
                _stop(running)
            if time.monotonic() >= killed:
                for worker in running:
                    worker.kill()
            connection.wait([worker.sentinel for worker in running], timeout=0.2)
            for worker in [worker for worker in running if worker.exitcode is not None]:
                code = worker.exitcode or 0
                is_late = is_over and interrupts.received is None
                yield _outcome(running.pop(worker), 128 - code if code < 0 else code, is_late)


def _stop(workers: dict[multiprocessing.process.BaseProcess, Job]) -> None:
    for worker in workers:
        worker.terminate()


def _outcome(job: Job, code: int, is_late: bool) -> Outcome:
    lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines() if job.log.is_file() else []
    said = [line for line in lines if line.strip()]
    return Outcome(job, code, said[-1].removeprefix("gentool: ") if said else "", is_late and code != 0)


def _work(job: Job, threads: int) -> None:
    """Be the worker: run the commands as if they were typed, their output in the log."""
    import torch

    os.setpgrp()  # Ctrl-C is for the parent, which stops its workers once each
    torch.set_num_threads(threads)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for words in job.commands:
        sys.argv = ["gentool", *words]
        try:
            runpy.run_module("gentool", run_name="__main__")
        except SystemExit as done:
            if done.code:
                raise
