"""Every command the README shows is run as it stands there, only shorter: a few steps, a few draws."""

import os
import re
import shlex
from pathlib import Path

import pytest

from gentool import cli

ROOT = Path(__file__).parents[1]

SHELL = ("cd", "git", "pip", "python", "python3", "source", "tensorboard", "eval", ".venv/bin/pip")
"""What a README may show that is not gentool's to test."""

SHORTER = {
    "train": ["trainer.minutes=null", "trainer.epochs=null", "trainer.steps=3"],
    "evaluate": ["draws=2"],
    "score": ["draws=2"],
}


def commands(text: str) -> list[list[str]]:
    """The words of every command in the shell blocks of a Markdown text, comments and prompts taken off."""
    blocks = re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [part for line in words for part in chained(line)]


def chained(words: list[str]) -> list[list[str]]:
    """The commands of a line `a && b`."""
    if "&&" not in words:
        return [words] if words else []
    at = words.index("&&")
    return [words[:at], *chained(words[at + 1 :])]


def has_mnist() -> bool:
    return (Path(os.environ.get("GENTOOL_DATA", "absent")) / "MNIST" / "raw").is_dir()


def shorter(words: list[str]) -> list[str] | None:
    """The command's words with lengths cut, its placeholders filled, and data replaced that is not here; None: skip."""
    verb, *rest = words
    if not has_mnist():
        rest = ["dataset=digits" if word == "dataset=mnist" else word for word in rest]
        if any("mnist" in word for word in rest):
            return None
    runs = sorted(Path("outputs").glob("train/*/*/summary.json"), key=lambda path: path.stat().st_mtime)
    filled = [re.sub(r"=\S*(…|\.\.\.|RUN)\S*$", f"={runs[-1].parent}", w) if runs else w for w in rest]
    return [verb, *filled, *([] if "--help" in rest else SHORTER.get(verb, []))]


def problem(words: list[str], targets: set[str], capsys: pytest.CaptureFixture[str]) -> str | None:
    """Run one command of a README in the current folder; what is wrong with it, or None."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]  # GENTOOL_DATA=… gentool …: this test's own environment says where the data is
    program, *rest = words or [""]
    if program == "make":
        return None if set(rest) <= targets else f"make {' '.join(rest)}: no such target"
    if program != "gentool":
        return None if program in SHELL else f"{program}: neither gentool, nor make, nor in SHELL"
    if rest and (typed := shorter(rest)) is None:
        return None
    code = cli.main(typed if rest else [])
    said = capsys.readouterr()
    if code != 0:
        return f"{shlex.join(words)}: exit {code}: {said.err[-500:]}"
    if rest and rest[0] not in ("list", "--help") and not {"--help", "--cfg", "dry_run=true"} & set(rest):
        last = said.out.strip().splitlines()[-1]
        return None if Path(last).exists() else f"{shlex.join(words)}: the last line is no path: {last!r}"
    return None


def problems(text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    found = [problem(words, targets, capsys) for words in commands(text)]
    return [line for line in found if line is not None]


def test_readme_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "README.md").read_text()
    shown = {word for words in commands(text) for word in words}
    assert {"make", "gentool", "train", "sample"} <= shown, "the README lost its commands, or this test its eyes"
    monkeypatch.chdir(tmp_path)
    assert problems(text, capsys) == []


@pytest.mark.parametrize(
    "line",
    ["gentool train model=vea", "gentool smaple", "make demmo", "gentol train", "gentool train dataset=digits nope=1"],
)
def test_a_wrong_command_would_be_found(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(problems(f"Type\n```bash\n$ cd here && {line}  # a comment\n```\n", capsys)) == 1
