"""Every configured flow is held to the laws of flows; and the laws to faults planted in them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import linear

from gentool.models.flow import Flow
from gentool.nn import masked
from gentool.probability import dequantise as levels
from gentool.probability.transforms import actnorm, coupling, invertible_linear, prior, squeeze
from gentool.training.rng import fork
from tests.laws import flow_laws, laws
from tests.laws.subjects import TINY, Subject, build, endless, minimizer, subjects

FLOWS = subjects(of=Flow)
LEARNED = ("model.dequantisation=variational",)
NOISY = [replace(s, overrides=LEARNED) for s in FLOWS if s.data != "points" and s.steps]
LABELLED = [subject for subject in subjects("conditional", of=Flow) if subject.steps]
NAMES = sorted({subject.name for subject in FLOWS})
each = pytest.mark.parametrize("subject", FLOWS + NOISY + LABELLED, ids=str)


@each
@pytest.mark.parametrize(
    "law",
    [
        flow_laws.decodes_what_it_encodes,
        flow_laws.log_det_is_the_jacobians,
        flow_laws.inverse_has_minus_the_log_det,
    ],
    ids=lambda law: law.__name__,
)
def test_is_invertible(subject, law):
    law(subject.model(), subject.batch(6))


@pytest.mark.parametrize("subject", [s for s in FLOWS if s.data != "points"] + NOISY, ids=str)
def test_draws_average_probabilities(subject):
    flow_laws.draws_average_probabilities(subject.model(), subject.batch(4))


@pytest.mark.parametrize("name", [name for name in NAMES if "binary" not in TINY[name]["refused"]])
@pytest.mark.parametrize(("steps", "overrides"), [(0, ()), (20, ()), (20, LEARNED)])
def test_levels_have_the_mass_of_their_cells(name, steps, overrides):
    flow_laws.levels_have_the_mass_of_their_cells(Subject(name, "states", steps, overrides).model())


@pytest.mark.parametrize("subject", NOISY, ids=str)
def test_learned_noise_keeps_the_laws_of_every_model(subject):
    model = subject.model()
    laws.looking_changes_nothing(model, subject.batch())
    laws.examples_do_not_see_each_other(model, subject.batch(), subject.batch(seed=2000))
    with fork(0):
        laws.every_parameter_learns(model, endless(subject.data), lambda kind: minimizer(subject.name, model, 10, kind))


@pytest.mark.parametrize("subject", [s for s in FLOWS if not s.steps], ids=str)
def test_actnorm_is_fitted_once(subject):
    model = build(subject.name, subject.data)
    flow_laws.actnorm_is_fitted_once(model, subject.batch(64), subject.batch(64, seed=2000))


@pytest.mark.parametrize("subject", [s for s in FLOWS if s.steps], ids=str)
def test_temperature_is_the_noises(subject):
    flow_laws.temperature_is_the_noises(subject.model())


@pytest.mark.parametrize("subject", LABELLED, ids=str)
def test_labels(subject):
    flow_laws.labels_matter(subject.model(), subject.batch(6))
    flow_laws.unlabelled_log_prob_is_the_mixture(subject.model(), subject.batch(6))


GREY, POINTS = Subject("glow", "grey", 20), Subject("realnvp", "points", 20)
LEARNING = Subject("glow", "states", 20, LEARNED)
MASKED = Subject("maf", "points", 20)
STATES, CLASSES = Subject("glow", "states", 20), Subject("glow", "grey", 20, ("model.conditional=true",))


def negated(old: Callable[..., Any]) -> Callable[..., Any]:
    """The log-determinant with the other sign."""

    def wrong(self: Any, x: Any, y: Any = None) -> Any:
        out, log_det = old(self, x, y)
        return out, -log_det

    return wrong


def once(old: Callable[..., Any]) -> Callable[..., Any]:
    """The log-determinant of one position, not of all."""

    def wrong(self: Any, x: Any, y: Any = None) -> Any:
        out, log_det = old(self, x, y)
        return out, log_det / max(1, x[0, 0].numel())

    return wrong


def unlabelled(old: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, x, y=None: old(self, x, None if y is None else 0 * y)


def jacobian(subject: Subject) -> None:
    flow_laws.log_det_is_the_jacobians(subject.model(), subject.batch(4))


def inverse(subject: Subject) -> None:
    flow_laws.inverse_has_minus_the_log_det(subject.model(), subject.batch(4))


def round_trip(subject: Subject) -> None:
    flow_laws.decodes_what_it_encodes(subject.model(), subject.batch(4))


def mass(subject: Subject) -> None:
    flow_laws.levels_have_the_mass_of_their_cells(subject.model())


def averaged(subject: Subject) -> None:
    flow_laws.draws_average_probabilities(subject.model(), subject.batch(4))


def fitted(subject: Subject) -> None:
    flow_laws.actnorm_is_fitted_once(build(subject.name, subject.data), subject.batch(64), subject.batch(64, seed=2000))


def cold(subject: Subject) -> None:
    flow_laws.temperature_is_the_noises(subject.model())


def labels(subject: Subject) -> None:
    flow_laws.labels_matter(subject.model(), subject.batch(6))


def mixture(subject: Subject) -> None:
    flow_laws.unlabelled_log_prob_is_the_mixture(subject.model(), subject.batch(6))


def no_constant(old: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *a: (old(*a)[0], 0 * old(*a)[1])


def refits(old: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(self: Any, x: Any) -> None:
        self.fitted.fill_(False)
        old(self, x)

    return wrong


def fits_unasked(old: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(self: Any, x: Any, y: Any = None) -> Any:
        self._fit(x)
        return old(self, x, y)

    return wrong


def too_near(old: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, z, y: old(self, 0.7 * z, y)


def reversed_channels(old: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, x, y=None: old(self, x.flip(1))


def any_label(old: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, v, log_det, y: old(self, v, log_det, self.draw_labels(len(v)) if y is None else y)


def mean_of_logs(old: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, x, y=None, draws=1: torch.stack([old(self, x, y) for _ in range(draws)]).mean(0)


def unmasked(old: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, x, mask, blocks, label: linear(x, self.weight, self.bias)


FAULTS: list[tuple[Callable[[Subject], None], Subject, Any, str, Callable[..., Any]]] = [
    (jacobian, POINTS, coupling.AffineCouplings, "forward_and_log_det", negated),
    (jacobian, POINTS, actnorm.ActNorm, "forward_and_log_det", negated),
    (jacobian, GREY, actnorm.ActNorm, "forward_and_log_det", once),
    (jacobian, GREY, invertible_linear.InvertibleLinear, "forward_and_log_det", once),
    (jacobian, GREY, prior.LearnedPrior, "forward_and_log_det", negated),
    (jacobian, GREY, levels, "dequantise", no_constant),
    (inverse, GREY, invertible_linear.InvertibleLinear, "inverse_and_log_det", once),
    (inverse, GREY, coupling.AffineCouplings, "inverse_and_log_det", negated),
    (round_trip, GREY, actnorm.ActNorm, "inverse_and_log_det", lambda old: lambda self, x, y=None: old(self, 1.01 * x)),
    (round_trip, GREY, squeeze.Squeeze, "inverse_and_log_det", reversed_channels),
    (jacobian, MASKED, masked.MaskedLinear, "forward", unmasked),
    (round_trip, MASKED, masked.MaskedLinear, "forward", unmasked),
    (mass, STATES, Flow, "_leave", too_near),
    (averaged, GREY, Flow, "log_prob", lambda old: lambda self, x, y=None, draws=1: old(self, x, y)),
    (averaged, GREY, Flow, "log_prob", mean_of_logs),
    (averaged, GREY, Flow, "_noise", lambda old: lambda self, x: (0.5, 0.0)),
    (mass, LEARNING, levels.VariationalNoise, "forward", no_constant),
    (fitted, GREY, actnorm.ActNorm, "_fit", refits),
    (fitted, GREY, actnorm.ActNorm, "_fit", lambda old: lambda self, x: old(self, 2 * x)),
    (fitted, GREY, actnorm.ActNorm, "_fit", lambda old: lambda self, x: None),
    (fitted, GREY, actnorm.ActNorm, "forward_and_log_det", fits_unasked),
    (cold, GREY, Flow, "sample_latent", lambda old: lambda self, n: torch.randn(n, self.space.dims)),
    (labels, CLASSES, Flow, "_leave", unlabelled),
    (mixture, CLASSES, Flow, "_any_label", any_label),
]


@pytest.mark.parametrize(("law", "subject", "owner", "name", "fault"), FAULTS)
def test_law_catches_its_fault(law, subject, owner, name, fault, monkeypatch):
    law(subject)  # sound models pass
    old = getattr(owner, name)
    monkeypatch.setattr(owner, name, fault(old))
    if owner is levels:  # the model imports the function
        monkeypatch.setattr("gentool.models.flow.dequantise", fault(old))
    with pytest.raises(AssertionError):
        law(subject)
