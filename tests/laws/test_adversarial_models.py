"""Laws of adversarial models, and the faults they are there for."""

import pytest
import torch

from gentool.errors import UsageError
from gentool.models.gan import GAN
from gentool.nn.spectral import Spectral
from gentool.probability import adversarial
from gentool.training.rng import fork
from tests.laws import adversarial_laws as laws
from tests.laws.subjects import MODELS, TINY, Subject, build, endless, subjects, train

games = pytest.mark.parametrize("subject", subjects(of=GAN), ids=str)
NORMALISED = [s for s in subjects(of=GAN) if s.name == "sngan"]
PLAIN, SN = Subject("gan", "points", 20), Subject("sngan", "grey", 20)
WITH_MOMENTS = [name for name in MODELS if "moments" in TINY.get(name, {})]


def trained_on_a_gaussian(name):
    wanted = TINY[name]["moments"]
    with fork(0):
        model = build(name, "points")
        train(name, model, laws.gaussian(), wanted["steps"], lr=wanted["lr"])
    return model.eval()


@pytest.mark.parametrize("name", WITH_MOMENTS)
def test_samples_have_the_moments(name):
    laws.samples_have_the_moments(trained_on_a_gaussian(name))


@games
def test_turns_reach_their_player(subject):
    laws.turns_reach_their_player(subject.model(), subject.batch())


@games
def test_value_is_what_is_minimised(subject):
    laws.value_is_what_is_minimised(subject.model(), subject.batch())


@pytest.mark.parametrize("subject", NORMALISED, ids=str)
def test_gains_are_held(subject):
    laws.every_layer_is_normalised(subject.model())
    laws.gains_are_held(subject.model(), subject.batch())


def test_law_catches_the_generators_sign(monkeypatch):
    game = adversarial.objective_for("non_saturating")
    wrong = game._replace(cost=lambda fake: -game.cost(fake))
    monkeypatch.setitem(adversarial._OBJECTIVES, "non_saturating", wrong)
    with pytest.raises(AssertionError):
        laws.samples_have_the_moments(trained_on_a_gaussian("gan"))


def _undetached(m, old):
    def loss(batch):
        with fork(0):
            fake = m._generate(m._latent(len(batch.x)), None)
        real = m.space.to_model(batch.x)
        return old(batch)._replace(total=-m.game.value(m.critic(real, None), m.critic(fake, None)))

    return loss


@pytest.mark.parametrize(
    ("law", "subject", "name", "fault"),
    [
        (laws.turns_reach_their_player, PLAIN, "critic_loss", _undetached),
        (laws.turns_reach_their_player, PLAIN, "_generate", lambda m, old: lambda z, y: old(z, y).detach()),
        (laws.value_is_what_is_minimised, PLAIN, "penalty_weight", lambda m, old: _Wrong(old)),
        (lambda m, batch: laws.every_layer_is_normalised(m), SN, "critic", lambda m, old: PLAIN.model().critic),
        (laws.gains_are_held, SN, "eval", lambda m, old: m.train),
    ],
)
def test_law_catches_its_fault(law, subject, name, fault):
    model = subject.model()
    law(subject.model(), subject.batch())  # sound models pass
    made = fault(model, getattr(model, name))
    if isinstance(made, torch.nn.Module):
        setattr(model, name, made)
    else:
        model.__dict__[name] = made
    with pytest.raises(AssertionError):
        law(model, subject.batch())


class _Wrong(float):
    """A weight that is another one wherever a loss multiplies by it from the left."""

    def __mul__(self, other):
        return float(self) * other.detach() * (2 if other.requires_grad else 1)


def test_law_catches_a_gain_that_is_not_followed(monkeypatch):
    monkeypatch.setattr(Spectral, "forward", lambda self, weight: weight)
    with pytest.raises(AssertionError):
        laws.gains_are_held(SN.model(), SN.batch())


def test_packs_are_examples_behind_each_other():
    """The critic's input is twice as wide, each row two whole examples; a batch that no packs fill is refused."""
    model = build("gan", "points", "model.packing=2")
    x = torch.arange(12.0).reshape(6, 2)
    assert torch.equal(model._packed(x), torch.arange(12.0).reshape(3, 4))
    train("gan", model, endless("points"), 3)
    assert model.fields()["critic"](x).shape == (6,)
    image = build("dcgan", "colour", "model.packing=2")
    x = torch.randn(4, *image.space.shape)
    assert torch.equal(image._packed(x)[1], torch.cat([x[2], x[3]]))
    with pytest.raises(UsageError, match="trainer.batch_size"):
        model._packed(torch.zeros(5, 2))


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("gan", ["model.packing=2", "model.conditional=true"], "packing"),
        ("dcgan", ["model.penalty=one_centred"], "batch_norm"),
    ],
)
def test_what_does_not_go_together_is_refused(name, typed, said):
    with pytest.raises(UsageError, match=said):
        build(name, "grey", *typed)


def test_the_average_is_of_the_generator():
    model = SN.model()
    assert {id(p) for p in model.averaged()} == {id(p) for p in model.generator.parameters()}


def test_fields_are_of_points_in_data_space():
    model = PLAIN.model()
    x = PLAIN.batch(5).x
    found = model.fields()
    assert set(found) == {"critic", "discriminator"}
    torch.testing.assert_close(found["discriminator"](x), model.critic(model.space.to_model(x), None).sigmoid())
    assert set(Subject("wgan", "points").model().fields()) == {"critic"}


def test_batch_norm_is_settled_on_the_weights_as_they_are():
    """After `finish`, evaluation gives what training gives: the statistics are those of the generator itself."""
    model = Subject("dcgan", "grey", 20).model()

    def gap():
        with torch.no_grad(), fork(0):
            z = model._latent(512)
            held = model.eval()._generate(z, None)
            return (model.generator.train()(z, None) - held).abs().mean().item()

    with torch.no_grad():
        for p in model.generator.parameters():
            p.mul_(1.5)
    before = gap()
    with fork(0):
        model.finish(iter)
    assert gap() < min(0.05, 0.5 * before)
