"""The configuration of the command that runs now, as plain types, and where the packaged configurations lie."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_current: ContextVar[dict[str, Any]] = ContextVar("config")
_user_folders: ContextVar[tuple[Path, ...]] = ContextVar("folders", default=())


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


def folders() -> list[Path]:
    """Return where config groups are looked up: the user's own folders (`--config-dir`), then the packaged one."""
    return [*_user_folders.get(), config_dir()]


@contextmanager
def looking_into(user: Sequence[Path]) -> Iterator[None]:
    """Make `folders()` begin with the user's own config folders inside the body."""
    token = _user_folders.set(tuple(user))
    try:
        yield
    finally:
        _user_folders.reset(token)


def choices(group: str) -> dict[str, Path]:
    """Return the files of a config group by name, sorted; the packaged file wins over a user's of the same name."""
    found = {p.stem: p for folder in folders() for p in sorted((folder / group).glob("*.yaml"))}
    return dict(sorted(found.items()))


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file in plain types, without its `defaults`."""
    from omegaconf import OmegaConf

    loaded: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    return {key: value for key, value in loaded.items() if key != "defaults"}


@contextmanager
def use(config: dict[str, Any]) -> Iterator[None]:
    """Make `config` what `current()` returns inside the body."""
    token = _current.set(config)
    try:
        yield
    finally:
        _current.reset(token)
