"""`train resume=RUN`: the run's own configuration, with the few changes that leave it the same run."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from gentool.cli import catalogue
from gentool.cli.arguments import Arguments, key_of, quoted
from gentool.data.places import root_here
from gentool.describe import shown
from gentool.errors import UsageError, nearest
from gentool.kinds import kind_of
from gentool.options import completed
from gentool.training.upgrades import upgraded

FREE = re.compile(
    r"trainer\.(epochs|examples|steps|minutes|log_every|validate_every|sample_every|save_every|keep|monitor)"
    r"|device(\..+)?|dataset\.(root|path)|dry_run|resume"
)
"""Keys that may change: they do not touch what is learned."""

OWN = re.compile(r"(out|resume|dry_run|sweep|choices)(\..+)?|device(\..+)?|.*\b_\w+_")
"""Keys of a sweep's job that say nothing about the run it goes on with."""

Change = tuple[str, Any]


class Resumption(NamedTuple):
    """A run to go on with.

    Attributes:
        run: its folder.
        stored: its config.
        changes: what was typed, by dotted key.
    """

    run: Path
    stored: dict[str, Any]
    changes: list[Change]


def requested(arguments: Arguments) -> tuple[Arguments, Resumption] | None:
    """Return what Hydra shall compose to resume, and the run; None where `resume=` was not typed.

    Hydra composes the run's own choices, for the defaults of keys newer than the run; what was typed is applied to the
    run's config, not to those.

    Args:
        arguments: what was typed.

    Returns:
        The arguments Hydra shall compose, and the run to go on with; None: nothing is to be resumed.

    Raises:
        UsageError: if there is no such run, or what was typed would make it another one.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = [word for word in arguments.overrides if key_of(word) == "resume" and word != "resume=null"]
    if not words:
        return None
    parsed = OverridesParser.create().parse_overrides(arguments.overrides)
    typed = [override for override in parsed if not override.is_hydra_override()]
    run = next(Path(str(override.value())) for override in reversed(typed) if override.key_or_group == "resume")
    stored = read_config(run)
    changes = [(override.key_or_group, _value(override)) for override in typed if override.key_or_group != "resume"]
    kept = [str(o.input_line) for o in parsed if o.is_hydra_override() or o.key_or_group.partition(".")[0] == "device"]
    if not any(key_of(word) == "device" for word in kept):
        kept = [word for word in kept if not key_of(word).startswith("device.")]
    known = [
        f"{group}={choice}"
        for group, choice in stored.get("choices", {}).items()
        if choice in catalogue.choices(group, arguments.folders) and not any(key_of(word) == group for word in kept)
    ]
    return Arguments(arguments.flags, [*known, *kept, f"resume={quoted(str(run))}"]), Resumption(run, stored, changes)


def read_config(run: Path) -> dict[str, Any]:
    """Read the config of a run.

    Args:
        run: its folder.

    Returns:
        The run's resolved config, in plain types.

    Raises:
        UsageError: if it is no run, or its config cannot be read.
    """
    from omegaconf import OmegaConf

    file = run / "config.yaml"
    if not run.exists():
        raise UsageError(
            f"resume={run}: no such folder; expected the folder of a run, such as outputs/train/vae-mnist/…"
        )
    if not file.is_file():
        home = next((parent for parent in run.parents if (parent / "config.yaml").is_file()), None)
        raise UsageError(
            f"resume={run}: no run there (no config.yaml)" + (f"; did you mean resume={home}?" if home else "")
        )
    if not (run / "checkpoints" / "last.pt").is_file():
        raise UsageError(f"resume={run}: nothing to go on from: it has no checkpoints/last.pt")
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except Exception as error:  # whatever a YAML reader finds wrong with a file
        raise UsageError(f"resume={run}: its config.yaml cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict) or "trainer" not in config:
        raise UsageError(f"resume={run}: its config.yaml is not the config of a run")
    return config


def resumed(resumption: Resumption, composed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config to go on with.

    Args:
        resumption: the run, and what was typed.
        composed: the run's choices as they are composed today.

    Returns:
        The run's config with the changes, in plain types.

    Raises:
        UsageError: with a diff, if what was typed would make it another run.
    """
    run, stored, changes = resumption
    config = _filled(completed(upgraded(stored, _is_image(stored))), composed)
    if "root" in config["dataset"]:
        config["dataset"]["root"] = root_here(config["dataset"]["root"])
    refused = []
    for key, value in changes:
        choices = stored.get("choices", {})
        if key in catalogue.groups("train"):
            if key == "device":
                config["device"] = deepcopy(composed["device"])
                config["choices"]["device"] = value
            elif (choices.get(key), value) != (value, choices.get(key)):
                refused.append(f"{key}: {choices.get(key, 'null')} -> {shown(value)}")
            continue
        parent, name = _place(config, key, run)
        if FREE.fullmatch(key):
            parent[name] = value
        elif parent[name] != value:
            refused.append(f"{key}: {shown(parent[name])} -> {shown(value)}")
    if refused:
        may = "trainer lengths and intervals, device, dataset.root and dataset.path"
        raise UsageError(f"resume={run} cannot change {'; '.join(refused)}; only {may} may change")
    return {**config, "resume": str(run)}


def _is_image(stored: Mapping[str, Any]) -> bool:
    return kind_of(stored["dataset"]) not in ("points", "table", "text")


def job_changes(config: Mapping[str, Any], stored: Mapping[str, Any]) -> list[Change]:
    """Return where the config of a sweep's job differs from that of the stopped run it finds in its folder."""
    before = dict(_leaves(stored))
    return [(k, v) for k, v in _leaves(config) if k in before and before[k] != v and not OWN.fullmatch(k)]


def _value(override: Any) -> Any:
    if override.is_delete() or override.is_add():
        raise UsageError(f"{override.input_line}: a run that goes on takes no new keys and loses none")
    if override.is_sweep_override():
        raise UsageError(f"{override.input_line}: expected one value")
    return override.value()


def _place(config: dict[str, Any], key: str, run: Path) -> tuple[dict[str, Any], str]:
    """Return the mapping that holds a dotted key, and the key in it."""
    *parents, name = key.split(".")
    node: Any = config
    for depth, word in enumerate([*parents, name]):
        if not isinstance(node, dict) or word not in node:
            known = [".".join([*parents[:depth], k]) for k in node] if isinstance(node, dict) else []
            raise UsageError(f"{key}: the run {run} has no such key; {nearest(key, known)}")
        if depth < len(parents):
            node = node[word]
    return node, name


def _filled(stored: Mapping[str, Any], packaged: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored config with the keys it does not know yet, at their defaults."""
    merged: dict[str, Any] = {}
    for key in [*stored, *(k for k in packaged if k not in stored)]:
        old, new = stored.get(key, packaged.get(key)), packaged.get(key)
        same = isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("_target_") == new.get("_target_")
        merged[key] = _filled(old, new) if same else deepcopy(old)  # type: ignore[arg-type]
    return merged


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[Change]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
