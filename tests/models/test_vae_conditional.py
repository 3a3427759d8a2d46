"""A conditional VAE draws the class it is asked for; an independent classifier judges."""

import pytest
import torch

import gentool
from gentool.cli import main
from gentool.training.rng import fork
from tests.classifier import accuracy


@pytest.mark.slow
def test_classes_asked_for_are_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = ["train", "model=vae", "dataset=digits", "model.conditional=true", "trainer.epochs=40", "device=cpu"]
    assert main([*typed, "out=run"]) == 0
    model = gentool.load("run").model
    asked = torch.arange(500) % 10
    with fork(0):
        x = model.sample(500, asked)
        means = model.picture(500, asked)
    assert accuracy(x, asked) > 0.75
    assert accuracy(means, asked) > 0.85
    assert accuracy(x, asked.roll(1)) < 0.1, "another class is recognised as another"
