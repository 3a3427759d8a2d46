"""A conditional diffusion draws the class it is asked for, guidance the more so; an independent classifier judges."""

import pytest
import torch

import gentool
from gentool.cli import main
from gentool.training.rng import fork
from tests.classifier import accuracy


@pytest.mark.slow
def test_classes_asked_for_are_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = ["train", "model=edm", "dataset=digits", "model.conditional=true", "trainer.steps=500", "device=cpu"]
    assert main([*typed, "out=run"]) == 0
    model = gentool.load("run").model
    asked = torch.arange(300) % 10
    found = {}
    for guidance in (0.0, 1.0, 2.0):
        model.sampler["guidance"] = guidance
        with fork(0):
            found[guidance] = accuracy(model.sample(300, asked), asked)
    assert found[0.0] < 0.3 < 0.75 < found[1.0], found
    assert found[2.0] > 0.85, found
