"""What `configs/` says in its comments: commands, choices of a group, options. Text only, so help costs nothing."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gentool import signatures
from gentool.config import config_dir
from gentool.options import TAGS
from gentool.signatures import REQUIRED, signature

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
    """Return the options of a YAML file, those that only its targets' signatures name included.

    Args:
        path: the file.

    Returns:
        In the order of the signatures: the value of the YAML, else the default; the comment of the YAML, else the
        signature's description. Without Hydra's own and `_private_` keys.
    """
    written = {option.key: option for option in _inherited(path)}
    found = _completed("", written, {}) if "_target_" in written else []
    names = {option.key for option in found}
    rest = [option for key, option in written.items() if key not in names and not _is_part_of(key, found)]
    return [option for option in [*found, *_nested(rest, written)] if _is_typed(option.key)]


def raw_options(path: Path) -> list[Option]:
    """Return the values of a YAML file as they are written, `_target_` included."""
    return _options(_text(path).splitlines())


def target_of(path: Path) -> list[str]:
    """Return the `_target_` of a YAML file, or of the file of its group that it begins with; none where it has none."""
    return [option.value for option in _inherited(path) if option.key == "_target_"]


def _inherited(path: Path) -> list[Option]:
    """Return the values of a file, then those of the file beside it that its `defaults` begin with."""
    bases = [re.match(r"\s*-\s+([\w.-]+)\s*(?:#.*)?$", line) for line in _block(path, "defaults")]
    found: dict[str, Option] = {}
    for match in bases:
        if match and match[1] != "_self_":
            found |= {option.key: option for option in _inherited(path.with_name(f"{match[1]}.yaml"))}
    own = {option.key: option for option in raw_options(path)}
    for key, option in own.items():
        kept = found.get(key)
        own[key] = option if option.comment or kept is None else option._replace(comment=kept.comment)
    return [*own.values(), *(option for key, option in found.items() if key not in own)]


def _nested(rest: Sequence[Option], written: Mapping[str, Option]) -> list[Option]:
    """Return options outside a target, completing the mappings among them that have one."""
    roots = [option.key for option in rest if f"{option.key}._target_" in written]
    found: list[Option] = []
    for option in rest:
        root = next((name for name in roots if option.key == name or option.key.startswith(f"{name}.")), None)
        if root is None:
            found.append(option)
        elif option.key == root:
            found += [option, *_completed(root, written, {})]
    return found


def _completed(path: str, written: Mapping[str, Option], presets: Mapping[str, Any]) -> list[Option]:
    """Return the options of the target at a key."""
    prefix = f"{path}." if path else ""
    target = written.get(f"{prefix}_target_")
    known = signature(target.value if target else str(presets.get("_target_", "")))
    found: list[Option] = []
    for name, option in known.options.items() if known is not None else ():
        key, default = f"{prefix}{name}", presets.get(name, option.default)
        stated = written.get(key)
        named = next((written[f"{key}.{tag}"].value for tag in TAGS if f"{key}.{tag}" in written), "")
        part = {"_target_": option.variants[named]} if named in option.variants else default
        if f"{key}._target_" in written or (isinstance(part, Mapping) and "_target_" in part):
            chosen = part if isinstance(part, Mapping) and f"{key}._target_" not in written else {}
            names = {dotted: name for name, dotted in option.variants.items()}
            if chosen and option.variants:
                found.append(Option(key, names.get(str(chosen["_target_"]), ""), _about(stated, option)))
            found += _completed(key, written, chosen)
            found += _of_others(key, option, {option.key for option in found})
        elif stated is not None and stated.value:
            found.append(stated._replace(comment=_about(stated, option)))
        elif isinstance(default, Mapping):
            found += [
                written.get(f"{key}.{inner}", Option(f"{key}.{inner}", _yaml(value), ""))
                for inner, value in default.items()
            ]
        elif default is not REQUIRED:
            found.append(Option(key, _yaml(default), _about(stated, option)))
            found += _of_others(key, option, set())
        elif path:
            found.append(Option(key, "???", _about(stated, option)))
    return found


def _of_others(key: str, option: signatures.Option, known: set[str]) -> list[Option]:
    """Return the options that only other choices of a part have, each with the names of those that have it."""
    found: dict[str, tuple[signatures.Option, list[str]]] = {}
    for name in [*option.variants, *(choices(option.group) if option.group else ())]:
        target = option.variants.get(name) or next(iter(target_of(choices(str(option.group))[name])), "")
        part = signature(target)
        for inner, described in part.options.items() if part is not None else ():
            if f"{key}.{inner}" not in known:
                found.setdefault(inner, (described, []))[1].append(name)
    return [
        Option(f"{key}.{inner}", _yaml(described.default), f"{', '.join(names)}: {_worded(described.about)}")
        for inner, (described, names) in found.items()
    ]


def _worded(text: str) -> str:
    """Return a description as one types its values."""
    return re.sub(r"\bNone\b", "null", text).rstrip(".")


def _about(stated: Option | None, option: signatures.Option) -> str:
    """Return the comment of the YAML, else the description of the signature, with the names that may be chosen."""
    text = stated.comment if stated is not None and stated.comment else _worded(option.about)
    names = [*option.variants, *(choices(option.group) if option.group else ())]
    return f"{text}; one of {', '.join(names)}" if names else text


def _is_part_of(key: str, found: Sequence[Option]) -> bool:
    return any(key.startswith(f"{option.key}.") or option.key.startswith(f"{key}.") for option in found)


def _yaml(value: Any) -> str:
    """Return a plain value as one types it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value)


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
