"""What was typed after `gentool <command>`, made ready for Hydra: flags apart, paths quoted, `--key=value` read."""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path

from gentool.cli import catalogue
from gentool.errors import UsageError, nearest
from gentool.options import is_part

TEXTS = ("ckpt", "resume", "out", "runs", "samples", "data", "prompt", "complete", "sweep.name")
"""Keys whose values are paths or free text, like every `*.path` and `*.root`: quoted, so Hydra reads them as is."""

VALUED = {"--cfg": "-c", "--package": "-p", "--config-path": "-cp", "--config-name": "-cn", "--config-dir": "-cd",
          "--experimental-rerun": "", "--info": "-i"}  # fmt: skip
SWITCHES = {"--help": "-h", "--hydra-help": "", "--version": "", "--resolve": "", "--run": "-r", "--multirun": "-m",
            "--shell-completion": "-sc"}  # fmt: skip
SHOWN = ("job", "hydra", "all")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


ANY = "any"
"""The target of a mapping that takes the options of whatever a checkpoint holds."""

OPEN = "open"
"""The target of a group of which nothing is chosen, but whose options may be given."""

NAME = re.compile(r"(?!null\b)[A-Za-z_]\w*(,[A-Za-z_]\w*)*")
"""The name of a part, or several of them in a sweep."""


@dataclass(frozen=True)
class Arguments:
    """What was typed, sorted.

    Attributes:
        flags: Hydra's own, by their long name; a switch has the value "".
        overrides: `key=value`, ready for Hydra.
    """

    flags: dict[str, str]
    overrides: list[str]

    @property
    def is_multirun(self) -> bool:
        """Whether this is a sweep."""
        return "--multirun" in self.flags

    @property
    def folders(self) -> list[Path]:
        """Config folders of the user."""
        return [Path(self.flags["--config-dir"]).absolute()] if "--config-dir" in self.flags else []

    def for_hydra(self) -> list[str]:
        """Return the command line Hydra reads."""
        flags = [word for name, value in self.flags.items() for word in ([name, value] if value else [name])]
        return [*flags, *self.overrides]


def read(verb: str, words: Sequence[str]) -> Arguments:
    """Sort and rewrite the words typed after `gentool <verb>`.

    Args:
        verb: the command.
        words: what was typed after it.

    Returns:
        Flags, overrides and config folders, the overrides as Hydra reads them.

    Raises:
        UsageError: if a word is neither a flag nor `key=value`, or its key is not the user's to set.
    """
    flags, rest = _flags(verb, list(words))
    for word in rest:
        if own := re.search(r"(^|\.)_\w*", key_of(word)):  # Hydra's: what is built, and how
            raise UsageError(f"{word}: {own[0].lstrip('.')} is not an option; see gentool {verb} --help")
    plain = [word if "=" in word[1:] or word.startswith("~") else _bare(verb, word) for word in rest]
    if verb == "list":
        plain = _list_words(plain)
    empty = [f"{group}=null" for group, choice in catalogue.groups(verb).items() if choice == "null"]
    plain = [word for word in plain if word not in empty]  # their default, which Hydra would not let one type
    nodes = _nodes(verb, plain, flags)
    return Arguments(flags, [_ready(word, nodes, "--multirun" in flags) for word in plain])


def key_of(override: str) -> str:
    """Return the key of `key=value`, without Hydra's `+`, `++` or `~`.

    >>> key_of("++sampler.steps=20")
    'sampler.steps'
    """
    return override.partition("=")[0].lstrip("+~")


def quoted(text: str) -> str:
    r"""Return a text in double quotes, as Hydra's grammar escapes it.

    >>> print(quoted('a"b=1'))
    "a\"b=1"
    """
    escaped = re.sub(r'(\\*)"', lambda match: match[1] * 2 + '\\"', text)
    backslashes = len(escaped) - len(escaped.rstrip("\\"))
    return f'"{escaped}{chr(92) * backslashes}"'


def _flags(verb: str, words: list[str]) -> tuple[dict[str, str], list[str]]:
    short = {value: name for name, value in (VALUED | SWITCHES).items() if value}
    flags: dict[str, str] = {}
    rest: list[str] = []
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        name = short.get(name, name)
        if name == "--info":
            flags[name] = value or (words.pop(0) if words and words[0] in INFO else "")
        elif name in VALUED:
            if not equals and not words:
                raise UsageError(f"{word}: expected a value after it")
            flags[name] = value if equals else words.pop(0)
            if name == "--cfg" and flags[name] not in SHOWN:
                raise UsageError(f"--cfg {flags[name]}: {nearest(flags[name], SHOWN)}")
        elif name in SWITCHES and not equals:
            flags[name] = ""
        elif word.startswith("-") and not re.match(r"--[\w.]+=", word):
            raise UsageError(f"{word}: no such flag; {_flag_hint(verb, word, words)}")
        else:
            rest.append(word.removeprefix("--"))
    return flags, rest


def _flag_hint(verb: str, word: str, following: Sequence[str]) -> str:
    keys = [option.key for option in catalogue.options(catalogue.verb_file(verb))] + list(catalogue.groups(verb))
    name = word.lstrip("-").replace("-", "_")
    if name in keys:
        value = following[0] if following and "=" not in following[0] else "…"
        return f"did you mean {name}={value}?"
    hint = nearest(word, [*VALUED, *SWITCHES])
    return hint if hint.startswith("did") else f"values are typed as key=value; see gentool {verb} --help"


def _bare(verb: str, word: str) -> str:
    """Return a bare word where the command takes one, else explain what to type."""
    keys = {option.key for option in catalogue.options(catalogue.verb_file(verb))}
    if verb == "list":
        return word
    groups = [group for group in catalogue.groups(verb) if word in catalogue.choices(group)]
    if groups:
        raise UsageError(f"{word}: expected key=value; did you mean {groups[0]}={word}?")
    path = next((key for key in ("ckpt", "resume", "runs") if key in keys), None)
    if path and (word.endswith(".pt") or "/" in word or Path(word).exists()):
        raise UsageError(f"{word}: expected key=value; did you mean {path}={word}?")
    names = sorted(keys | set(catalogue.groups(verb)))
    hint = nearest(word, names)
    if hint.startswith("did"):
        raise UsageError(f"{word}: expected key=value; did you mean {hint.split(chr(39))[1]}=…?")
    raise UsageError(f"{word}: expected key=value; see gentool {verb} --help")


def _list_words(words: Sequence[str]) -> list[str]:
    """Turn `models` and `model=vae` into the one key of `list`; `hydra.…` and `what=` stay."""
    asked = [word for word in words if not word.startswith("hydra")]
    if len(asked) > 1:
        raise UsageError(f"{' '.join(asked)}: expected one thing to list; the first would be gentool list {asked[0]}")
    return [word if word.startswith(("hydra", "what=")) else f"what={quoted(word)}" for word in words]


def _nodes(verb: str, words: Sequence[str], flags: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the keys below which options are not listed in YAML, with the targets whose options they are.

    There are none where a group's choice builds nothing, or does not exist; `sampler` of readers is any model's.
    """
    folders = [Path(flags["--config-dir"])] if "--config-dir" in flags else []
    typed = dict(word.partition("=")[::2] for word in words)
    nodes: dict[str, list[str]] = {}
    for group, choice in catalogue.groups(verb).items():
        files = catalogue.choices(group, folders)
        names = typed.get(group, choice).split(",")
        nodes[group] = [target for name in names if name in files for target in catalogue.target_of(files[name])]
    for option in catalogue.raw_options(catalogue.verb_file(verb)):
        if option.key.endswith("._target_"):
            nodes[option.key.removesuffix("._target_")] = [option.value]
        elif option.value == "{}":
            nodes[option.key] = nodes.get(option.key) or [OPEN if option.key in nodes else ANY]
    return nodes


def _ready(override: str, nodes: Mapping[str, Sequence[str]], is_multirun: bool) -> str:
    left, equals, value = override.partition("=")
    key = left.lstrip("+~")
    if equals and (key in TEXTS or key.endswith((".path", ".root"))):
        if not value and key != "prompt":
            raise UsageError(f"{override}: expected a value after the =; {key}=null is as if it were not typed")
        value = _quoted_value(key, value, is_multirun)
    node = next((name for name in nodes if f"{key}.".startswith(f"{name}.")), None)
    if node is None or not nodes[node] or not equals or left.startswith("~"):
        return f"{left}{equals}{value}"
    words = key.split(".")[len(node.split(".")) :]
    is_named = NAME.fullmatch(value) is not None
    if not words and not (nodes[node] == [ANY] and (is_named or value.startswith(("{", "choice({")))):
        return f"{left}{equals}{value}"
    if is_named and (not words or any(is_part(target, words) for target in nodes[node])):
        key = f"{key}.kind"  # the name of a part; its options stand beside it
    return f"++{key}={value}"


def _quoted_value(key: str, value: str, is_multirun: bool) -> str:
    if (
        value in ("", "null")
        or _is_quoted(value)
        or (is_multirun and re.fullmatch(r"(choice|glob|sort|shuffle)\(.*\)", value))
    ):
        return value
    if key == "runs":
        inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        return f"[{','.join(map(_quoted_item, _folders(inner)))}]"
    if is_multirun:
        return ",".join(map(_quoted_item, _items(value)))
    return _quoted_item(value)


def _quoted_item(text: str) -> str:
    text = text.strip()
    return text if _is_quoted(text) else quoted(expanduser(text))


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "'\""


def _items(text: str) -> Iterator[str]:
    """Split at the commas that stand outside quotes."""
    yield from (item for item in re.findall(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^,])+""", text) if item.strip())


def _folders(text: str) -> Iterator[str]:
    """Split at the commas that are not part of a folder's name, such as a sweep's `model-vae,seed-0`."""
    parts = list(_items(text))
    while parts:
        joined = (",".join(parts[:n]) for n in range(len(parts), 1, -1))
        found = next((path for path in joined if Path(path).exists() or glob.glob(path)), parts[0])
        yield found
        parts = parts[found.count(",") + 1 :] if found != parts[0] else parts[1:]
