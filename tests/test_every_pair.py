"""Every configured model on digits and on points, by the whole program, is one of two things.

It trains, goes on after a stop as if there had been none, samples and is evaluated; or it is refused with the reason,
and nothing is written. Sizes and what is refused are those of tests/tiny, so a new model is tried here by its files.
"""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from gentool.cli import main
from gentool.commands import train
from gentool.models.vae import VAE
from gentool.training.loop import Loop
from tests.laws.subjects import MODELS, TINY
from tests.test_resume import assert_same_run, steps

STEPS, STOPPED = 6, 3
KINDS = {"digits": {"grey", "binary"}, "ring": {"points"}}  # what the datasets are called in tests/tiny
COMMON = [
    "device=cpu",
    "trainer.minutes=null",
    f"trainer.steps={STEPS}",
    "trainer.batch_size=32",
    "trainer.log_every=1",
    "trainer.validate_every=2",
    "trainer.sample_every=1000",
]
PAIRS = [(model, dataset) for model in MODELS if model in TINY for dataset in KINDS]  # the laws name who has no sizes
REFUSED = [
    (model, dataset, reason)
    for model, dataset in PAIRS
    for kind, reason in TINY[model]["refused"].items()
    if kind in KINDS[dataset]
]
TAKEN = [pair for pair in PAIRS if pair not in {(model, dataset) for model, dataset, _ in REFUSED}]


def words(model: str, dataset: str) -> list[str]:
    small = [typed for typed in TINY[model]["overrides"] if not typed.startswith("dataset=")]
    few = ["dataset.examples=200"] if dataset == "ring" else []
    return [f"model={model}", f"dataset={dataset}", *small, *few, *COMMON]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command that ends as it should, and return the folder that it names last."""

    def run(*typed, code=0):
        capsys.readouterr()
        ended = main([*typed])
        out, err = capsys.readouterr()
        assert ended == code, err
        return Path(out.splitlines()[-1]) if code == 0 else None

    return run


def stop_and_go_on(run, typed, monkeypatch) -> None:
    """Train as `typed`, stopped by SIGTERM as a machine that shuts down sends it, and resumed."""
    at_intervals = Loop._at_intervals

    def stopping(loop, metrics):
        at_intervals(loop, metrics)
        if loop.step == STOPPED:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as context:
        context.setattr(train, "draw", lambda model, data: {})  # pictures change nothing, and cost the most
        context.setattr(Loop, "_at_intervals", stopping)
        run("train", *typed, "out=stopped", code=128 + signal.SIGTERM)
        context.setattr(Loop, "_at_intervals", at_intervals)
        run("train", "resume=stopped")


@pytest.mark.parametrize(("model", "dataset"), TAKEN)
def test_trains_goes_on_samples_and_is_evaluated(model, dataset, run, monkeypatch):
    typed = words(model, dataset)
    run("train", *typed, "out=whole")
    assert steps(Path("whole"), "train") == list(range(1, STEPS + 1))
    stop_and_go_on(run, typed, monkeypatch)
    assert_same_run(Path("stopped"), Path("whole"))

    x = np.load(run("sample", "ckpt=stopped", "n=3", "device=cpu") / "samples.npz")["x"]
    assert len(x) == 3 and np.isfinite(x).all()
    measured = run("evaluate", "ckpt=stopped", "n=8", "draws=2", "device=cpu") / "metrics.json"
    report = json.loads(measured.read_text())
    assert report["metrics"].keys() | report["unavailable"].keys()
    assert all(np.isfinite(value) for value in report["metrics"].values())


@pytest.mark.parametrize(("model", "dataset", "reason"), REFUSED)
def test_what_makes_no_sense_is_refused_with_the_reason(model, dataset, reason, capsys, folder):
    assert main(["train", *words(model, dataset)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(reason, line), line
    assert not list(folder.iterdir())


def test_state_that_no_checkpoint_holds_is_noticed(run, monkeypatch):
    """The planted fault: a warm-up that counts for itself starts again when the run is resumed."""
    loss = VAE.loss

    def counting(model, batch, **progress):
        model.counted = getattr(model, "counted", 0) + 1
        found = loss(model, batch, **progress)
        return found._replace(total=found.total * model.counted)

    monkeypatch.setattr(VAE, "loss", counting)
    typed = words("vae", "digits")
    run("train", *typed, "out=whole")
    stop_and_go_on(run, typed, monkeypatch)
    with pytest.raises(AssertionError, match="model"):
        assert_same_run(Path("stopped"), Path("whole"))
