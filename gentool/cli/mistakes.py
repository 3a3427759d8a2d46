"""Turns what Hydra and OmegaConf say of a mistyped command line into one line: the value, and what was expected."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gentool.cli import catalogue
from gentool.cli.arguments import Arguments, key_of
from gentool.errors import GentoolError, UnknownKey, UsageError, nearest


@contextmanager
def explained(verb: str, arguments: Arguments) -> Iterator[None]:
    """Raise a UsageError for each error of Hydra or OmegaConf in the body; others pass, without Hydra's wrapping.

    Args:
        verb: the command.
        arguments: what was typed after it.
    """
    try:
        yield
    except UnknownKey as error:
        if not any(key_of(word) == error.key for word in arguments.overrides):
            raise
        raise UsageError(_unknown_key(error.key, verb, arguments)) from error
    except GentoolError:
        raise
    except Exception as error:
        root = unwrapped(error)
        if root is not error:
            raise root from root.__cause__
        message = _explain(error, verb, arguments)
        if message is None:
            raise
        raise UsageError(message) from error


def unwrapped(error: Exception) -> Exception:
    """Return what was raised inside something Hydra built, else the error itself."""
    while type(error).__name__ == "InstantiationException" and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _explain(error: Exception, verb: str, arguments: Arguments) -> str | None:
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    text = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, MissingConfigException):
        return _missing_choice(error, text)
    if not isinstance(error, HydraException | OmegaConfBaseException | ValueError | AssertionError):
        return None
    if (
        isinstance(error, ValueError | AssertionError)
        and not isinstance(error, OmegaConfBaseException)
        and not _is_hydras(error)
    ):
        return None
    if match := re.match(r"Ambiguous value for argument '(.*)' 1\. ", text):
        return f"{match[1]}: expected one value; add -m to run each of them, write [a,b] for a list, or quote a text"
    if match := re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^']+)'", text):
        return _unknown_key(match[1], verb, arguments)
    if match := re.search(r"Additional config directory '([^']+)' not found", text):
        return f"--config-dir={match[1]}: no such folder"
    if match := re.search(r"Environment variable '([^']+)' not found", text):
        return f"{match[1]}: the configuration needs this environment variable, which is not set"
    if "Config group override must be a string or a list" in text:
        return _not_a_name(verb, arguments) or _tidy(text, error)
    return _tidy(text, error)


def _is_hydras(error: Exception) -> bool:
    """Whether the innermost frame of an error is Hydra's or OmegaConf's: then it is about what was typed."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get("__name__", "") if frame is not None else ""
    return str(module).startswith(("hydra", "omegaconf"))


def _unreadable(override: str) -> str:
    key, _, value = override.partition("=")
    if not value and "=" not in override:
        return f"{override}: expected key=value"
    return f"{override}: Hydra cannot read this value; quote it for Hydra and for the shell: '{key}=\"{value}\"'"


def _missing_choice(error: Any, text: str) -> str:
    missing = str(error.missing_cfg_file or "")
    group, _, name = missing.removesuffix(".yaml").rpartition("/")
    if not group:
        return _tidy(text, error)
    options = list(error.options or []) or list(catalogue.choices(group))
    if not options:
        return f"{group}={name}: the group {group} has no choice yet"
    return f"{group}={name}: no such choice; {nearest(name, options)}"


def _not_a_name(verb: str, arguments: Arguments) -> str | None:
    """Say which group was given a value that is no name."""
    for word in arguments.overrides:
        key, _, value = word.partition("=")
        names = catalogue.choices(key, arguments.folders) if key in catalogue.groups(verb) else {value: None}
        if value not in names:
            return f"{word}: no such choice; {nearest(value, names)}"
    return None


def _unknown_key(key: str, verb: str, arguments: Arguments) -> str:
    key = key.lstrip("+~")
    typed = next((word for word in arguments.overrides if key_of(word).partition("@")[0] == key), key)
    typed = re.sub(r'^([\w.+~]+=)"(.*)"$', r"\1\2", typed)
    parent, words = key.rpartition(".")[0], key.split(".")
    if words[0] == "hydra":
        return f"{typed}: Hydra has no such key; see gentool {verb} --cfg hydra"
    groups, keys = set(catalogue.groups(verb)), set(_keys(verb, arguments))
    if parent in keys and not any(known.startswith(f"{parent}.") for known in keys):
        return f"{typed.lstrip('+~')}: no such key; {parent} has no keys as it is configured"
    if key in catalogue.groups("train") and key not in groups:
        return f"{typed}: {verb} has no group {key}; {_offer(key, sorted(groups | keys))}"
    group, _, name = key.partition(".")
    files = catalogue.choices(group, arguments.folders) if group in groups else {}
    others = [other for other, file in files.items() if any(option.key == name for option in catalogue.options(file))]
    if others:
        chosen = {**catalogue.groups(verb), **dict(word.partition("=")[::2] for word in arguments.overrides)}[group]
        return f"{typed.lstrip('+~')}: {group}={chosen} has no such key; {', '.join(others)} have"
    return f"{typed.lstrip('+~')}: no such key; {_offer(key, sorted(groups | keys))}"


def _offer(key: str, choices: list[str]) -> str:
    """Return the nearest key: one of the same name elsewhere, else a sibling, else any; without one, where to look."""
    parent, _, name = key.rpartition(".")
    same = [choice for choice in choices if choice.rpartition(".")[2] == name]
    siblings = {choice.rpartition(".")[2]: choice for choice in choices if choice.rpartition(".")[0] == parent}
    close = same or [siblings[n] for n in difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)]
    close = close or difflib.get_close_matches(key, choices, n=1, cutoff=0.5)
    if not close:
        leaves = {choice.rpartition(".")[2]: choice for choice in choices}
        close = [leaves[n] for n in difflib.get_close_matches(name, leaves, n=1, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(repr(choice) for choice in close[:3])}?"
    return f"there is {', '.join(siblings or {choice.partition('.')[0]: '' for choice in choices})}"


def _keys(verb: str, arguments: Arguments) -> Iterable[str]:
    """Return every key of the command's config under the groups that were typed, dotted."""
    from gentool.cli.compose import composer, plain

    groups = catalogue.groups(verb)
    chosen = [word for word in arguments.overrides if key_of(word) in groups and "," not in word]
    try:
        with composer(verb, arguments.folders) as compose:
            return list(_dotted(plain(compose(chosen), verb)))
    except Exception:  # a second mistake among the choices: the packaged defaults still give a hint
        return [option.key for option in catalogue.options(catalogue.verb_file(verb))]


def _dotted(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, inner in node.items():
        if key.startswith("_") or (not prefix and key == "choices"):
            continue
        yield f"{prefix}{key}"
        if isinstance(inner, Mapping):
            yield from _dotted(inner, f"{prefix}{key}.")


def _tidy(text: str, error: BaseException) -> str:
    """Return what Hydra said as one line, without its hints for developers."""
    cause = error.__cause__
    if cause is not None and str(cause) and " ".join(str(cause).split()) not in text:
        text = f"{text}: {' '.join(str(cause).split())}"
    match = re.search(r"full_key: (\S+)", text)
    text = re.sub(r"\s*(full_key: \S+|object_type=\S+|reference_type=\S+)", "", text)
    return f"{match[1]}: {text}" if match and match[1] not in text else text
