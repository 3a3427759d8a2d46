"""Checks a configuration against the annotations of what it builds, before anything is built.

A mapping with `_target_` is the keyword arguments of that callable, so the callable's signature is its schema:
keyword-only parameters are the keys, their annotations the types and ranges.
"""

import importlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from gentool.describe import describe, shown
from gentool.errors import UnknownKey, UsageError, nearest

HOMES = ("gentool", "torch.optim")
"""Where what a configuration builds must be defined."""

RESERVED = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")
"""Keys that speak to Hydra."""


def check(config: Mapping[str, Any], path: str = "") -> None:
    """Check every mapping with `_target_` below `config` against the callable it names.

    Args:
        config: plain types, resolved.
        path: the dotted key it stands at.

    Raises:
        UsageError: naming the first key that is unknown, missing, of the wrong type or out of range.
    """
    if "_target_" not in config:
        _check_nested(config, path)
        return
    target = find(str(config["_target_"]), path)
    hints, required, is_open = _parameters(target)
    values = {str(key): value for key, value in config.items() if key not in RESERVED}
    for key, value in values.items():
        if key not in hints and not is_open:
            raise _unknown(path, key, value, hints)
        _check_value(value, hints.get(key, Any), _join(path, key))
    for key in required:
        if key not in values:
            raise UsageError(f"{_join(path, key)}: missing; expected {describe(hints[key])}")


def check_values(target: Callable[..., Any], values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Check some keyword arguments of a callable, and return them.

    Args:
        target: the callable.
        values: plain types, by parameter; parameters that are not there are not asked for.
        path: the dotted key they stand at.

    Returns:
        A new dict of the values.

    Raises:
        UsageError: naming the first key that is unknown, of the wrong type or out of range.
    """
    hints, _, is_open = _parameters(target)
    for key, value in values.items():
        if key not in hints and not is_open:
            raise _unknown(path, key, value, hints)
        _check_value(value, hints.get(key, Any), _join(path, key))
    return dict(values)


def find(name: str, path: str = "") -> Callable[..., Any]:
    """Import the callable a `_target_` names; only what gentool or torch.optim defines may be built.

    Args:
        name: dotted.
        path: the key it stands at, for the message.

    Returns:
        The class or function.

    Raises:
        UsageError: if there is none, or it is defined elsewhere.
    """
    where = f"{_join(path, '_target_')}={name}"
    if not _is_home(name):
        raise UsageError(f"{where}: only what {' or '.join(HOMES)} defines may be built")
    found = _import(name, where)
    if not callable(found) or not _is_home(getattr(found, "__module__", "")):
        raise UsageError(f"{where}: expected a class or function that {' or '.join(HOMES)} defines")
    return found  # type: ignore[no-any-return]


def _is_home(name: str) -> bool:
    return any(name == home or name.startswith(f"{home}.") for home in HOMES)


def _import(name: str, where: str) -> Any:
    words = name.split(".")
    for count in range(len(words) - 1, 0, -1):
        module = ".".join(words[:count])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and (module == error.name or module.startswith(f"{error.name}.")):
                continue
            raise
        for word in words[count:]:
            if not hasattr(found, word):
                public = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
                raise UsageError(f"{where}: {module} has no '{word}'; {nearest(word, public)}")
            found = getattr(found, word)
        return found
    raise UsageError(f"{where}: there is no such module")


@cache
def _parameters(target: Callable[..., Any]) -> tuple[dict[str, Any], list[str], bool]:
    """Return the annotations of the YAML keys, which of them must be there, and whether any other key may be.

    gentool takes its keys by keyword only, what is positional is given by code; torch.optim is positional throughout.
    """
    function = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(function, include_extras=True)
    ours = str(getattr(target, "__module__", "")).startswith("gentool")
    kinds = inspect.Parameter
    parameters = inspect.signature(target).parameters.values()
    keys = [p for p in parameters if p.kind is kinds.KEYWORD_ONLY or (not ours and p.name != "params")]
    keys = [p for p in keys if p.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)]
    required = [p.name for p in keys if p.default is kinds.empty]
    is_open = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
    return {p.name: hints.get(p.name, Any) for p in keys}, required, is_open


def _check_value(value: Any, annotation: Any, path: str) -> None:
    if _has_target(value):
        _check_nested(value, path)
        return
    fields = _typed_dict(annotation)
    if fields is not None and isinstance(value, Mapping):
        _check_fields(value, fields, path)
        return
    if _is_built(annotation):
        raise UsageError(f"{path}={shown(value)}: expected {describe(annotation)}")
    adapter = _adapter(annotation)
    if adapter is not None:
        _validate(value, annotation, adapter, path)


def _check_nested(value: Any, path: str) -> None:
    if isinstance(value, Mapping) and "_target_" in value:
        check(value, path)
    elif isinstance(value, Mapping | list):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            _check_nested(inner, _join(path, str(key)))


def _check_fields(value: Mapping[str, Any], fields: Mapping[str, Any], path: str) -> None:
    for key, inner in value.items():
        if key not in fields:
            raise _unknown(path, key, inner, fields)
        _check_value(inner, fields[key], _join(path, key))
    for key in fields:
        if key not in value:
            raise UsageError(f"{_join(path, key)}: missing; expected {describe(fields[key])}")


def _validate(value: Any, annotation: Any, adapter: Any, path: str) -> None:
    from pydantic import ValidationError

    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        expected = describe(annotation)
        choices = [str(choice) for choice in _literals(annotation) if choice is not None]
        hint = f"; {nearest(value, choices)}" if choices and nearest(value, choices).startswith("did") else ""
        inner = f" ({error.errors()[0]['msg']})" if expected == "another value" else ""
        raise UsageError(f"{path}={shown(value)}: expected {expected}{inner}{hint}") from None


@cache
def _adapter(annotation: Any) -> Any:
    """Return what validates an annotation; None where it says nothing that YAML could hold."""
    from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

    if annotation is Any:
        return None
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None


def _is_built(annotation: Any) -> bool:
    """Whether only something built can be of this type: a class of ours."""
    return (
        isinstance(annotation, type)
        and annotation.__module__.split(".")[0] == "gentool"
        and not _is_mapping(annotation)
    )


def _is_mapping(annotation: type) -> bool:
    return _is_typed_dict(annotation) or issubclass(annotation, Mapping)


def _typed_dict(annotation: Any) -> dict[str, Any] | None:
    """Return the fields of an annotation that is a TypedDict, or a TypedDict or None."""
    parts = [annotation, *typing.get_args(annotation)]
    found = next((part for part in parts if _is_typed_dict(part)), None)
    return typing.get_type_hints(found, include_extras=True) if found is not None else None


def _is_typed_dict(annotation: Any) -> bool:
    """Whether it is a TypedDict, of typing or (which pydantic asks for before Python 3.12) of typing_extensions."""
    return isinstance(annotation, type) and issubclass(annotation, dict) and hasattr(annotation, "__total__")


def _literals(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    return tuple(value for part in typing.get_args(annotation) for value in _literals(part))


def _has_target(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(_has_target(inner) for inner in value.values())
    return isinstance(value, list) and any(_has_target(inner) for inner in value)


def _unknown(path: str, key: str, value: Any, choices: Mapping[str, Any]) -> UnknownKey:
    where = _join(path, key)
    return UnknownKey(where, f"{where}={shown(value)}: no such key; {_hint(path, key, choices)}")


def _hint(path: str, key: str, choices: Mapping[str, Any]) -> str:
    """Return the nearest key, as one types it."""
    if not choices:
        return "it has none"
    hint = nearest(key, choices)
    prefix = f"{path}." if path else ""
    return hint.replace("did you mean '", f"did you mean '{prefix}")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
