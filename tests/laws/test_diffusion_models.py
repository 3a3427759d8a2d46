"""Every configured diffusion is held to the laws of diffusions; and the laws to faults planted in them."""

import pytest
import torch
from hydra.utils import instantiate

from gentool.models import diffusion
from gentool.models.diffusion import Diffusion
from gentool.space import DataSpace
from tests.laws import diffusion_laws
from tests.laws.subjects import TINY, Subject, composed, examples, subjects
from tests.spaces import space

ALL = subjects(of=Diffusion)
LABELLED = [subject for subject in subjects("conditional", of=Diffusion) if subject.steps]
NAMES = sorted({subject.name for subject in ALL})
V = "model.parameterisation=v"  # an output of zeros is then a Gaussian's, and nothing is stretched beyond all bounds


def drawn(name: str, where: DataSpace, low: float) -> Diffusion:
    """A model with weights drawn at random, a mild disturbance of a Gaussian."""
    typed = (V, "model.sigma_data=1", f"model.noise.sigma_min={low}", "model.noise.sigma_max=20")
    model = instantiate(composed(name, *typed).model, _convert_="all")(where)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    return model.eval()


def plane(name: str) -> Diffusion:
    return drawn(name, space((2,), loc=1.0, scale=2.0), 0.1)


def few_states(name: str) -> Diffusion:
    """Four pixels of two levels."""
    return drawn(name, space((1, 2, 2), levels=2), 0.8)


@pytest.mark.parametrize("subject", ALL + LABELLED, ids=str)
def test_decodes_what_it_encodes(subject):
    subject = Subject(subject.name, subject.data, subject.steps, (*subject.overrides, V))
    diffusion_laws.decodes_what_it_encodes(subject.model(), subject.batch(6))


@pytest.mark.parametrize("name", NAMES)
def test_flow_is_a_density(name):
    diffusion_laws.flow_is_a_density(plane(name))


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_sum_to_no_more_than_one(name):
    diffusion_laws.probabilities_sum_to_no_more_than_one(few_states(name))


@pytest.mark.parametrize("subject", [s for s in LABELLED if s.data == "points"], ids=str)
def test_labels_matter(subject):
    diffusion_laws.labels_matter(subject.model(), subject.batch(4))


class _Reversed(diffusion.Flow):
    def down(self, u):
        return super().up(u)


class _TooDense(diffusion.Flow):
    def log_prob(self, z, probes):
        return super().log_prob(z, probes) + 0.1


class _WithoutVolume(diffusion.Flow):
    """As if the flow kept volumes."""

    def log_prob(self, z, probes):
        u = self.up(z)
        return -0.5 * (u.square() + torch.tensor(6.2831853).log()).flatten(1).sum(1)


@pytest.mark.parametrize("fault", [_TooDense, _WithoutVolume])
def test_densities_catch_their_faults(fault, monkeypatch):
    monkeypatch.setattr(diffusion, "Flow", fault)
    with pytest.raises(AssertionError):
        diffusion_laws.flow_is_a_density(plane("ddpm"))


def test_codes_catch_a_flow_that_does_not_turn(monkeypatch):
    monkeypatch.setattr(diffusion, "Flow", _Reversed)
    with pytest.raises(AssertionError):
        diffusion_laws.decodes_what_it_encodes(plane("ddpm"), examples("points", 6))


@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [
        (diffusion, "evidence", lambda old: lambda *args, draws: 0.3 * old(*args, draws=draws)),
        (diffusion.Flow, "log_mass", lambda old: lambda *args, draws: old(*args, draws=draws) + 0.5),
    ],
)
def test_sums_catch_bounds_that_are_none(owner, name, fault, monkeypatch):
    monkeypatch.setattr(owner, name, fault(getattr(owner, name)))
    with pytest.raises(AssertionError):
        diffusion_laws.probabilities_sum_to_no_more_than_one(few_states("ddpm"))


def test_deaf_networks_are_caught(monkeypatch):
    old = Diffusion._denoise
    monkeypatch.setattr(Diffusion, "_denoise", lambda self, z, r, y: old(self, z, r, 0 * y))
    subject = Subject("ddpm", "points", 20, tuple(TINY["ddpm"]["conditional"]))
    with pytest.raises(AssertionError):
        diffusion_laws.labels_matter(subject.model(), subject.batch(4))
