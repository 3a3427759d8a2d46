"""Completion by TAB: the command's own word here, all else by Hydra, which knows no commands."""

import contextlib
import io
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from gentool.cli import catalogue

Hydra = Callable[[str, Sequence[str], Callable[..., Any]], None]

WORDS = ("models", "datasets", "experiments", "metrics", "commands", "model=", "dataset=", "experiment=")
"""What `gentool list` takes."""


def run(words: Sequence[str], hydra: Hydra) -> None:
    """Answer a shell that asks for completion, or give it the script that asks.

    Args:
        words: `install=bash`, `uninstall=bash` or `query=bash` (zsh, fish likewise).
        hydra: runs Hydra on a command with a command line and a task.
    """
    if words and words[0].startswith("query="):
        line = os.environ.get("COMP_LINE", "")
        print(query(line[: _point(line)], words[0], hydra))
    else:
        hydra("train", ["-sc", *words], _nothing)


def query(line: str, shell: str, hydra: Hydra) -> str:
    """Return the words that may follow a line, separated by spaces.

    Args:
        line: what was typed up to the cursor, `gentool` included.
        shell: `query=<shell>`.
        hydra: as `run` takes it.

    Returns:
        The words in one line; none where nothing fits.
    """
    match = re.match(r"\s*\S+\s+(\S+)(\s.*)$", line, re.DOTALL)
    if match is None:  # still in the command's own word
        word = line.split()[1] if len(line.split()) > 1 else ""
        return " ".join(name for name in catalogue.commands() if name.startswith(word))
    verb, rest = match[1], match[2]
    if verb not in catalogue.commands():
        return ""
    if verb == "list":
        return " ".join(word for word in _list_words() if word.startswith(rest.split(" ")[-1]))
    asked = [word for word in _asked(verb, f"gentool{rest}", shell, hydra) if _belongs(word, verb)]
    return " ".join(dict.fromkeys([*asked, *_options(verb, rest.split())]))


def _list_words() -> list[str]:
    named = [f"{group}={name}" for group in ("model", "dataset", "experiment") for name in catalogue.choices(group)]
    return [*(word for word in WORDS if not word.endswith("=")), *named]


def _options(verb: str, words: Sequence[str]) -> list[str]:
    """Return the options that the last word begins, those that only signatures name included."""
    word = words[-1] if words else ""
    if "." not in word or "=" in word:
        return []
    typed = dict(other.partition("=")[::2] for other in words)
    keys = [option.key for option in catalogue.options(catalogue.verb_file(verb))]
    for group, choice in catalogue.groups(verb).items():
        file = catalogue.choices(group).get(typed.get(group, choice))
        keys += [f"{group}.{option.key}" for option in catalogue.options(file)] if file else []
    return [f"{key}=" for key in keys if key.startswith(word)]


def _asked(verb: str, line: str, shell: str, hydra: Hydra) -> list[str]:
    before, printed = os.environ.get("COMP_LINE"), io.StringIO()
    os.environ["COMP_LINE"] = line
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(Exception):
            hydra(verb, ["-sc", shell], _nothing)
    finally:
        os.environ["COMP_LINE"] = before or ""
    return printed.getvalue().split()


def _belongs(word: str, verb: str) -> bool:
    """Whether a completion is the command's: Hydra offers every group of the folder, and its own keys."""
    key = re.split(r"[=./]", word)[0]
    if re.search(r"(^|\.)_\w+_=?$", word):  # Hydra's own, which nobody types
        return False
    keys = {option.key.split(".")[0] for option in catalogue.options(catalogue.verb_file(verb))}
    return key in keys | set(catalogue.groups(verb)) or word.startswith(("hydra.", "-"))


def _point(line: str) -> int:
    point = os.environ.get("COMP_POINT", "")
    return int(point) if point.isdigit() else len(line)


def _nothing(config: object) -> None:
    """Do nothing with a config."""
