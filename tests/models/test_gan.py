"""GANs by the whole program's parts: a class asked for is the class that comes."""

import pytest
import torch

from gentool.training.rng import fork
from tests.classifier import accuracy


@pytest.mark.slow
def test_a_class_asked_for_is_the_class_that_comes(tmp_path):
    import gentool
    from gentool.cli import main

    typed = ["model=gan", "dataset=digits", "model.conditional=true", "trainer.steps=1500", "device=cpu"]
    assert main(["train", *typed, f"out={tmp_path / 'run'}"]) == 0
    model = gentool.load(str(tmp_path / "run"), device="cpu").model
    y = torch.arange(10).repeat(20)
    with fork(0):
        x = model.sample(200, y)
    assert accuracy(x, y) > 0.8
