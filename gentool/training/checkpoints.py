"""Checkpoints: one file of plain types, written whole or not at all, read without running any code of it."""

import hashlib
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gentool.errors import RunError, UsageError

FORMAT = 2
"""Version of the checkpoint's layout and of what its config calls things; readers refuse newer ones.

2: noise schedules and networks are chosen by their own `_target_`; see `training.upgrades`."""


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one whole.

    Args:
        path: the file.
        write: writes the contents to an open binary file.

    Raises:
        RunError: if the disk refuses; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
        temporary.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the disk is full, or fails"
        raise RunError(f"cannot write {path}: {reason}; what was there before is safe") from error


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    stamped = {"format": FORMAT, "versions": versions(), **state}
    atomic_write(path, lambda file: torch.save(stamped, file))


def identity(path: Path) -> dict[str, str]:
    """Return where a checkpoint lies and the hash of its bytes, by which it is known again wherever it lies."""
    with path.open("rb") as file:
        return {"checkpoint": str(path.resolve()), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def versions() -> dict[str, str]:
    """Versions of what a run stood on."""
    return {name: version(name) for name in ("gentool", "torch", "numpy", "hydra-core")}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU without running any code of it.

    Args:
        path: of the file.

    Returns:
        The state that `save_checkpoint` was given.

    Raises:
        UsageError: if the file is missing, is no checkpoint, is cut short, or is of a newer format.
    """
    if not path.is_file():
        raise UsageError(f"no checkpoint at {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # whatever an unpickler trips over in a file of another kind
        raise UsageError(f"{path} is not a checkpoint of gentool, or is damaged") from error
    if not isinstance(state, dict) or not {"format", "model", "config", "space", "step"} <= state.keys():
        raise UsageError(f"{path} is not a checkpoint of gentool")
    if state["format"] > FORMAT:
        raise UsageError(f"{path} has format {state['format']}; this gentool reads up to {FORMAT}: upgrade it")
    return state
