"""Folders: what one holds is not written over unasked, and a run that trains is held by its process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gentool import config
from gentool.cli import main
from gentool.errors import UsageError
from gentool.training import folders
from gentool.training.folders import MARK, check_out, held, output_folder

TINY = ["dataset=digits", "trainer.steps=2", "trainer.sample_every=1000", "model.encoder.hidden_features=[8]",
        "model.decoder.hidden_features=[8]", "device=cpu"]  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def anew():
    """Set `overwrite` of the command that runs."""
    options: dict[str, bool] = {}
    with config.use(options):
        yield options


def contents(folder):
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_run_is_not_written_over(capsys):
    assert main(["train", *TINY, "out=run"]) == 0
    before = contents("run")
    capsys.readouterr()
    for words in ([], ["trainer.steps=1"]):
        assert main(["train", *TINY, *words, "out=run"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "out=run" in line and "resume=run" in line
    for words in ([], ["overwrite=true"]):
        assert main(["sample", "ckpt=run", "n=2", "device=cpu", "out=run", *words]) == 2
    assert contents("run") == before
    assert main(["train", "resume=run", "trainer.steps=3"]) == 0


def test_nothing_else_is_written_over(capsys):
    Path("mine").mkdir()
    Path("mine/thesis.tex").touch()
    Path("a file").touch()
    for out in ("mine", "a file"):
        assert main(["train", *TINY, f"out={out}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"out={out}" in line
    assert os.listdir("mine") == ["thesis.tex"]


def test_a_reader_writes_its_own_folder_anew_where_asked(capsys):
    assert main(["train", *TINY, "out=run"]) == 0
    words = ["sample", "ckpt=run", "device=cpu", "out=drawn"]
    assert main([*words, "n=3", "images=true"]) == 0
    before = contents("drawn")
    Path("drawn/notes.txt").touch()
    capsys.readouterr()
    assert main([*words, "n=2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "out=drawn" in line and "overwrite=true" in line
    assert main(["latent", "ckpt=run", "device=cpu", "out=drawn", "overwrite=true"]) == 2
    assert contents("drawn") == before | {"drawn/notes.txt": b""}
    assert main([*words, "n=2", "overwrite=true"]) == 0
    assert sorted(contents("drawn")) == [f"drawn/{name}" for name in (MARK, "notes.txt", "samples.npz", "samples.png")]
    assert main([*words, "overwrite=maybe"]) == 2
    assert main(["train", *TINY, "out=run", "overwrite=true"]) == 2


def test_two_readers_that_start_at_once_do_not_share_a_folder(monkeypatch, anew):
    mkdir = Path.mkdir

    def another_is_faster(self, *args, **kwargs):
        mkdir(self, *args, **kwargs)
        (self / MARK).write_text("sample\n")

    monkeypatch.setattr(Path, "mkdir", another_is_faster)
    with pytest.raises(UsageError, match="out=drawn"):
        output_folder("sample", "vae-digits", "drawn")
    anew["overwrite"] = True
    assert output_folder("sample", "vae-digits", "drawn") == Path("drawn")


def test_a_run_that_never_saved_begins_anew():
    folder = output_folder("train", "vae-digits", "run")
    (folder / "checkpoints").mkdir()
    (folder / "config.yaml").touch()
    check_out("train", "run")
    (folder / "checkpoints/last.pt").touch()
    with pytest.raises(UsageError, match="resume=run"):
        check_out("train", "run")


def test_files_outside_the_folder_are_safe_from_its_mark(anew):
    Path("drawn").mkdir()
    Path("precious").touch()
    Path("drawn", MARK).write_text(f"sample\n../precious\n{Path('precious').resolve()}\nold.png\n")
    Path("drawn/old.png").touch()
    anew["overwrite"] = True
    output_folder("sample", "vae-digits", "drawn", ["new.png"])
    assert Path("precious").exists() and not Path("drawn/old.png").exists()
    assert Path("drawn", MARK).read_text() == "sample\nnew.png\n"


HOLD = (
    "import sys; from pathlib import Path; from gentool.training.folders import held\n"
    "with held(Path('run')): print('held', flush=True); sys.stdin.read()"
)


def test_a_run_that_trains_is_held_by_its_process(capsys):
    assert main(["train", *TINY, "out=run"]) == 0
    before = contents("run")
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    capsys.readouterr()
    assert main(["train", "resume=run", "trainer.steps=4"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"process {other.pid}" in line and "run" in line
    other.kill()
    other.communicate()
    assert {n: b for n, b in contents("run").items() if MARK not in n} == {
        n: b for n, b in before.items() if MARK not in n
    }
    assert main(["train", "resume=run", "trainer.steps=4"]) == 0
    steps = [json.loads(line)["step"] for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_the_folder_of_a_run_that_has_just_begun_is_held():
    name = f"process {os.getpid()}"
    with held(output_folder("train", "a", "run")), pytest.raises(UsageError, match=name):  # noqa: SIM117
        with held(output_folder("train", "b", "run")):
            pass
    with held(Path("run")):
        pass


def test_where_there_are_no_locks_nothing_is_held(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    folder = output_folder("train", "vae-digits", "run")
    with folders.held(folder), folders.held(folder):
        pass
