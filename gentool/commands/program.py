"""The program itself, run as a user would run it: what fails in it fails alone."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def gentool(words: Sequence[str], log: Path | None = None) -> tuple[int, str]:
    """Run `gentool` in a process of its own, with this process's own folder and environment.

    Args:
        words: what is typed after `gentool`.
        log: where its output is kept; None: it is shown.

    Returns:
        Its exit code, and the last line it wrote, which says what went wrong.
    """
    command = [sys.executable, "-m", "gentool", *words]
    if log is None:
        return subprocess.run(command, check=False).returncode, ""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(command, check=False, stdout=file, stderr=subprocess.STDOUT).returncode
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return code, lines[-1].removeprefix("gentool: ") if lines else ""
