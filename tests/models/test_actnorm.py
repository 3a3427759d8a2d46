"""ActNorm in whole runs: set once, by training examples alone; neither going on nor looking sets it again."""

from functools import wraps
from pathlib import Path

import pytest
import torch

import gentool
from gentool.batch import Batch
from gentool.cli import main
from gentool.data import images
from gentool.probability.transforms.actnorm import ActNorm
from gentool.training.loop import Loop
from gentool.training.rng import fork
from tests.laws.subjects import TINY

RUN = ["train", "model=glow", "dataset=digits", *TINY["glow"]["overrides"], "device=cpu", "trainer.sample_every=1000"]
MOVED = 0.5  # more than a step of training moves a shift by, less than a fit would move it back


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def saved(run):
    return torch.load(Path(run) / "checkpoints" / "last.pt", weights_only=True)


def shifts(state):
    return [value for name, value in state.items() if name.endswith(".shift")]


def is_never_fitted_again() -> None:
    """Shifts of a checkpoint that were moved stay where they are, loaded and shown other data, or trained on."""
    assert main([*RUN, "trainer.steps=1", "out=run"]) == 0
    state = saved("run")
    for shift in shifts(state["model"]):
        shift += MOVED
    torch.save(state, "run/checkpoints/last.pt")
    model = gentool.load("run/checkpoints/last.pt", device="cpu", weights="raw").model
    with fork(0):
        noise = torch.randint(0, 17, (64, 1, 8, 8), dtype=torch.uint8)
        model.train().objective(Batch(noise, None, torch.arange(64)))
        model.eval().log_prob(noise), model.encode(noise), model.sample(4)
    assert all(torch.equal(value, state["model"][name]) for name, value in model.state_dict().items()), "looking fits"
    assert main(["train", "resume=run", "trainer.steps=2"]) == 0
    for before, after in zip(shifts(state["model"]), shifts(saved("run")["model"]), strict=True):
        assert (after - before).abs().max() < MOVED / 10, "going on fits again"


def test_is_never_fitted_again():
    is_never_fitted_again()


def _forgets_that_it_was(monkeypatch):
    fit = ActNorm._fit
    monkeypatch.setattr(ActNorm, "_fit", lambda self, x: (self.fitted.fill_(False), fit(self, x)))


def fits_whatever_comes(monkeypatch):
    _forgets_that_it_was(monkeypatch)
    forward = ActNorm.forward_and_log_det
    monkeypatch.setattr(ActNorm, "forward_and_log_det", lambda self, x, y=None: (self._fit(x), forward(self, x, y))[1])


def begins_again(monkeypatch):
    _forgets_that_it_was(monkeypatch)
    resume = Loop.resume
    monkeypatch.setattr(Loop, "resume", lambda self: (resume(self), self.model.begin(self.train)))


@pytest.mark.parametrize("fault", [fits_whatever_comes, begins_again])
def test_fitting_again_is_caught(fault, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(AssertionError, match="fits"):
        is_never_fitted_again()


def depend_on(monkeypatch, *splits: str) -> bool:
    """Whether the weights of a run, one step after its ActNorms were set, are others where splits are all black."""
    digits = images.digits

    @wraps(digits)
    def blackened(**options):
        data = digits(**options)
        for split in splits:
            getattr(data, split).x.zero_()
        return data

    found = []
    for name, reader in (("whole", digits), ("blackened", blackened)):
        monkeypatch.setattr(images, "digits", reader)
        assert main([*RUN, "trainer.steps=1", f"out={name}"]) == 0
        found.append(saved(name)["model"])
    return any(not torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_is_set_by_training_examples_alone(monkeypatch):
    assert not depend_on(monkeypatch, "valid", "test")


def test_a_run_of_other_examples_is_another(monkeypatch):
    """The law above can fail."""
    assert depend_on(monkeypatch, "train")
