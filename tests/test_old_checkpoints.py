"""Checkpoints of every format ever released stay loadable, and mean what they meant."""

from pathlib import Path

import pytest
import torch

import gentool

OLD = Path(__file__).parent / "checkpoints"
CODE, SUM = [-1.54396, -0.55234], 429.239
"""What the first VAE made of a ramp and of the prior's mean on the day it was written."""


def test_every_old_checkpoint_is_listed():
    assert {path.name for path in OLD.glob("*.pt")} == {"vae_format_1.pt", "edm_format_1.pt"}


def test_the_first_vae_still_codes_and_decodes_as_it_did():
    loaded = gentool.load(str(OLD / "vae_format_1.pt"), device="cpu")
    assert (loaded.name, loaded.step, loaded.weights) == ("vae-digits", 20, "ema")
    x = torch.arange(64).remainder(17).to(torch.uint8).view(1, 1, 8, 8)
    assert loaded.model.encode(x).flatten().tolist() == pytest.approx(CODE, abs=1e-4)
    assert loaded.model.decode(torch.zeros(1, 2)).sum().item() == pytest.approx(SUM, abs=1e-2)


def test_the_first_diffusion_finds_its_noise_schedule_and_its_network():
    """Of format 1: `noise: {law: log_normal}` and `denoiser: {kind: auto}` were one class and one builder each."""
    model = gentool.load(str(OLD / "edm_format_1.pt"), device="cpu").model
    assert model.noise.ratio(torch.tensor([0.3])).item() == pytest.approx(0.196073, abs=1e-5)
    torch.manual_seed(0)
    assert model.sample(3).float().sum().item() == pytest.approx(1576, abs=2)
