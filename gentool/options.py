"""Completes configurations: what nobody chose takes the default of the class or function that uses it.

A *part* is an option that is itself built: a noise schedule, a network, a sampler. One chooses it by name
(`model.noise=cosine`, in a configuration `noise: {kind: cosine}`) and sets its options beside the name
(`model.noise.sigma_max=50`). Completing turns the name into a `_target_`, adds the options that were not given, and
refuses those that the chosen part does not have.
"""

import ast
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from gentool.config import choices, load_yaml
from gentool.describe import shown
from gentool.errors import UsageError, nearest
from gentool.signatures import REQUIRED, Option, definition, signature

TAGS = ("kind", "method", "law")
"""Keys that name the variant of a part; `method` is what one types for a sampler."""

HYDRAS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")


class Context(NamedTuple):
    """What completing needs to know beside the configuration.

    Attributes:
        typed: dotted keys that the user gave; choosing another variant drops the options that it lacks, unless typed.
        data: the kind of the data (see `gentool.kinds`), by which networks are chosen; None where it is unknown.
    """

    typed: Collection[str] = ()
    data: str | None = None


def completed(config: Mapping[str, Any], context: Context = Context(), path: str = "") -> dict[str, Any]:
    """Return a configuration with every option that its targets have.

    Args:
        config: plain types, resolved; mappings with `_target_` are the options of that class or function.
        context: what was typed, and the kind of the data.
        path: the dotted key it stands at.

    Returns:
        A new mapping, in the order of the signatures, with `_partial_` where code gives further arguments. Unknown keys
        stay, for `schema.check` to refuse.

    Raises:
        UsageError: for a part that does not exist, or an option that the chosen part does not have.
    """
    known = signature(str(config["_target_"])) if "_target_" in config else None
    if known is None:
        return {key: _inner(value, context, _join(path, key)) for key, value in config.items()}
    result = {key: value for key, value in config.items() if key in HYDRAS}
    if known.is_partial:
        result["_partial_"] = True
    for name, option in known.options.items():
        value = config.get(name, option.default)
        if value is not REQUIRED:
            result[name] = _settled(value, option, context, _join(path, name))
    rest = {key: _inner(value, context, _join(path, key)) for key, value in config.items() if key not in result}
    return result | rest


def is_part(target: str, words: list[str]) -> bool:
    """Return whether a key below a target is a part, which one chooses by name.

    Args:
        target: dotted.
        words: the key, split at its dots.

    Returns:
        Whether it is; False for keys that do not exist.
    """
    known = signature(target)
    option = known.options.get(words[0]) if known is not None else None
    if option is None:
        return False
    if len(words) == 1:
        return bool(option.variants or option.group)
    inner = {*option.variants.values(), *(_chosen(name, option, "")["_target_"] for name in _group(option))}
    if isinstance(option.default, Mapping) and "_target_" in option.default:
        inner.add(option.default["_target_"])
    return any(is_part(name, words[1:]) for name in inner)


def variants(option: Option) -> list[str]:
    """Return the names that a part may be chosen by."""
    return [*option.variants, *_group(option)]


def _group(option: Option) -> list[str]:
    return list(choices(option.group)) if option.group else []


def _settled(value: Any, option: Option, context: Context, path: str) -> Any:
    if not option.variants and not option.group:
        return _inner(_over(option.default, value), context, path)
    if value is None and option.group and context.data is not None:
        value = {"kind": fitting(option.group, context.data)} if fitting(option.group, context.data) else None
    if isinstance(value, list):
        return [part(item, option, context, f"{path}.{i}") for i, item in enumerate(value)]
    return part(value, option, context, path)


def _over(default: Any, value: Any) -> Any:
    """Lay what was given over a default, at every depth; what names its own target or variant replaces it."""
    if not isinstance(default, Mapping) or not isinstance(value, Mapping) or "_target_" in value:
        return value
    own = {*default, *_options(str(default.get("_target_", "")))}
    if any(tag in value and tag not in own for tag in TAGS):
        return value
    return {**default, **{key: _over(default.get(key), inner) for key, inner in value.items()}}


def part(value: Any, option: Option, context: Context, path: str) -> Any:
    """Complete one part.

    Args:
        value: its name, or a mapping with its name or its `_target_`; what is neither is returned as it is.
        option: which variants there are.
        context: what was typed, and the kind of the data.
        path: the dotted key it stands at.

    Returns:
        A mapping with a `_target_` and all its options.

    Raises:
        UsageError: for a name that does not exist, or an option that the part does not have.
    """
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, Mapping):
        return value
    default = option.default if isinstance(option.default, Mapping) else {}
    if not default and "_target_" not in value and option.group and context.data is not None:
        default = _chosen(fitting(option.group, context.data) or "", option, path)
    before = str(value.get("_target_", default.get("_target_", "")))
    tags = [tag for tag in TAGS if tag in value and tag not in _options(before)]
    tag = next((tag for tag in tags if _join(path, tag) in context.typed), next(iter(tags), None))
    if tag is None:
        chosen = {} if "_target_" in value else default
        given = dict(value)
    else:
        chosen = _chosen(str(value[tag]), option, path)
        if chosen["_target_"] == default.get("_target_") and "_target_" not in value:
            chosen = {**default, **chosen}
        given = {key: inner for key, inner in value.items() if key not in ("_target_", "_partial_", *tags)}
    is_switched = tag is not None and _join(path, tag) in context.typed
    if is_switched and option.group:  # another network is another network: its width means something else
        given = {key: inner for key, inner in given.items() if _join(path, key) in context.typed}
    node = {**chosen, **given}
    allowed = _options(str(node.get("_target_", "")))
    for key in [key for key in given if key not in allowed and key not in HYDRAS]:
        if not is_switched or _join(path, key) in context.typed:
            raise UsageError(_stray(key, given[key], str(node.get("_target_", "")), option, path))
        del node[key]
    return completed(node, context, path)


def fitting(group: str, data: str) -> str | None:
    """Return the name of the network that fits a kind of data, by the table `FITS` of gentool/nn/fit.py."""
    found = definition("gentool.nn.fit.FITS")
    table: Mapping[str, Mapping[str, str]] = ast.literal_eval(found) if found is not None else {}
    return table.get(group, {}).get(data)


def _chosen(name: str, option: Option, path: str) -> dict[str, Any]:
    """Return the mapping that a name stands for."""
    if name in option.variants:
        return {"_target_": option.variants[name]}
    if name in _group(option):
        return load_yaml(choices(str(option.group))[name])
    raise UsageError(f"{path}={name}: no such choice; {nearest(name, variants(option))}")


def _options(target: str) -> Mapping[str, Option]:
    known = signature(target) if target else None
    return known.options if known is not None else {}


def _stray(key: str, value: Any, target: str, option: Option, path: str) -> str:
    """Say that the chosen part has no such option, and which have."""
    targets = {name: str(_chosen(name, option, path)["_target_"]) for name in variants(option)}
    here = next((name for name, found in targets.items() if found == target), target.rpartition(".")[2])
    having = [name for name, found in targets.items() if key in _options(found)]
    if having:
        hint = f"{', '.join(having)} {'have' if len(having) > 1 else 'has'} it"
    else:
        hint = nearest(key, _options(target)) if _options(target) else "it has none"
    return f"{_join(path, key)}={shown(value)}: {here} has no such option; {hint}"


def _inner(value: Any, context: Context, path: str) -> Any:
    if isinstance(value, Mapping):
        return completed(value, context, path)
    if isinstance(value, list):
        return [_inner(item, context, f"{path}.{i}") for i, item in enumerate(value)]
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
