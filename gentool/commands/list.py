"""Show what there is."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from gentool.cli import catalogue
from gentool.cli.manual import option_rows, row_lines
from gentool.errors import UsageError, nearest

GROUPS = {"models": "model", "datasets": "dataset", "experiments": "experiment"}


def list(*, what: str | None) -> None:
    """Print models, datasets, experiments, metrics and commands, one line each; or one of them with its options.

    Args:
        what: one of those words; `model=NAME`, `dataset=NAME` or `experiment=NAME`; None: all of them.

    Raises:
        UsageError: if there is no such thing.
    """
    kinds: dict[str, Callable[[], dict[str, str]]] = {
        **{kind: (lambda group=group: _summaries(group)) for kind, group in GROUPS.items()},  # type: ignore[misc]
        "metrics": _metrics,
        "commands": catalogue.commands,
    }
    group, equals, name = (what or "").partition("=")
    if equals:
        _show(group, name)
    elif what is not None and what not in kinds:
        raise UsageError(f"{what}: nothing of this kind to list; {_hint(what, [*kinds])}")
    else:
        for kind in [what] if what else kinds:
            print("\n".join([kind, *row_lines(kinds[kind]()), *([""] if what is None else [])]))


def _hint(what: str, kinds: Iterable[str]) -> str:
    """Return the nearest kind; of a model's name, how to ask for it."""
    for group in GROUPS.values():
        if what in catalogue.choices(group, _folders()):
            return f"did you mean {group}={what}?"
    return nearest(what, kinds)


def _summaries(group: str) -> dict[str, str]:
    return {name: catalogue.summary(file) for name, file in catalogue.choices(group, _folders()).items()}


def _metrics() -> dict[str, str]:
    """Return what stands under `definitions:` in configs/evaluate.yaml, with its comments."""
    words = [(option.key.split("."), option.comment) for option in catalogue.options(catalogue.verb_file("evaluate"))]
    return {key[1]: comment for key, comment in words if key[0] == "definitions" and len(key) == 2}


def _show(group: str, name: str) -> None:
    """Print what a choice of a group says of itself, and its options."""
    if group not in GROUPS.values():
        raise UsageError(
            f"{group}={name}: only a model, dataset or experiment can be shown; {nearest(group, GROUPS.values())}"
        )
    files = catalogue.choices(group, _folders())
    if name not in files:
        raise UsageError(f"{group}={name}: no such {group}; {nearest(name, files)}")
    prefix = "" if group == "experiment" else f"{group}."
    options = [option._replace(key=f"{prefix}{option.key}") for option in catalogue.options(files[name])]
    about = [line for line in catalogue.header(files[name]) if not line.startswith("$")]
    print("\n".join([f"{group}={name}: {about[0] if about else ''}", *(f"  {line}" for line in about[1:])]))
    print("\n".join([*_defaults(files[name]), *option_rows(options), "", f"  gentool train {group}={name}"]))


def _defaults(file: Path) -> Sequence[str]:
    """Return which other groups a choice sets: `optimizer=none`."""
    return [f"  {group}={choice}" for group, choice in catalogue.overridden(file).items()]


def _folders() -> Sequence[Path]:
    """Return the config folders of the user, as Hydra found them."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return [Path(source.path) for source in sources if source.schema == "file" and source.provider != "main"]
