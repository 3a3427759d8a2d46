"""Imports point one way, heavy packages wait until they are needed, and the engine knows no family by name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gentool"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of gentool besides itself; a part is a folder or a file of gentool/.
FACTS = {"errors", "batch", "space", "kinds", "signatures"}
MATHEMATICS = FACTS | {"nn", "probability"}
CONFIGURATION = {"errors", "config", "schema", "describe", "signatures", "options"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "batch": set(),
    "space": {"errors"},
    "nn": FACTS,
    "probability": FACTS,
    "models": MATHEMATICS,
    "data": FACTS | {"probability"},  # the toy sets are drawn from densities that a model may be, too
    "kinds": {"data"},  # of which it takes headers.py only, which imports nothing
    "device": FACTS | {"nn"},
    "config": {"errors"},
    "signatures": set(),
    "options": {"errors", "config", "describe", "signatures"},
    "describe": {"errors"},
    "schema": {"errors", "describe"},
    "plots": MATHEMATICS | {"models", "training"},
    "metrics": MATHEMATICS | {"models", "training"},
    "comparison": {"errors", "training", "plots", "metrics"},
    "laws": MATHEMATICS | {"models", "training"},
    "training": MATHEMATICS | CONFIGURATION | {"models", "device", "plots", "metrics"},
}
ANYTHING_BUT_UP = {"cli", "__main__"}  # what stands above the commands
ABOVE = {"cli", "__init__", "__main__"}  # `gentool.build` and `gentool.load` compose as the command line does
ITS_SUBJECT = {"commands/list.py": {"cli"}}  # it shows what the command line knows: the help of every choice
HEAVY = {"matplotlib", "sklearn", "torchvision", "tensorboard", "rich", "PIL", "scipy"}
LIGHT = {"__init__", "__main__", "cli", "config", "describe", "errors", "kinds", "options", "signatures"}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            if node.module == "gentool":
                yield from (f"gentool.{alias.name}" for alias in node.names)


def at_import(tree: ast.Module) -> Iterator[str]:
    """Names a module imports when it is itself imported: outside functions and outside `if TYPE_CHECKING`."""
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node)
        todo += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def wrong_imports(owner: str, source: str) -> list[str]:
    """What a file of that part imports although it may not."""
    names = {name.split(".")[1] for name in imported(ast.parse(source)) if name.startswith("gentool.")}
    if owner in MAY_IMPORT:
        return sorted(names - MAY_IMPORT[owner] - {owner})
    return sorted(names & ANYTHING_BUT_UP) if owner not in ABOVE else []


def family_comparisons(source: str, families: set[str]) -> list[str]:
    """Comparisons, matches and isinstance tests against a family's name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        tested: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            tested = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            tested = [node.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("isinstance", "startswith"):
            tested = list(node.args)
        for child in (inner for outer in tested for inner in ast.walk(outer)):
            name = child.value if isinstance(child, ast.Constant) else child.id if isinstance(child, ast.Name) else None
            if isinstance(name, str) and name.lower() in families:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")  # type: ignore[attr-defined]
    return found


def families() -> set[str]:
    """Names of configs/model, of models/*.py and of the classes in them."""
    names = {path.stem for path in (PACKAGE.parent / "configs" / "model").glob("*.yaml")}
    for path in (PACKAGE / "models").glob("*.py"):
        if path.stem not in ("base", "__init__"):
            tree = ast.parse(path.read_text())
            names |= {path.stem} | {n.name.lower() for n in tree.body if isinstance(n, ast.ClassDef)}
    return names - {"sampler", "posterior"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    allowed = ITS_SUBJECT.get(path.relative_to(PACKAGE).as_posix(), set())
    wrong = [name for name in wrong_imports(part(path), path.read_text()) if name not in allowed]
    assert not wrong, f"gentool.{part(path)} may not import {', '.join(wrong)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_where_they_are_needed(path):
    names = {name.split(".")[0] for name in at_import(ast.parse(path.read_text()))}
    heavy = HEAVY | ({"torch", "hydra", "omegaconf", "numpy", "pydantic"} if part(path) in LIGHT else set())
    if path.relative_to(PACKAGE).as_posix() == "training/rng.py":
        heavy -= {"rich"}  # its import draws from the generator that rng.py keeps
    assert not names & heavy, f"import {', '.join(sorted(names & heavy))} inside the function that needs it"


@pytest.mark.parametrize(
    "path", [p for p in FILES if part(p) in ("training", "commands")], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_engine_compares_with_no_family(path):
    source = path.read_text()
    assert not family_comparisons(source, families())
    models = {n for n in imported(ast.parse(source)) if n.startswith("gentool.models")} - {"gentool.models"}
    assert models <= {"gentool.models.base"}, "the engine knows models/base.py only"


def test_the_rules_catch_what_they_forbid():
    assert wrong_imports("models", "from gentool.training import loop") == ["training"]
    assert wrong_imports("nn", "import gentool.probability.gaussians") == ["probability"]
    assert wrong_imports("models", "def f():\n    from gentool import commands") == ["commands"]
    assert wrong_imports("commands", "from gentool.cli import main") == ["cli"]
    assert wrong_imports("models", "from gentool.nn import encoder") == []
    names = families()
    assert {"vae", "vae_conv"} <= names
    for source in (
        "if config['choices']['model'] == 'vae': pass",
        "if name in ('gan', 'vae_conv'): pass",
        "isinstance(model, VAE)",
        "match name:\n    case 'vae': pass",
    ):
        assert family_comparisons(source, names), source
    assert not family_comparisons("if verb == 'train': pass", names)
    assert list(at_import(ast.parse("try:\n    import rich\nexcept E: pass"))) == ["rich"]
    assert list(at_import(ast.parse("def f():\n    import rich"))) == []
