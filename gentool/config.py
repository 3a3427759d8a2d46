"""The configuration of the command that runs now, as plain types, and where the packaged configurations lie."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_current: ContextVar[dict[str, Any]] = ContextVar("config")


def config_dir() -> Path:
    """Return the absolute folder of the packaged configs: inside the package in a wheel, beside it in a clone."""
    package = Path(__file__).resolve().parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def current() -> dict[str, Any]:
    """Return the whole resolved configuration of the running command, in plain types.

    Its `choices` name the file that each config group took. On `resume=` it is the run's own, with the allowed changes.

    Returns:
        The config itself, no copy.

    Raises:
        LookupError: outside a command.
    """
    return _current.get()


@contextmanager
def use(config: dict[str, Any]) -> Iterator[None]:
    """Make `config` what `current()` returns inside the body."""
    token = _current.set(config)
    try:
        yield
    finally:
        _current.reset(token)
