"""`verify` on every family: its laws hold on sound models, and each names the fault that is planted."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn.functional import linear

from gentool.cli import main
from gentool.laws import LAWS, examples, verify
from gentool.laws import Subject as Tried
from gentool.models.autoregressive import Autoregressive
from gentool.models.flow import Flow
from gentool.nn.masked import MaskedLinear
from gentool.nn.pixelcnn import PixelCNN
from gentool.probability.transforms.actnorm import ActNorm
from gentool.probability.transforms.coupling import AffineCouplings
from tests.laws.subjects import TINY, Subject, build, subjects


def tried(subject, model=None):
    model = subject.model() if model is None else model
    return Tried(model, examples(model, 8, 0), lambda: build(subject.name, subject.data, *subject.overrides, seed=9))


def broken(subject, model=None):
    return {v.law: v.detail for v in verify(tried(subject, model)) if v.result == "broken"}


def first(subject):
    """Whether it is of its model's first toy set: the other sets, and models of p(x | y), take minutes in all."""
    return not subject.overrides and subject.data == TINY[subject.name]["data"][0]


TRAINED = [
    pytest.param(subject, marks=[] if first(subject) else pytest.mark.slow)
    for subject in subjects() + subjects("conditional")
    if subject.steps
]
TRAINED.append(Subject("glow", "grey", 20, ("model.dequantisation=variational",)))


@pytest.mark.parametrize("subject", TRAINED, ids=str)
def test_every_law_holds_of_every_model(subject):
    assert not broken(subject)


def replaced(owner, name, make):
    """A fault: make(what was there) in the place of a method, of a class or of the model itself."""

    def plant(model, monkeypatch):
        monkeypatch.setattr(owner or model, name, make(getattr(owner or model, name)))

    return plant


def negated(old):
    def wrong(self, x, y=None):
        out, log_det = old(self, x, y)
        return out, -log_det

    return wrong


def heavier(model, monkeypatch):
    model.weights.mul_(1.3)


def sees_itself(model, monkeypatch):
    model.network.body.first_left.strictly = False


def counts(model, monkeypatch):
    objective = model.objective
    model.register_buffer("seen", torch.zeros(()))

    def counting(batch):
        model.seen += 1
        return objective(batch)

    monkeypatch.setattr(model, "objective", counting)


def hides(model, monkeypatch):
    model.hidden = 1.0
    monkeypatch.setattr(type(model), "sample", lambda self, n, y=None: torch.full((n, 2), getattr(self, "hidden", 0.0)))


def own_noise(old):
    g = torch.Generator().manual_seed(0)
    return lambda n, y=None: old(n, y) + torch.randn(n, 2, generator=g)


def mean_of_the_batch(old):
    return lambda x, y=None, draws=1: old(x, y, draws=draws) + x.double().mean()


def flips_the_kl(old):
    def flipped(*args):
        log_p_x, log_ratio = old(*args)
        return log_p_x, -log_ratio

    return flipped


def stale(old):
    return lambda self, state, i, x_prev: old(self, state, i, None if x_prev is None else 0 * x_prev)


def redraws(old):
    def wrong(self, x, known, y, u, *, cached):
        return old(self, x, torch.zeros_like(known), y, u, cached=cached)

    return wrong


def ascends(old):
    return lambda: {"energy": old()["energy"], "score": lambda x: -old()["score"](x)}


ENERGY = Subject("ebm", "points", 20)
POINTS, GREY, STATES = Subject("nsf", "points", 20), Subject("glow", "grey", 20), Subject("pixelcnn", "states", 20)
VAE, GMM = Subject("vae", "points", 20), Subject("gmm", "points", 20)
CLASSES = Subject("pixelcnn", "states", 20, ("model.conditional=true",))

FAULTS = [
    ("samples lie in the space", VAE, replaced(None, "sample", lambda old: lambda n, y=None: old(n, y) / 0)),
    ("the same seed gives the same samples", VAE, replaced(None, "sample", own_noise)),
    ("looking changes nothing", VAE, counts),
    ("saving and loading keeps the samples", VAE, hides),
    ("examples do not see each other", VAE, replaced(None, "log_prob", mean_of_the_batch)),
    (
        "the probabilities sum to 1",
        STATES,
        replaced(None, "log_prob", lambda old: lambda x, y=None, draws=1: old(x) + 0.01),
    ),
    ("samples follow the probabilities", STATES, replaced(None, "sample", lambda old: lambda n, y=None: 1 - old(n, y))),
    ("the density integrates to 1", GMM, heavier),
    (
        "the density integrates to 1",
        POINTS,
        replaced(Flow, "_log_density", lambda old: lambda s, v, d, y: old(s, v, 0 * d, y)),
    ),
    (
        "samples follow the density",
        POINTS,
        replaced(Flow, "sample_latent", lambda old: lambda self, n: 1.1 * old(self, n)),
    ),
    (
        "p(x) sums p(x | y) over the classes",
        CLASSES,
        replaced(
            None,
            "log_prob",
            lambda old: lambda x, y=None, draws=1: old(x, 0 * x[:, 0, 0, 0].long() if y is None else y),
        ),
    ),
    (
        "the bound rises with draws",
        VAE,
        replaced(None, "log_prob", lambda old: lambda x, y=None, draws=1: old(x, y, draws=draws) - draws),
    ),
    ("the bound lies below log p(x)", VAE, replaced(None, "_weights", flips_the_kl)),
    ("the bound lies below log p(x)", VAE, replaced(None, "log_prob", lambda old: lambda *a, **k: old(*a, **k) + 2.5)),
    ("the mixture's weights sum to 1", GMM, heavier),
    (
        "decode is a function of the code",
        VAE,
        replaced(None, "decode", lambda old: lambda z, y=None: old(z - z.mean(0), y)),
    ),
    (
        "reconstructions are decoded codes",
        VAE,
        replaced(None, "encode", lambda old: lambda x, y=None: old(x, y) + 0.3),
    ),
    (
        "decode(encode(x)) = x",
        GREY,
        replaced(ActNorm, "inverse_and_log_det", lambda old: lambda self, x, y=None: old(self, 1.01 * x)),
    ),
    ("the log-determinant is the Jacobian's", GREY, replaced(ActNorm, "forward_and_log_det", negated)),
    ("the log-determinant is the Jacobian's", GREY, replaced(AffineCouplings, "forward_and_log_det", negated)),
    ("outputs see what is before them alone", STATES, sees_itself),
    ("caches change no sample", STATES, replaced(PixelCNN, "step", stale)),
    ("the score is minus the energy's gradient", ENERGY, replaced(None, "fields", ascends)),
    ("completion keeps what is known", STATES, replaced(Autoregressive, "_fill", redraws)),
]


@pytest.mark.parametrize(("law", "subject", "fault"), FAULTS, ids=[f"{law}-{s.name}" for law, s, _ in FAULTS])
def test_a_planted_fault_is_named(law, subject, fault, monkeypatch):
    model = subject.model()
    fault(model, monkeypatch)
    assert law in broken(subject, model)


def test_every_law_has_a_fault_that_it_catches():
    assert {law.name for law in LAWS} == {law for law, _, _ in FAULTS}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Checkpoints that the program wrote, of a flow, a mixture and a mask."""
    folder = tmp_path_factory.mktemp("verify")
    small = ["trainer.steps=2", "trainer.validate_every=1000", "trainer.sample_every=1000", "device=cpu"]
    network = ["model.transform.couplings=1", "model.transform.network.hidden_features=[8]"]
    made = ["model.network.hidden_features=[16]", "trainer.batch_size=64"]
    points = ["dataset=moons", "dataset.examples=200"]
    for words in (
        ["model=realnvp", *points, *network],
        ["model=gmm", *points],
        ["model=made", "dataset=digits", *made],
    ):
        name = words[0].partition("=")[2]
        assert main(["train", *words, *small, f"out={folder / name}"]) == 0
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """What is written lies in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


def altered(run, change):
    """Write a copy of a run's checkpoint with its weights changed."""
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    change(state["model"])
    path = run / "altered.pt"
    torch.save(state, path)
    return path


def test_verify_tells_a_law_a_line_and_leaves_with_0(runs, capsys):
    for name in ("gmm", "made"):
        assert main(["verify", f"ckpt={runs / name}"]) == 0
        printed = capsys.readouterr()
        assert not printed.err and "laws hold" in printed.out
        assert (Path(printed.out.splitlines()[-1]) / "laws.json").is_file()
    assert re.search(r"outputs see what is before them alone +holds +64 of 64 dimensions changed", printed.out)


def test_an_unnormalised_mixture_is_named(runs, capsys):
    path = altered(runs / "gmm", lambda weights: weights["weights"].mul_(1.2))
    assert main(["verify", f"ckpt={path}"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the mixture's weights sum to 1: the weights of" in error and "the density integrates to 1: " in error


def test_the_sign_of_a_log_determinant_is_named(runs, capsys, monkeypatch):
    monkeypatch.setattr(AffineCouplings, "forward_and_log_det", negated(AffineCouplings.forward_and_log_det))
    assert main(["verify", f"ckpt={runs / 'realnvp'}"]) == 1
    assert "the log-determinant is the Jacobian's: it is" in capsys.readouterr().err


def test_a_leak_in_a_mask_is_named(runs, capsys, monkeypatch):
    monkeypatch.setattr(MaskedLinear, "forward", lambda self, x, mask, blocks, label: linear(x, self.weight, self.bias))
    assert main(["verify", f"ckpt={runs / 'made'}"]) == 1
    error = capsys.readouterr().err
    assert "outputs see what is before them alone: a change of dimension" in error
