"""Every family that takes labels draws the class it is asked for, found out as a user does: train, evaluate, read."""

import json
from pathlib import Path

import pytest

from gentool.cli import main
from tests.laws.subjects import TINY

SHORT = {
    "gmm": (["model.components=1"], 0.9),
    "ae": (["trainer.epochs=20"], 0.8),
    "vae": (["trainer.epochs=20"], 0.6),
    "made": (["trainer.epochs=15"], 0.55),
    "maf": (["trainer.epochs=10"], 0.6),
    "gan": (["trainer.steps=1000"], 0.75),
}
"""What is typed beside the recipe, and the accuracy it must come to: a mechanism each, in seconds."""

WHOLE = {
    "ae_conv": 0.9, "ae_linear": 0.9, "dae": 0.9,
    "beta_vae": 0.85, "iwae": 0.75, "vae_conv": 0.8, "vae_svi": 0.75, "vq_vae": 0.5,
    "glow": 0.85, "nsf": 0.85, "realnvp": 0.85,
    "char_rnn": 0.85, "pixelcnn": 0.8, "transformer": 0.8,
    "dcgan": 0.9, "sngan": 0.85, "wgan": 0.8, "wgan_gp": 0.85, "ebm": 0.85,
    "ddpm": 0.9, "flow_matching": 0.85, "ncsn": 0.75,
}  # fmt: skip
"""The same of whole recipes, a minute or more each; docs/metrics.md has what they come to."""

GUIDED = {"edm"}  # below, by its guidance
NO_DIGITS = {"ngram"}  # its memory ends within a row of pixels


def judged(*typed):
    asked = ["metrics=[label_accuracy]", "num_samples=500", *typed, "device=cpu", "out=judged"]
    assert main(["evaluate", "ckpt=run", *asked]) == 0
    return json.loads(Path("judged/metrics.json").read_text())["metrics"]["label_accuracy"]


def trained(model, *typed):
    words = ["dataset=digits", "model.conditional=true", *typed, "device=cpu", "out=run"]
    assert main(["train", f"model={model}", *words]) == 0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_family_that_takes_labels_is_judged():
    assert {name for name, tiny in TINY.items() if "conditional" in tiny} == {*SHORT, *WHOLE, *GUIDED, *NO_DIGITS}


@pytest.mark.parametrize("model", SHORT)
def test_a_class_asked_for_is_drawn(model):
    typed, least = SHORT[model]
    trained(model, *typed)
    assert judged() > least


@pytest.mark.slow
@pytest.mark.parametrize("model", WHOLE)
def test_a_class_asked_for_is_drawn_after_a_whole_recipe(model):
    trained(model)
    assert judged() > WHOLE[model]


@pytest.mark.slow
def test_guidance_makes_the_class_clearer_and_none_ignores_it():
    trained("edm", "trainer.steps=500")
    none, own, more = (judged(f"sampler.guidance={guidance}") for guidance in (0, 1, 2))
    assert none < 0.3 < 0.75 < own and more > 0.85, (none, own, more)
