"""Parts of a model by name: what is typed, what it becomes, what is refused; and runs whose parts were swapped."""

from pathlib import Path
from typing import Any

import pytest
import torch

import gentool
from gentool.cli.arguments import read
from gentool.cli.compose import composer, plain
from gentool.cli.program import main
from gentool.errors import UsageError
from gentool.options import Context, completed
from gentool.training.upgrades import upgraded


def model(*words: str) -> dict[str, Any]:
    """Return the completed config of the model that one types."""
    with composer("train") as compose:
        config: dict[str, Any] = plain(compose(read("train", words).overrides), "train")["model"]
    return config


@pytest.mark.parametrize(("dataset", "network"), [
    ("ring", "gentool.nn.denoiser.mlp"), ("digits", "gentool.nn.unet.unet"), ("cifar10", "gentool.nn.unet.unet"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["ddpm", "edm", "ncsn", "flow_matching"])
def test_a_network_that_nobody_chose_fits_the_data(name, dataset, network):
    assert model(f"model={name}", f"dataset={dataset}")["denoiser"]["_target_"] == network


def test_another_network_starts_from_its_own_defaults():
    found = model("model=ddpm", "dataset=digits", "model.denoiser=dit", "model.denoiser.depth=7")["denoiser"]
    assert (found["_target_"], found["depth"], found["patch"]) == ("gentool.nn.dit.dit", 7, 2)  # the recipe's is 1


def test_a_schedule_keeps_what_both_have():
    found = model("model=edm", "dataset=ring", "model.noise=linear")["noise"]
    assert found == {"_target_": "gentool.probability.noise.Linear", "sigma_min": 0.003, "sigma_max": 10.0}


@pytest.mark.parametrize(("words", "line"), [
    (["model.noise=cosin"], "model.noise=cosin: no such choice; did you mean 'cosine'?"),
    (["model.noise.mean=3"], "model.noise.mean=3: cosine has no such option; log_normal has it"),
    (["model.noise=linear", "model.noise.std=3"], "model.noise.std=3: linear has no such option; log_normal has it"),
    (["model.denoiser=unt"], "model.denoiser=unt: no such choice; did you mean 'unet'?"),
    (["model.denoiser=dit", "model.denoiser.blocks=3"], "model.denoiser.blocks=3: dit has no such option; unet has it"),
    (["model.sampler=hen"], "model.sampler=hen: no such choice; did you mean 'heun'?"),
    (["model.sampler.churn=3"], "model.sampler.churn=3: ancestral has no such option; heun has it"),
    (["model.noise.sigma=3"], "model.noise.sigma=3: cosine has no such option; did you mean 'sigma_min'?"),
])  # fmt: skip
def test_what_a_part_lacks_is_refused_with_those_that_have_it(words, line):
    with pytest.raises(UsageError) as error:
        model("model=ddpm", "dataset=digits", *words)
    assert str(error.value) == line


def test_parts_are_swept_by_name():
    overrides = read("train", ["-m", "model=ddpm", "model.denoiser=dit,unet"]).overrides
    assert "++model.denoiser.kind=dit,unet" in overrides


@pytest.mark.parametrize("typed", [["model.sampler=heun"], ["model.sampler.method=heun"], ["model.sampler.kind=heun"]])
def test_a_sampler_is_chosen_by_name(typed):
    found = model("model=ddpm", "dataset=ring", *typed, "model.sampler.churn=40")["sampler"]
    assert found["_target_"] == "gentool.probability.samplers.Heun"
    assert (found["steps"], found["churn"], found["likelihood"]) == (18, 40, "ode")  # the last by the recipe


def test_completing_twice_changes_nothing():
    once = model("model=ddpm", "dataset=digits", "model.denoiser=dit")
    assert completed(once, Context(data="small")) == once


def test_one_option_given_leaves_the_others_of_a_default_within_a_default():
    found = completed({"_target_": "gentool.models.vq_vae.VQVAE", "prior": {"network": {"channels": 8}}})["prior"]
    network = found["network"]
    assert found["likelihood"] == "categorical"
    assert network["_target_"].endswith(".pixelcnn")
    assert (network["channels"], network["blocks"]) == (8, 6)


def test_a_stray_option_of_a_file_is_refused_too():
    config = {"_target_": "gentool.models.diffusion.Diffusion", "noise": {"kind": "cosine", "mean": 1.0}}
    with pytest.raises(UsageError, match="log_normal has it"):
        completed(config)


@pytest.mark.parametrize(("kind", "is_image", "target"), [
    ("auto", True, "gentool.nn.unet.unet"), ("auto", False, "gentool.nn.denoiser.mlp"),
    ("mlp", True, "gentool.nn.denoiser.mlp"),
])  # fmt: skip
def test_format_1_is_upgraded(kind, is_image, target):
    old = {
        "_target_": "gentool.models.diffusion.Diffusion",
        "denoiser": {"_target_": "gentool.nn.denoiser", "kind": kind, "octaves": 2, "patch": 2, "activation": "silu"},
        "noise": {"_target_": "gentool.probability.noise.Noise", "law": "linear", "sigma_min": 0.1, "mean": 1.0},
        "sampler": {"method": "heun", "steps": 9, "eta": 0.0, "churn": 1.0, "inner_steps": 5, "step_size": 0.2},
    }
    new = upgraded(old, is_image)
    assert new["denoiser"]["_target_"] == target and "kind" not in new["denoiser"]
    assert new["noise"] == {"_target_": "gentool.probability.noise.Linear", "sigma_min": 0.1}
    assert completed(new)["sampler"]["churn"] == 1.0


def test_a_run_with_another_network_is_sampled_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Merged with the packaged file, a checkpoint's config had the options of both networks, and could not be built."""
    monkeypatch.chdir(tmp_path)
    small = ["model.denoiser.width=8", "model.denoiser.depth=1", "model.denoiser.heads=2", "model.sampler.steps=2"]
    typed = ["model=ddpm", "dataset=digits", "model.denoiser=dit", *small, "device=cpu", "trainer.batch_size=8"]
    assert main(["train", *typed, "trainer.steps=2", "out=run"]) == 0
    assert gentool.load("run", device="cpu").model.sample(2).shape == (2, 1, 8, 8)
    assert main(["sample", "ckpt=run", "n=2", "out=drawn", "device=cpu"]) == 0
    assert main(["sample", "ckpt=run", "n=2", "out=again", "device=cpu", "sampler=heun", "sampler.churn=2"]) == 0
    assert gentool.load("run", device="cpu", method="ddim", eta=0.5).model.sampler.eta == 0.5
    assert main(["sample", "ckpt=run", "out=never", "sampler=heun", "sampler.eta=2"]) == 2
    assert "sampler.eta=2: heun has no such option; ddim has it" in capsys.readouterr().err
    assert not Path("never").exists()
    assert main(["train", "resume=run", "trainer.steps=4"]) == 0
    assert torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["step"] == 4
