"""The program itself, run as a user would run it: what fails in it fails alone."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType


def gentool(words: Sequence[str], log: Path | None = None) -> tuple[int, str]:
    """Run `gentool` in a process of its own, with this process's own folder and environment.

    A signal to stop is the child's too, and it saves itself: its exit code says so.

    Args:
        words: what is typed after `gentool`.
        log: where its output is kept; None: it is shown.

    Returns:
        Its exit code, and the last line it wrote, which says what went wrong.
    """
    command = [sys.executable, "-m", "gentool", *words]
    with ExitStack() as stack:
        file = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(log.open("w", encoding="utf-8"))
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT if file else None)

        def stop(number: int, frame: FrameType | None) -> None:
            child.terminate()

        before = signal.signal(signal.SIGTERM, stop)
        stack.callback(signal.signal, signal.SIGTERM, before)
        code = _wait(child)
    lines = [] if log is None else log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.strip()]
    return code, said[-1].removeprefix("gentool: ") if said else ""


def _wait(child: "subprocess.Popen[bytes]") -> int:
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # Ctrl-C reaches the child as well
            continue
