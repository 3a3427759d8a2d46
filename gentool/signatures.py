"""The options of what a configuration builds: names, defaults and descriptions, read from source, never imported.

An *option* is a keyword-only parameter; what is positional is given by code. Reading the source by `ast` keeps
`--help`, `list` and `--cfg job` fast: torch is not imported.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REQUIRED = object()
"""The default of an option that must be given."""


class OneOf:
    """Names the variants that an option may be; stands in its annotation.

    `noise: Annotated[Linear | Cosine, OneOf(linear=Linear, cosine=Cosine)]` lets one type `model.noise=cosine` and
    `model.noise.sigma_max=50`, and refuses what the chosen variant lacks.

    Args:
        **variants: classes or builders, by the name one types.
    """

    def __init__(self, **variants: Any) -> None:
        self.variants = variants


class Group:
    """Says that an option is a choice of a config group, such as the networks `configs/denoiser/*.yaml`.

    Args:
        name: the group's folder.
    """

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass(frozen=True)
class Option:
    """An option of a class or function.

    Attributes:
        default: in plain types; a mapping with `_target_` where it is a part; `REQUIRED` where there is none.
        about: its description.
        variants: dotted targets by name, where the option is a `OneOf`.
        group: the config group, where the option is a `Group`.
    """

    default: Any = REQUIRED
    about: str = ""
    variants: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None


@dataclass(frozen=True)
class Signature:
    """What can be configured of a class or function.

    Attributes:
        options: by name, in order.
        is_partial: whether code gives further arguments, so that a configuration builds it with `_partial_: true`.
    """

    options: Mapping[str, Option]
    is_partial: bool


@dataclass(frozen=True, eq=False)
class _Module:
    """A module's source: what it defines, and what it imports under which name."""

    name: str
    definitions: Mapping[str, ast.AST]
    imports: Mapping[str, str]


_Found = tuple[_Module, ast.AST]


@cache
def signature(target: str) -> Signature | None:
    """Return the options of a dotted class or function; None where its source is not Python we can read.

    Args:
        target: dotted, as a `_target_` names it.

    Returns:
        Its options, those of a dataclass's fields and of an inherited constructor included.
    """
    found = _locate(target)
    if found is None:
        return None
    module, node = found
    if isinstance(node, ast.FunctionDef):
        return _of_function(module, node, _descriptions(node), skip=0)
    if not isinstance(node, ast.ClassDef):
        return None
    return _of_class(module, node)


def _of_class(module: _Module, node: ast.ClassDef) -> Signature | None:
    about = _descriptions(node)
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        return _of_function(module, init, about, skip=1)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return Signature(dict(_fields(module, node)), is_partial=False)
    for base in node.bases:
        found = _resolve(module, base)
        if found is not None and isinstance(found[1], ast.ClassDef):
            return _of_class(found[0], found[1])
    return Signature({}, is_partial=False)


def _of_function(module: _Module, node: ast.FunctionDef, about: Mapping[str, str], skip: int) -> Signature:
    arguments = node.args
    options = {
        argument.arg: _option(module, argument.annotation, default, about.get(argument.arg, ""))
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }
    given = len(arguments.posonlyargs) + len(arguments.args) - skip - len(arguments.defaults)
    return Signature(options, is_partial=given > 0)


def _fields(module: _Module, node: ast.ClassDef) -> Iterator[tuple[str, Option]]:
    """Yield the fields of a dataclass, inherited ones first; one with another default keeps its description."""
    inherited: dict[str, Option] = {}
    for base in node.bases:
        found = _resolve(module, base)
        if found is not None and isinstance(found[1], ast.ClassDef):
            inherited |= dict(_fields(found[0], found[1]))
    yield from inherited.items()
    about = {name: option.about for name, option in inherited.items()} | _descriptions(node)
    for item in node.body:
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and "ClassVar" not in ast.unparse(item.annotation)
        ):
            name = item.target.id
            yield name, _option(module, item.annotation, item.value, about.get(name, ""))


def _option(module: _Module, annotation: ast.AST | None, default: ast.AST | None, about: str) -> Option:
    variants, group = _marks(module, annotation)
    return Option(REQUIRED if default is None else _plain(module, default), about, variants, group)


def _marks(module: _Module, annotation: ast.AST | None) -> tuple[dict[str, str], str | None]:
    """Find `OneOf(…)` or `Group(…)` in an annotation or in the aliases it names."""
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == OneOf.__name__:
                return {str(k.arg): _dotted(module, k.value) for k in node.keywords}, None
            if node.func.id == Group.__name__:
                return {}, str(ast.literal_eval(node.args[0]))
        if isinstance(node, ast.Name | ast.Attribute):
            found = _resolve(module, node)
            if found is not None and not isinstance(found[1], ast.ClassDef | ast.FunctionDef):
                marks = _marks(*found)
                if marks != ({}, None):
                    return marks
    return {}, None


def _plain(module: _Module, node: ast.AST) -> Any:
    """Return the value of a default in plain types; a class, a builder or a call of one becomes a mapping."""
    if isinstance(node, ast.Call):
        called = node.args[0] if _is_partial(node) else node.func
        named = {str(k.arg): _plain(module, k.value) for k in node.keywords}
        return {**_part(module, called, is_partial=_is_partial(node)), **named}
    if isinstance(node, ast.Tuple | ast.List):
        return [_plain(module, item) for item in node.elts]
    if isinstance(node, ast.Name | ast.Attribute):
        found = _resolve(module, node)
        if found is None:
            raise ValueError(f"{module.name}: the default {ast.unparse(node)} cannot be read without importing it")
        if isinstance(found[1], ast.FunctionDef | ast.ClassDef):
            return _part(module, node, is_partial=True)
        return _plain(*found)
    return ast.literal_eval(node)


def _is_partial(node: ast.Call) -> bool:
    return ast.unparse(node.func).rpartition(".")[2] == "partial"


def _part(module: _Module, node: ast.AST, *, is_partial: bool) -> dict[str, Any]:
    return {"_target_": _dotted(module, node), **({"_partial_": True} if is_partial else {})}


def _dotted(module: _Module, node: ast.AST) -> str:
    """Return the dotted name by which a module knows a class or function: where it imports it from, or its own."""
    found = _resolve(module, node)
    if found is None or not isinstance(found[1], ast.FunctionDef | ast.ClassDef):
        raise ValueError(f"{module.name}: {ast.unparse(node)} is not a class or function whose source can be read")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{module.imports[node.value.id]}.{node.attr}"
    if isinstance(node, ast.Name) and node.id in module.imports:
        return module.imports[node.id]
    return f"{module.name}.{found[1].name}"


def _resolve(module: _Module, node: ast.AST) -> _Found | None:
    """Return where a name in a module is defined, and the definition: a class, a function or an assigned expression."""
    if isinstance(node, ast.Subscript):  # a generic base
        return _resolve(module, node.value)
    if isinstance(node, ast.Name):
        if node.id in module.definitions:
            return module, module.definitions[node.id]
        return _locate(module.imports[node.id]) if node.id in module.imports else None
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in module.imports:
        return _locate(f"{module.imports[node.value.id]}.{node.attr}")
    return None


def _locate(target: str) -> _Found | None:
    """Find the definition that a dotted name leads to, through re-exports."""
    owner, _, name = target.rpartition(".")
    module = _read(owner) if owner else None
    if module is None:
        return None
    if name in module.definitions:
        return module, module.definitions[name]
    return _locate(module.imports[name]) if name in module.imports else None


@cache
def _read(name: str) -> _Module | None:
    path = source_file(name)
    if path is None:
        return None
    definitions: dict[str, ast.AST] = {}
    imports: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            definitions[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            definitions[node.target.id] = node.value
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imports |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            imports |= {alias.asname or alias.name: alias.name for alias in node.names}
    return _Module(name, definitions, imports)


@cache
def source_file(module: str) -> Path | None:
    """Return the file of a module, found by its path alone: importing a parent package would run its code."""
    top, *rest = module.split(".")
    spec = find_spec(top) if top and top not in ("torch", "builtins", "typing") else None
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder, *rest)
        for file in (path.with_suffix(".py") if rest else path / "__init__.py", path / "__init__.py"):
            if file.is_file():
                return file
    return Path(spec.origin) if spec is not None and not rest and spec.origin and spec.origin.endswith(".py") else None


def definition(target: str) -> ast.AST | None:
    """Return the syntax of what a dotted name is defined as; None where there is none."""
    found = _locate(target)
    return found[1] if found is not None else None


@cache
def summary(target: str) -> str:
    """Return the first paragraph of a target's docstring, on one line."""
    found = _locate(target)
    text = ast.get_docstring(found[1]) if found and isinstance(found[1], ast.ClassDef | ast.FunctionDef) else ""
    return " ".join((text or "").split("\n\n")[0].split())


def _descriptions(node: ast.ClassDef | ast.FunctionDef) -> dict[str, str]:
    """Return what the `Args:` and `Attributes:` of a docstring say, by name, each on one line."""
    found: dict[str, str] = {}
    inside = name = ""
    for line in (ast.get_docstring(node) or "").splitlines():
        if re.match(r"\w[\w ]*:", line):
            inside = line.rstrip(":") if line.rstrip(":") in ("Args", "Attributes") else ""
        elif inside and (match := re.match(r" {4}\*{0,2}(\w+)(?: \([^)]*\))?: (.*)", line)):
            name = match[1]
            found[name] = match[2].strip()
        elif inside and name and line.startswith(" " * 8):
            found[name] = f"{found[name]} {line.strip()}"
    return found
