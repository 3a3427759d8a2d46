"""What `plot` and `sample` write of a model of energies, and of one with nothing to draw over the plane."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gentool.cli import main

TINY = ["dataset.examples=300", "trainer.steps=2", "trainer.sample_every=2", "device=cpu"]
EBM = ["model=ebm", "model.network.hidden_features=[8]", "model.chain.steps=3", "model.buffer=40", "trainer.ema=null"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    before = Path.cwd()
    os.chdir(folder)
    for name, words in {
        "plane": [*EBM, "dataset=moons"],
        "line": [*EBM, "dataset=two_gaussians"],
        "codes": ["model=ae", "dataset=moons"],
    }.items():
        assert main(["train", *words, *TINY, f"out={name}"]) == 0
    yield folder
    os.chdir(before)


def written(folder):
    return sorted(path.name for path in Path(folder).glob("[!.]*"))


def test_fields_are_drawn_while_training(place):
    names = written("plane/samples")
    assert {"field_energy_00000002.png", "field_score_00000002.png", "field_energy.gif"} <= set(names)


def test_plot_writes_each_field_with_its_gradient(place):
    assert main(["plot", "ckpt=plane", "out=drawn", "resolution=12", "device=cpu"]) == 0
    assert written("drawn") == ["energy.npz", "energy.png", "score.npz", "score.png"]
    energy, score = np.load("drawn/energy.npz"), np.load("drawn/score.npz")
    assert energy["value"].shape == (144,) and score["vector"].shape == (144, 2)
    np.testing.assert_allclose(energy["gradient"], -score["vector"], rtol=1e-4, atol=1e-5)
    assert main(["plot", "ckpt=line", "out=lined", "resolution=50", "device=cpu"]) == 0
    line = np.load("lined/energy.npz")
    assert line["p"].shape == line["q"].shape == (50,) and line["p"].max() > 0.1 and line["q"].min() >= 0


def test_a_model_with_nothing_to_draw_is_refused_with_the_reason(place, capsys):
    assert main(["plot", "ckpt=codes", "out=nothing", "device=cpu"]) == 2
    assert "does not implement HasLikelihood (log_prob) or HasFields (fields)" in capsys.readouterr().err
    assert not Path("nothing").exists()


def test_sample_draws_the_chain_as_a_moving_picture_and_a_strip(place):
    assert main(["sample", "ckpt=plane", "n=30", "out=moved", "sampler.rounds=2", "device=cpu"]) == 0
    assert written("moved") == ["samples.gif", "samples.npz", "samples.png", "samples_chain.png"]
    with Image.open("moved/samples.gif") as gif, Image.open("moved/samples_chain.png") as strip:
        assert gif.n_frames > 2 and strip.width > strip.height
