"""What `configs/` says in its comments: commands, choices of a group, options. Text only, so help costs nothing."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gentool.config import config_dir

ORDER = ("train", "sample", "interpolate", "reconstruct", "latent", "plot", "score", "evaluate", "compare", "verify",
         "tour")  # fmt: skip
"""The order in which help shows commands; those not named here follow, by name."""

LINE = re.compile(r"^( *)([\w/@.-]+):(?: +(.*))?$")
VALUE = re.compile(
    r"""((?:"(?:[^"\\]|\\.)*"|'[^']*'|(?<!\s)\#|[^"'\#])*?)\s*(?:(?:^|(?<=\s))\#\s*(.*))?$""", re.VERBOSE
)


class Option(NamedTuple):
    """One value of a YAML file.

    Attributes:
        key: dotted, as one types it.
        value: as it is written; empty for a mapping.
        comment: its unit, range or reason.
    """

    key: str
    value: str
    comment: str


def verb_file(verb: str) -> Path:
    """Return the YAML file of a command."""
    return config_dir() / f"{verb}.yaml"


def commands() -> dict[str, str]:
    """Return the name and summary of each command: the files `configs/<verb>.yaml` that call a command."""
    verbs = [path for path in config_dir().glob("*.yaml") if f"_target_: gentool.commands.{path.stem}." in _text(path)]
    verbs.sort(key=lambda path: (ORDER.index(path.stem) if path.stem in ORDER else len(ORDER), path.stem))
    return {path.stem: summary(path) for path in verbs}


def header(path: Path) -> list[str]:
    """Return the comment lines a YAML file begins with, without its `# @package` directive."""
    lines = []
    for line in _text(path).splitlines():
        if line.startswith("#"):
            lines.append(line.lstrip("#").strip())
        elif line.strip():
            break
    return [line for line in lines if line and not line.startswith("@package")]


def summary(path: Path) -> str:
    """Return the first comment line of a YAML file."""
    return next(iter(header(path)), "")


def examples(path: Path) -> list[str]:
    """Return the command lines that a YAML file's header gives as `# $ gentool …`."""
    return [line[1:].strip() for line in header(path) if line.startswith("$")]


def choices(group: str, folders: Sequence[Path] = ()) -> dict[str, Path]:
    """Return the names and files of a config group.

    Args:
        group: `model`, `dataset`, …
        folders: config folders of the user, beside the packaged one, which wins as it does in Hydra.

    Returns:
        Files by name, sorted by name.
    """
    found = {p.stem: p for folder in [*folders, config_dir()] for p in sorted((folder / group).glob("*.yaml"))}
    return dict(sorted(found.items()))


def groups(verb: str) -> dict[str, str]:
    """Return the config groups of a command and the choice each has by default (`null`: none)."""
    found = {}
    for line in _block(verb_file(verb), "defaults"):
        match = re.match(r"\s*-\s+(?:optional\s+)?([\w/]+)(?:@\S+)?:\s*(.*?)\s*(?:#.*)?$", line)
        if match and (config_dir() / match[1]).is_dir() and not match[2].startswith("$"):
            found[match[1]] = match[2]
    return found


def overridden(path: Path) -> dict[str, str]:
    """Return the groups whose choice a YAML file sets by `- override /group: choice`."""
    found = (re.match(r"\s*-\s+override\s+/([\w/]+)(?:@\S+)?:\s*([\w./-]+)", line) for line in _block(path, "defaults"))
    return {match[1]: match[2] for match in found if match}


def options(path: Path) -> list[Option]:
    """Return the values of a YAML file with their comments, in order; without Hydra's own and `_private_` keys.

    Those of `reader.yaml` come last where the file begins with it.
    """
    own = [option for option in _options(_text(path).splitlines()) if _is_typed(option.key)]
    is_reader = any(line.strip() == "- reader" for line in _block(path, "defaults"))
    return own + (options(path.with_name("reader.yaml")) if is_reader else [])


def _is_typed(key: str) -> bool:
    words = key.split(".")
    return words[0] not in ("defaults", "hydra") and not any(word.startswith("_") for word in words)


def _options(lines: Sequence[str]) -> list[Option]:
    """Read keys with the comment behind each, which may go on below it at its column, else the comment above it."""
    found: list[Option] = []
    parents: list[tuple[int, str]] = []
    above: list[str] = []
    column = -1
    for line in lines:
        if line.lstrip().startswith("#"):
            text = line.strip(" #")
            if line.index("#") == column:
                found[-1] = found[-1]._replace(comment=f"{found[-1].comment} {text}")
            else:
                above.append(text)
            continue
        match, lead, above = LINE.match(line), " ".join(above), []
        if match is None:
            column = -1
            continue
        value, comment = split_comment(match[3] or "")
        column = line.index("#", line.rindex(comment) - 2) if comment else -1
        parents = [parent for parent in parents if parent[0] < len(match[1])]
        found.append(Option(".".join([name for _, name in parents] + [match[2]]), value, comment or lead))
        if not value:
            parents.append((len(match[1]), match[2]))
    return found


def split_comment(text: str) -> tuple[str, str]:
    """Split what follows `key:` into the value and its comment.

    >>> split_comment('"#1"   # a name')
    ('"#1"', 'a name')
    >>> split_comment("null")
    ('null', '')
    """
    match = VALUE.match(text.strip())
    return (match[1].strip(), (match[2] or "").strip()) if match else (text.strip(), "")


def _block(path: Path, key: str) -> list[str]:
    """Return the lines of one top-level block of a YAML file."""
    inside, found = False, []
    for line in _text(path).splitlines():
        if not line.startswith((" ", "-", "#")) and line.strip():
            inside = line.startswith(f"{key}:")
        elif inside:
            found.append(line)
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
