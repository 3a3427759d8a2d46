"""Take turns: what the benchmarks share. Speeds are ratios of programs that ran A B A B …, never times on their own.

The real `gentool train` takes part in turns by its own stream of batches: `Turns` stands between the data and the loop,
and hands over whenever so many batches have been drawn. So everything the command does is inside the measured time.
Nothing here imports gentool or torch at the top: the peers' environment has no gentool.
"""

import contextlib
import io
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np


class Stop(BaseException):
    """Ends a training run from within its stream of batches; no `except Exception` on the way may catch it."""


class Turns:
    """A stream of batches that hands over after every `length` of them.

    Args:
        batches: the stream, with `.position`.
        length: batches a turn.
        handed_over: called with the seconds of the turn that ends; the first call, before any turn, gets None.
        clock: seconds so far, without those of what is timed apart.
    """

    def __init__(
        self, batches: Any, length: int, handed_over: Callable[[float | None], None], clock: Callable[[], float]
    ) -> None:
        self.batches, self.length, self.handed_over, self.clock = batches, length, handed_over, clock
        self.drawn = 0
        self.started: float | None = None

    @property
    def position(self) -> int:
        """Batches drawn, as the loop's checkpoints keep it."""
        return self.batches.position

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.drawn % self.length == 0:
            now = self.clock()
            self.handed_over(None if self.started is None else now - self.started)
            self.started = self.clock()
        self.drawn += 1
        return next(self.batches)


class Apart:
    """A clock for validation, pictures and checkpoints, which are timed apart from the steps.

    Args:
        clock: seconds: by the wall, or of the processor.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: dict[str, list[float]] = {}
        self.total = 0.0
        self.depth = 0

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Time every call of `owner.method` as `name`; a call inside another one counts as the outer one's."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.depth += 1
            started = self.clock()
            try:
                return original(*args, **kwargs)
            finally:
                self.depth -= 1
                if self.depth == 0:
                    took = self.clock() - started
                    self.seconds.setdefault(name, []).append(took)
                    self.total += took

        setattr(owner, method, timed)


def train_in_turns(
    overrides: Sequence[str],
    length: int,
    handed_over: Callable[..., None],
    clock: Callable[[], float] = time.perf_counter,
) -> Apart:
    """Run `gentool train` in this process, handing over after every `length` batches, until `Stop` is raised.

    Args:
        overrides: what would be typed.
        length: batches a turn.
        handed_over: called as `handed_over(seconds or None, source)`, source being the training split.
        clock: what the seconds are of; `time.process_time` where other programs share the machine.

    Returns:
        What was timed apart.
    """
    from gentool import cli
    from gentool.commands import train
    from gentool.training.loop import Loop

    apart = Apart(clock)
    for method, name in (("save", "checkpoint"), ("_validate", "validation"), ("_draw", "pictures")):
        apart.watch(Loop, method, name)
    make = train.Batches
    train.Batches = lambda source, *rest: Turns(
        make(source, *rest), length, lambda seconds: handed_over(seconds, source), lambda: clock() - apart.total
    )
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(io.StringIO()) as said,
            contextlib.suppress(Stop),
        ):
            code = cli.main(["train", *overrides, f"out={folder}/run"])
            sys.exit(f"gentool train ended by itself ({code}):\n{said.getvalue()}")
    finally:
        train.Batches = make
    return apart


class Contender:
    """A program that trains for one turn when it is told to: `serve` is its other end.

    Args:
        name: in the table.
        command: what starts it.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115, it lives as long as the process
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.said, text=True)

    def turn(self) -> float:
        """Let it train for a turn and return its examples a second."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            print("go", file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.said.seek(0)
            raise SystemExit(f"{self.name} ended before its turn:\n{self.said.read()[-4000:]}")
        return float(answer)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


class Serve:
    """The contender's end: answers go to the real stdout, whatever else is printed goes to stderr."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def asked(self) -> bool:
        """Wait for the next turn; False when there is none."""
        return sys.stdin.readline().strip() == "go"

    def answer(self, rate: float) -> None:
        """Tell how many examples a second the turn had."""
        print(rate, file=self.answers, flush=True)


def images(examples: int) -> np.ndarray:
    """Return (examples, 28, 28) uint8, all 0 or 255: MNIST where GENTOOL_DATA has it, else digits enlarged."""
    raw = Path(os.environ.get("GENTOOL_DATA", "")) / "MNIST" / "raw" / "train-images-idx3-ubyte"
    if raw.is_file():
        grey = np.frombuffer(raw.read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    else:
        from sklearn.datasets import load_digits

        enlarged = load_digits().images.astype(np.uint8).repeat(3, 1).repeat(3, 2) * 15
        grey = np.pad(enlarged, ((0, 0), (2, 2), (2, 2)))
    rows = np.arange(examples) % len(grey)
    return np.where(grey[rows] > 127, 255, 0).astype(np.uint8)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return the median of the paired ratios, and their quartiles."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, _, high = quantiles(pairs, n=4) if len(pairs) > 1 else (pairs[0],) * 3
    return f"{median(pairs):.3f} ({low:.3f}–{high:.3f})"


def machine() -> str:
    """Say in one line what the numbers were measured on, and when."""
    import torch

    flags = ""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in flags.splitlines() if line.startswith("model name")), "")
    units = [name for name in ("avx512f", "avx512_bf16", "amx_bf16") if name in flags.split()]
    return (
        f"{date.today()}, {os.cpu_count()} cores, {model or platform.machine()}, {' '.join(units) or 'no AVX-512'}, "
        f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__.split('+')[0]}, Python {platform.python_version()}"
    )
