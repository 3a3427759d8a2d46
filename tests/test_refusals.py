"""What cannot start says so in one line, with exit code 2, and leaves nothing behind; what starts is seeded."""

import pickle
import random
import subprocess
import sys
import time

import pytest
import torch

from gentool.cli import main
from gentool.errors import Interrupted
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
    (["recipe=vae-smal"], ["recipe=vae-smal", "vae-small"]),
    (["trainer.monitor=model/los"], ["trainer.monitor=model/los", "model/loss"]),
    (["trainer.monitor=model/loss", "dataset.validation=0"], ["trainer.monitor", "validation split is empty"]),
])  # fmt: skip
def test_a_run_that_cannot_start_makes_no_folder(words, parts, capsys, folder):
    assert main(["train", *TINY, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(part in line for part in parts), line
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("model", "word", "owner"), [
    ("gaussian", "model.conditional=true", "gmm"),
    ("vae_gan", "model.conditional=true", "gan"),
    ("vae", "~model.penalty", "wgan_gp"),
])  # fmt: skip
def test_a_key_that_other_models_have_is_refused_with_their_names(model, word, owner, capsys, folder):
    assert main(["train", f"model={model}", "dataset=digits", word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"model={model} has no such key" in line
    assert owner in line.rpartition("; ")[2].removesuffix(" have").split(", "), line
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "word",
    ["model._partial_=1e400", "+dataset._recursive_=x", "~model._target_", "_target_=a", "++trainer.a._b.c=1"],
)
def test_a_key_with_an_underscore_before_it_is_not_the_users(word, capsys, folder):
    assert main(["train", word, "out=run"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and word in said and "is not an option" in said
    assert not (folder / "run").exists()


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


def test_processes_end_with_the_exit_code_of_what_failed(capsys):
    words = [*TINY, "trainer.steps=40", "trainer.log_every=1", "optimizer.lr=1e30", "out=run", "device.processes=2"]
    assert main(["train", *words]) == 3
    assert "is not finite at step" in capsys.readouterr().err


def test_an_interruption_passes_between_processes():
    error = pickle.loads(pickle.dumps(Interrupted("stopped", 15)))
    assert (str(error), error.exit_code) == ("stopped", 143)


def test_a_signal_to_processes_saves_the_run_at_once(folder):
    words = [*TINY, "trainer.steps=10000000", "trainer.log_every=5", "trainer.save_every=1000000", "device.processes=2"]
    process = subprocess.Popen([sys.executable, "-m", "gentool", "train", *words, "out=run"], stderr=subprocess.PIPE)
    lines = folder / "run" / "metrics.jsonl"
    begun = time.monotonic()
    while time.monotonic() - begun < 100 and not (lines.is_file() and lines.stat().st_size):
        time.sleep(0.2)
    process.terminate()
    said = process.communicate(timeout=60)[1].decode().splitlines()
    said = [line for line in said if not line.startswith("[W")]  # torch's own, where a process is slow to leave
    assert len(said) == 1, said
    line = said[0]
    assert process.returncode == 143
    assert "gentool train resume=" in line
    assert read_checkpoint(folder / "run" / "checkpoints" / "last.pt")["step"] > 0
