"""Says in words what an annotation accepts: `PositiveInt | None` is "a positive integer or null"."""

import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typing_extensions

WORDS: Mapping[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    None: "null",
    type(None): "null",
    Path: "a path",
    dict: "a mapping",
    list: "a list",
}

SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def describe(annotation: Any) -> str:
    """Return what an annotation accepts, in words.

    >>> from pydantic import PositiveInt
    >>> from typing import Literal
    >>> describe(PositiveInt | None), describe(Literal["mlp", "conv"]), describe(tuple[float, float])
    ('a positive integer or null', 'mlp or conv', 'a list of 2: a number, a number')
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _with_range(describe(parts[0]), _bounds(parts[1:]))
    if origin is typing.Literal:
        return _either([shown(part) for part in parts])
    if origin in (typing.Union, types.UnionType):
        return _either(
            [describe(part) for part in parts if not str(getattr(part, "__module__", "")).startswith("torch")]
        )
    if origin is tuple and parts and parts[-1] is not Ellipsis:
        return f"a list of {len(parts)}: {', '.join(describe(part) for part in parts)}"
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, typing.Sequence)):
        return f"a list of which each is {describe(parts[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping to {describe(parts[1])}"
    return _named(annotation if origin is None else origin)


def shown(value: Any) -> str:
    """Return a value as one would type it, shortened."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _named(annotation: Any) -> str:
    if annotation in WORDS:
        return WORDS[annotation]
    if annotation is Callable or annotation is typing.Callable:
        return "something to build (a mapping with _target_: a choice of a config group)"
    if typing_extensions.is_typeddict(annotation):
        return f"a mapping of {', '.join(annotation.__annotations__)}"
    if isinstance(annotation, type) and annotation.__module__.startswith(("gentool", "torch")):
        return f"a configuration of {annotation.__name__} (a choice of a config group)"
    return "another value"


def _bounds(extras: typing.Iterable[Any]) -> dict[str, float]:
    """Return gt, ge, lt, le as annotated-types and pydantic's Field both carry them."""
    found: dict[str, float] = {}
    for extra in extras:
        for item in [extra, *getattr(extra, "metadata", ())]:
            found |= {name: getattr(item, name) for name in SIGNS if getattr(item, name, None) is not None}
    return found


def _with_range(noun: str, bounds: Mapping[str, float]) -> str:
    if bounds == {"gt": 0} or bounds == {"ge": 0}:
        word = "positive" if "gt" in bounds else "non-negative"
        return noun.replace("an ", f"a {word} ").replace("a number", f"a {word} number")
    limits = " and ".join(f"{SIGNS[name]} {limit}" for name, limit in bounds.items())
    return f"{noun} {limits}" if limits else noun


def _either(words: typing.Sequence[str]) -> str:
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} or {last}" if most else last
