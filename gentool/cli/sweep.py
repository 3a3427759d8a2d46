"""Sweeps (`-m`): names for their folders, and a check of every job before the first one starts."""

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentool.cli.arguments import Arguments, key_of, quoted
from gentool.cli.compose import Compose, composer, keywords, plain
from gentool.errors import UsageError
from gentool.schema import check

if TYPE_CHECKING:
    from omegaconf import DictConfig

SWEEPS = Path("outputs/multirun")

LONGEST = 150
"""Bytes of a folder's name; file systems end at 255, and temporary files add to it."""


def prepare(verb: str, arguments: Arguments) -> list[str]:
    """Compose and check every job of a sweep, and return what Hydra must be told beside what was typed.

    Args:
        verb: the command.
        arguments: what was typed after it.

    Returns:
        Overrides of Hydra's own keys: the sweep's folder, and the keys that do not name a job.

    Raises:
        UsageError: if a job could not start. Nothing has been written then.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    typed = arguments.overrides
    if any(key_of(word) == "resume" for word in typed):
        raise UsageError("resume= goes on with one run; a sweep (-m) typed again goes on by itself")
    with composer(verb, arguments.folders) as compose:
        from hydra.core.global_hydra import GlobalHydra

        parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(typed)
        fixed = [override for override in parsed if not override.is_sweep_override()]
        swept = [override for override in parsed if override.is_sweep_override()]
        name = _check_jobs(verb, compose, [str(override.input_line) for override in fixed], swept)
    out = next((word.partition("=")[2] for word in typed if key_of(word) == "out"), None)
    folder = out or quoted(str(SWEEPS / (_clean(name) if name else _fingerprint(verb, typed))))
    keys = ",".join(quoted(override.key_or_group) for override in fixed if not override.is_hydra_override())
    return [f"hydra.sweep.dir={folder}", f"hydra.job.config.override_dirname.exclude_keys=[{keys}]"]


def job_folder(hydra: "DictConfig") -> Path:
    """Return the folder of the job that runs now: what was swept, below the sweep's folder.

    Args:
        hydra: the job's `hydra` node.

    Returns:
        The path; nothing is made.
    """
    fixed = set(hydra.job.config.override_dirname.exclude_keys)
    task = [str(word) for word in hydra.overrides.task]
    swept = [word for word in task if key_of(word) not in fixed] or task
    return Path(hydra.sweep.dir) / job_name(swept)


def job_name(overrides: Iterable[str]) -> str:
    """Return a folder's name for some overrides: never an `=`, whatever order they were typed in.

    >>> job_name(["seed=1", "model.latent_dim=2"])
    'model.latent_dim-2,seed-1'
    """
    words = sorted(word.lstrip("+~") for word in overrides)
    name = ",".join(_clean(word.replace("=", "-", 1)) for word in words) or "job"
    exact = all(_clean(word.replace("=", "-", 1)) == word.replace("=", "-", 1) for word in words)
    if exact and len(name.encode()) <= LONGEST:
        return name
    return f"{name.encode()[:LONGEST].decode(errors='ignore')}-{_hash(words)}"


def _check_jobs(verb: str, compose: Compose, fixed: Sequence[str], swept: Sequence[Any]) -> str | None:
    """Check each job's config; return the sweep's name."""
    name = None
    for values in itertools.product(*(list(_values(override)) for override in swept)):
        composed = compose([*fixed, *values])
        config = plain(composed, verb)
        check(keywords(config, verb))
        name = (config.get("sweep") or {}).get("name")
    return name


def _values(override: Any) -> Iterator[str]:
    """Yield the values of a swept key as overrides; the ends of an interval, which only some sweepers can draw from."""
    key = override.get_key_element()
    if override.is_discrete_sweep():
        yield from (f"{key}={value}" for value in override.sweep_string_iterator())
    else:
        interval = override.value()
        yield from (f"{key}={end}" for end in (interval.start, interval.end))


def _fingerprint(verb: str, typed: Iterable[str]) -> str:
    return _hash([verb, *sorted(word for word in typed if not key_of(word).startswith("hydra"))])


def _hash(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:10]


def _clean(text: str) -> str:
    """Replace what does not belong into a name of a file."""
    return re.sub(r"[^\w.,+-]+", "-", text.replace("=", "-")).strip("-") or "job"
