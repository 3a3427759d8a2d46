"""Every law catches the fault it is there for: planted in a sound model, the fault makes the law raise."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from gentool.models.base import GenerativeModel
from gentool.models.vae import Posterior
from gentool.probability import gaussians
from gentool.training.rng import fork
from tests.laws import laws, likelihood_laws
from tests.laws.linear_gaussian import linear_gaussian
from tests.laws.subjects import Subject, build, endless, minimizer

TRAINED = Subject("vae", "binary", 20)
LABELLED = Subject("vae", "binary", 20, ("model.conditional=true",))
BATCH = TRAINED.batch(8)

Fault = Callable[[Any], None]


def replaces(name: str, make: Callable[[Any, Any], Any]) -> Fault:
    """A fault that puts make(model, what was there) in the place of an attribute."""

    def plant(model: Any) -> None:
        model.__dict__[name] = make(model, getattr(model, name))

    plant.__name__ = name
    return plant


def _sees_the_batch(m, posterior):
    def normalised(x, y):
        q = posterior(x, y)
        return Posterior(q.mu - q.mu.mean(0), q.log_var)

    return normalised


def _moves_the_other(m, train_step):
    def step(batches, optimizers):
        def loss(batch):
            m.decoder.body.layers.layers[0].weight.data += 0.1
            return m.loss(batch, 1.0)

        return optimizers.minimize("encoder", loss, batches)

    m.players = lambda: {"encoder": [*m.encoder.parameters()], "decoder": [*m.decoder.parameters()]}
    return step


def _counts(m, objective):
    m.register_buffer("seen", torch.zeros(()))

    def counting(batch):
        m.seen += 1
        return objective(batch)

    return counting


def _leaves_gradients(m, reconstruct):
    def leaving(x, y=None):
        m.loss(BATCH, 1.0).total.backward()
        return reconstruct(x, y)

    return leaving


def _uses_the_mean_of_log_weights(m, bound):
    return lambda x, y, draws: torch.stack([bound(x, y, 1) for _ in range(draws)]).mean(0)


def _has_the_wrong_std(m, draw):
    return lambda q, draws: q.mu + q.log_var.exp() * torch.randn(draws, *q.mu.shape)


def _flips_the_kl(m, weights):
    def flipped(*args):
        log_p_x, log_ratio = weights(*args)
        return log_p_x, -log_ratio

    return flipped


def _counts_levels_in_nats(m, report):
    return lambda data: {**report(data), "bits_per_dim": -report(data)["elbo"] / m.space.dims}


def _stop_one_parameter(m):
    next(m.decoder.parameters()).register_hook(torch.zeros_like)


def _own_noise(m, sample):
    own = torch.Generator().manual_seed(0)

    def drawing(n, y=None):
        z = torch.randn(n, m.latent_dim, generator=own) * 3
        return m.observation.sample(m.decoder(z, None)).detach()

    return drawing


def make(model: GenerativeModel, kind: Any) -> Any:
    return minimizer("vae", model, 10, kind)


def training(law: Callable[..., None]) -> Callable[[Any], None]:
    return lambda m: law(m, endless("binary"), partial(make, m))


def rebuilt(model: Any) -> None:
    laws.saving_and_loading_keeps_samples(model, lambda space: build("vae", "binary", seed=9))


ONES = torch.ones(2) / 2
WRONG = {"model/loss": torch.tensor(20.0), "model/bits_per_dim": torch.tensor(1.0)}  # of 20 dimensions: log 2 forgotten
CASES: list[tuple[Callable[[Any], None], Fault]] = [
    (laws.samples_lie_in_the_space, replaces("sample", lambda m, old: lambda n: old(n).float())),
    (laws.samples_lie_in_the_space, replaces("sample", lambda m, old: lambda n: old(n + 1))),
    (laws.samples_lie_in_the_space, replaces("sample", lambda m, old: lambda n: old(n) + 2)),
    (lambda m: laws.bits_are_nats(m, BATCH, {}), replaces("report", _counts_levels_in_nats)),
    (lambda m: laws.bits_are_nats(m, BATCH, WRONG), lambda m: None),
    (laws.pictures_lie_in_the_space, replaces("picture", lambda m, old: lambda n: 2 * old(n) - 1)),
    (laws.pictures_lie_in_the_space, replaces("picture", lambda m, old: lambda n: old(n) / 0)),
    (laws.same_seed_same_sample, replaces("sample", _own_noise)),
    (laws.same_seed_same_sample, replaces("sample", lambda m, old: lambda n: old(n) * 0)),
    (lambda m: laws.looking_changes_nothing(m, BATCH), replaces("objective", _counts)),
    (lambda m: laws.looking_changes_nothing(m, BATCH), replaces("reconstruct", _leaves_gradients)),
    (lambda m: laws.looking_changes_nothing(m, BATCH), replaces("report", lambda m, old: lambda data: m.train())),
    (
        laws.players_partition_the_parameters,
        replaces("players", lambda m, old: lambda: {"a": [*m.encoder.parameters()]}),
    ),
    (
        laws.players_partition_the_parameters,
        replaces("players", lambda m, old: lambda: {"a": old()["model"], "b": [*m.encoder.parameters()]}),
    ),
    (training(laws.each_turn_moves_its_own_player), replaces("train_step", _moves_the_other)),
    (training(laws.every_parameter_learns), _stop_one_parameter),
    (
        lambda m: laws.examples_do_not_see_each_other(m, BATCH, TRAINED.batch(8, seed=2000)),
        replaces("_posterior", _sees_the_batch),
    ),
    (rebuilt, replaces("sample", lambda m, old: lambda n: 1 - old(n))),
    (
        lambda m: laws.objective_is_the_training_loss(m, BATCH),
        replaces("objective", lambda m, old: lambda b: -m.log_prob(b.x)),
    ),
    (lambda m: laws.objective_is_the_training_loss(m, BATCH), replaces("_annealed", lambda m, old: lambda *a: 0.5)),
    (lambda m: laws.objective_reaches(m, BATCH, 3.0), lambda m: None),
    (
        lambda m: laws.latents_decode(m, m.space),
        replaces("decode", lambda m, old: lambda z, y: torch.bernoulli(old(z, y))),
    ),
    (lambda m: laws.latents_decode(m, m.space), replaces("decode", lambda m, old: lambda z, y: old(z - z.mean(0), y))),
    (
        lambda m: laws.codes_reconstruct(m, BATCH),
        replaces("encode", lambda m, old: lambda x, y: torch.randn(8, 2) + old(x, y)),
    ),
    (
        lambda m: laws.codes_reconstruct(m, BATCH),
        replaces("reconstruct", lambda m, old: lambda x, y: m.observation.sample(old(x, y).logit()[:, None]).float()),
    ),
    (laws.pictures_show_the_samples, replaces("picture", lambda m, old: lambda n: old(n) * 0.5)),
    (
        lambda m: likelihood_laws.bound_lies_below_and_rises(m, BATCH),
        replaces("log_prob", lambda m, old: lambda *a, **k: old(*a, **k) + 0.5),
    ),
    (lambda m: likelihood_laws.bound_lies_below_and_rises(m, BATCH), replaces("_bound", _uses_the_mean_of_log_weights)),
    (lambda m: likelihood_laws.bound_lies_below_and_rises(m, BATCH), replaces("_weights", _flips_the_kl)),
    (lambda m: likelihood_laws.elbo_terms_hold(m, BATCH), replaces("_weights", _flips_the_kl)),
    (
        lambda m: likelihood_laws.elbo_terms_hold(m, BATCH),
        replaces("report", lambda m, old: lambda d: {**old(d), "elbo": old(d)["reconstruction"] + old(d)["kl"]}),
    ),
    (lambda m: likelihood_laws.gradient_is_unbiased(m, BATCH), replaces("_draw", _has_the_wrong_std)),
]

LABEL_CASES: list[tuple[Callable[[Any], None], Fault]] = [
    (
        lambda m: likelihood_laws.labels_matter(m, BATCH),
        replaces("_outputs", lambda m, old: lambda z, y: old(z, 0 * y)),
    ),
    (
        lambda m: likelihood_laws.labels_matter(m, BATCH),
        replaces("_posterior", lambda m, old: lambda x, y: old(x, 0 * y)),
    ),
    (
        lambda m: likelihood_laws.unlabelled_log_prob_is_the_mixture(m, BATCH),
        replaces("log_prob", lambda m, old: lambda x, y=None, draws=1: old(x, m.draw_labels(len(x)), draws=draws)),
    ),
    (
        likelihood_laws.labels_are_drawn_by_frequency,
        replaces("draw_labels", lambda m, old: lambda n: torch.multinomial(ONES, n, replacement=True)),
    ),
    (
        likelihood_laws.labels_are_drawn_by_frequency,
        replaces("labels", lambda m, old: lambda n, y: torch.zeros(n, dtype=torch.int64) if y is None else y),
    ),
]


def ids(case: object) -> str:
    return getattr(case, "__name__", "law").strip("<>")


@pytest.mark.parametrize(
    ("subject", "law", "fault"),
    [(TRAINED, *case) for case in CASES] + [(LABELLED, *case) for case in LABEL_CASES],
    ids=ids,
)
def test_law_catches_its_fault(subject, law, fault):
    model = subject.model()
    with fork(0):
        fault(model)
        with pytest.raises(AssertionError):
            law(model)


def test_sound_models_pass_the_laws_the_faults_are_planted_against():
    """No case above raises by mistake: without the fault its law holds."""
    for subject, cases in ((TRAINED, CASES), (LABELLED, LABEL_CASES)):
        for law, fault in cases:
            if law is not rebuilt and fault.__name__ != "<lambda>":
                with fork(0):
                    law(subject.model())


def test_bound_law_catches_a_wrong_kl(monkeypatch):
    kl = gaussians.kl
    monkeypatch.setattr(gaussians, "kl", lambda mu, log_var: 2 * kl(mu, log_var))
    with pytest.raises(AssertionError):
        likelihood_laws.elbo_terms_hold(TRAINED.model(), BATCH)


@pytest.mark.parametrize(
    "fault",
    [
        lambda m: setattr(m.observation, "log_volume", 0.0),  # the density of standardised data is not that of the data
        lambda m: nn.init.zeros_(m.encoder.body.layers[0].bias),
    ],
    ids=["jacobian", "posterior"],
)
def test_gaussian_law_catches_its_fault(fault):
    model, exact = linear_gaussian()
    fault(model)
    with pytest.raises(AssertionError):
        likelihood_laws.equals_a_gaussian(model, exact, 1)
