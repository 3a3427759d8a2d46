"""What `--help` shows, written for people, from the comments of the YAML files."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from gentool.cli import catalogue
from gentool.cli.arguments import key_of

WIDEST = 100

FLAGS = """\
  -m                 run each combination of comma lists: model.latent_dim=2,8 seed=0,1
  --cfg job          print the composed configuration, and stop
  --config-dir DIR   add your own models, datasets and experiments
  --info             show where the configuration comes from"""


def overview(commands: Mapping[str, str]) -> str:
    """Return the help of the whole program: each command with its summary.

    Args:
        commands: summaries by command.

    Returns:
        Lines, joined.
    """
    return "\n".join(
        [
            "gentool: deep generative models from one command line",
            "",
            "  gentool <command> [key=value …]",
            "",
            *row_lines(commands),
            "",
            "  gentool <command> --help   its keys, choices and examples",
            "  gentool list               models, datasets, experiments, metrics",
            '  eval "$(gentool -sc install=bash)"   completion by TAB',
        ]
    )


def page(verb: str, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """Return the help of a command.

    Args:
        verb: the command.
        overrides: what was typed; the options of the choices among it are shown too.
        folders: config folders of the user.

    Returns:
        Lines, joined: what it does, its keys, choices and examples.
    """
    file = catalogue.verb_file(verb)
    groups = catalogue.groups(verb)
    chosen = {key_of(word): word.partition("=")[2] for word in overrides if key_of(word) in groups}
    parts = [f"gentool {verb}: {catalogue.summary(file)}", "", f"  gentool {verb} [key=value …]"]
    if groups:
        parts += ["", "Groups", *_groups(groups, folders)]
    parts += ["", "Keys", *option_rows(catalogue.options(file))]
    for group, choice in chosen.items():
        found = catalogue.choices(group, folders).get(choice)
        if found is not None:
            options = [option._replace(key=f"{group}.{option.key}") for option in catalogue.options(found)]
            parts += ["", f"{group}={choice}", *option_rows(options)]
    parts += ["", "Examples", *(f"  {line}" for line in _examples(verb, file, groups)), "", "Flags", FLAGS]
    return "\n".join(parts)


def option_rows(options: Sequence[catalogue.Option]) -> list[str]:
    """Return lines that show options as one types them, each with its comment.

    Args:
        options: in order; mappings and references to other keys give no line.

    Returns:
        Lines no wider than the terminal, the comments aligned.
    """
    shown = [option for option in options if option.value and not option.value.startswith("${")]
    typed = [f"{option.key}={option.value}" for option in shown]
    width = min(max(map(len, typed), default=0), 34)
    rows = [f"  {text:<{width}}  {option.comment}".rstrip() for text, option in zip(typed, shown, strict=True)]
    return _fold(rows, width + 4)


def row_lines(rows: Mapping[str, str]) -> list[str]:
    """Return lines of names and what each is.

    Args:
        rows: descriptions by name.

    Returns:
        Lines no wider than the terminal, the descriptions aligned.
    """
    width = max(map(len, rows), default=0)
    return _fold([f"  {name:<{width}}  {text}".rstrip() for name, text in rows.items()] or ["  none yet"], width + 4)


def _groups(groups: Mapping[str, str], folders: Sequence[Path]) -> list[str]:
    width = max(len(f"{group}={choice}") for group, choice in groups.items())
    rows = [
        f"  {f'{group}={choice}':<{width}}  {', '.join(catalogue.choices(group, folders)) or 'none yet'}"
        for group, choice in groups.items()
    ]
    return _fold(rows, width + 4)


def _examples(verb: str, file: Path, groups: Mapping[str, str]) -> list[str]:
    """Return the examples of a YAML's header, completed to two."""
    keys = {option.key for option in catalogue.options(file)}
    first = " ".join(f"{group}={groups[group]}" for group in ("model", "dataset") if group in groups)
    made = [f"gentool {verb} {first or ('ckpt=outputs/train/…' if 'ckpt' in keys else '')}".rstrip()]
    made += [f"gentool {verb} {'seed=1' if 'seed' in keys else ''} --cfg job".replace("  ", " ")]
    written = catalogue.examples(file)
    return [*written, *made][: max(2, len(written))]


def _fold(rows: Sequence[str], indent: int) -> list[str]:
    width = max(60, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))
    fold = textwrap.TextWrapper(width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    return [line for row in rows for line in (fold.wrap(row) if len(row) > width else [row])]
