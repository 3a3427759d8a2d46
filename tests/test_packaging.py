"""What a user installs: the sdist and the wheel, in fresh virtual environments, from another folder."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

slow = pytest.mark.slow


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from that sdist: what it holds is all there is."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


def environment(folder: Path, *install: object) -> Path:
    """Make a virtual environment that sees this one's packages behind its own, and install into it; returns its bin."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    purelib = Path(sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})["purelib"])
    # a plain path: of an editable gentool lying there, the .pth file is not followed
    (purelib / "parent.pth").write_text(sysconfig.get_path("purelib"))
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", "--ignore-installed"]
    run(*pip, *install, cwd=folder.parent)
    return folder / "bin"


def configs() -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}


@slow
def test_wheel_holds_code_and_configs_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = {name.removeprefix("gentool/") for name in names if name.startswith("gentool/configs/")}
    assert packaged == configs() and len(packaged) > 20
    assert {"gentool/cli/__init__.py", "gentool/py.typed", "gentool/models/vae.py", "gentool/data/batches.py"} <= names
    assert {f"gentool/metrics/digit_classifier_{size}.pt" for size in (8, 28)} <= names
    outside = {name.split("/")[0] for name in names if not name.startswith("gentool/")}
    assert all(name.endswith(".dist-info") for name in outside), outside


@slow
def test_sdist_holds_what_the_project_needs(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "Makefile"} <= names
    assert configs() <= names
    assert not [name for name in names if name.startswith(("outputs", "shared", ".venv", ".git/"))]


@slow
def test_wheel_trains_from_another_folder(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    check_install(environment(tmp_path / "env", wheel), tmp_path / "elsewhere", source=tmp_path / "env")


@slow
def test_editable_install_trains_from_another_folder(tmp_path: Path) -> None:
    binaries = environment(tmp_path / "env", "--no-build-isolation", "-e", ROOT)
    check_install(binaries, tmp_path / "elsewhere", source=ROOT)


def check_install(binaries: Path, folder: Path, *, source: Path) -> None:
    folder.mkdir()
    found = run(binaries / "python", "-c", "import gentool; print(gentool.__file__)", cwd=folder).stdout.strip()
    assert Path(found).is_relative_to(source)
    gentool = binaries / "gentool"
    assert "train" in run(gentool, "--help", cwd=folder).stdout
    lines = run(gentool, "train", "dataset=digits", "trainer.steps=5", cwd=folder).stdout.splitlines()
    made = folder / lines[-1]
    assert (made / "summary.json").is_file() and (made / "checkpoints" / "last.pt").is_file()
    assert made.is_relative_to(folder / "outputs" / "train" / "vae-digits")
    run(binaries / "python", "-m", "gentool", "sample", "n=4", f"ckpt={made}", cwd=folder)


@slow
def test_users_add_groups_of_their_own(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    binaries = environment(tmp_path / "env", wheel)
    mine = tmp_path / "mine" / "experiment"
    mine.mkdir(parents=True)
    (mine / "tiny.yaml").write_text("# @package _global_\ntrainer:\n  steps: 2\n")
    typed = ["train", "experiment=tiny", "dataset=digits", "--cfg", "job"]
    for way in (["--config-dir", mine.parent], [f"hydra.searchpath=[{mine.parent}]"]):
        assert "steps: 2\n" in run(binaries / "gentool", *typed, *way, cwd=tmp_path).stdout


def imported() -> set[str]:
    """The top-level modules that gentool imports anywhere, inside functions too."""
    found: set[str] = set()
    for path in (ROOT / "gentool").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(str(node.module).partition(".")[0])
    return found - sys.stdlib_module_names - {"gentool"}


def plain(name: str) -> str:
    return re.match(r"[\w.-]+", name).group().lower().replace("_", "-")  # type: ignore[union-attr]


def test_dependencies_are_what_is_imported_and_each_is_explained_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {plain(requirement) for requirement in project["dependencies"]}
    distributions = packages_distributions()
    needed = {plain(distributions.get(module, [module])[0]) for module in imported()}
    users = [extra for extra in project["optional-dependencies"] if extra not in ("test", "dev")]
    asked_for = {plain(requirement) for extra in users for requirement in project["optional-dependencies"][extra]}
    assert needed == declared - {"torchvision"} | asked_for
    explained = set(re.findall(r"^\| ([\w-]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE))
    assert declared <= explained
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in pins)
    extras = {plain(name) for extra in project["optional-dependencies"].values() for name in extra} - {"gentool"}
    assert declared | extras <= {plain(line) for line in pins}


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
