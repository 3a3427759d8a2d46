"""What cannot start says so in one line, with exit code 2, and leaves nothing behind; what starts is seeded."""

import random
import subprocess
import sys

import pytest
import torch

from gentool.cli import main
from gentool.training import rng
from gentool.training.checkpoints import read_checkpoint

TINY = ["dataset=digits", "trainer.steps=2", "model.encoder.hidden_features=[8]", "model.decoder.hidden_features=[8]",
        "device=cpu"]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return tmp_path


@pytest.mark.parametrize(("words", "parts"), [
    (["optimizer.lr=-1"], ["optimizer", "-1"]),
    (["optimizer.lr=nan"], ["optimizer.lr=nan", "expected a number"]),
    (["model.beta=inf"], ["model.beta=inf"]),
    (["trainer.steps=null", "trainer.epochs=null"], ["trainer.epochs"]),
    (["out="], ["out=", "out=null"]),
    (["=5"], ["=5", "key=value"]),
])  # fmt: skip
def test_a_run_that_cannot_start_makes_no_folder(words, parts, capsys, folder):
    assert main(["train", *TINY, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(part in line for part in parts), line
    assert not list(folder.iterdir())


@pytest.mark.parametrize("text", [b"root:x:0:0:root:/root:/bin/bash\n", b"", b"c", b"PK\x03\x04", b"\x80\x02.", b"(.0"])
def test_a_file_of_another_kind_is_no_checkpoint(text, capsys, folder):
    (folder / "x.pt").write_bytes(text)
    assert main(["sample", "ckpt=x.pt", "device=cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "x.pt is not a checkpoint of gentool" in line


def test_a_checkpoint_imports_nothing_from_elsewhere(capsys, folder, monkeypatch):
    assert main(["train", *TINY, "out=run"]) == 0
    monkeypatch.syspath_prepend(str(folder))
    (folder / "a_stranger.py").write_text("open('imported', 'w').close()\ndef build(): ...\n")
    file = folder / "run" / "checkpoints" / "last.pt"
    for target in ("a_stranger.build", "gentool.models.vae.nope", "os.system"):
        state = read_checkpoint(file)
        state["config"]["model"]["encoder"]["_target_"] = target
        torch.save(state, folder / "changed.pt")
        capsys.readouterr()
        assert main(["sample", "ckpt=changed.pt", "device=cpu"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert target in line
        assert not (folder / "imported").exists()


def test_what_a_run_imports_does_not_move_its_random_state():
    code = ("import random; from gentool.training import rng; rng.seed_all(0); import rich.console, rich.progress;"
            "print(random.random())")  # fmt: skip
    drawn = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    rng.seed_all(0)
    assert float(drawn) == random.random()
