"""The learned mixture prior: held against quadrature and torch's own mixture, and the faults those laws are for."""

import pytest
import torch

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.vae import VAE
from gentool.probability.priors import Mixture
from gentool.training.rng import fork
from tests.laws import laws, likelihood_laws
from tests.laws.subjects import Subject, build, endless, minimizer

MIXTURE = ("model.prior=mixture", "model.components=3")
SUBJECTS = [Subject("vae", "points", 20, MIXTURE), Subject("vae", "binary", 20, MIXTURE)]
over = pytest.mark.parametrize("subject", SUBJECTS, ids=str)


def of(subject: Subject) -> tuple[VAE, Batch]:
    model = subject.model()
    assert isinstance(model, VAE)
    assert torch.cdist(model.prior.means, model.prior.means).max() > 0.5, "its components are apart"
    with torch.no_grad():  # a proposal as wide as the prior, of which few draws are enough
        model.encoder.body.layers[-1].bias[2:] += 1.5
    return model, subject.batch(4)


@over
def test_bound_lies_below_the_quadrature_and_rises(subject):
    likelihood_laws.bound_lies_below_and_rises(*of(subject), enough=4000)


@over
def test_elbo_terms_hold(subject):
    likelihood_laws.elbo_terms_hold(*of(subject))


@over
def test_laws_of_every_model_hold(subject):
    model, batch = of(subject)
    laws.samples_lie_in_the_space(model)
    laws.same_seed_same_sample(model)
    laws.looking_changes_nothing(model, batch)
    laws.objective_is_the_training_loss(model, batch)
    laws.latents_decode(model, model.space)
    laws.pictures_show_the_samples(model)
    rebuilt = lambda space: build(subject.name, subject.data, *subject.overrides, seed=9)  # noqa: E731
    laws.saving_and_loading_keeps_samples(model, rebuilt)


def test_every_parameter_of_the_prior_learns():
    model = SUBJECTS[0].model()
    laws.every_parameter_learns(model, endless("points"), lambda kind: minimizer("vae", model, 10, kind))


@pytest.mark.parametrize(
    "fault",
    [
        lambda p: lambda z: Mixture.log_prob(p, z) + 0.4,
        lambda p: lambda z: Mixture.log_prob(p, z) - p.logits.log_softmax(0).logsumexp(0) + p.logits.logsumexp(0),
        lambda p: lambda z: -0.5 * z.square().sum(-1) - torch.tensor(2 * torch.pi).log(),
    ],
    ids=["scaled", "weights that do not sum to 1", "another prior than it draws from"],
)
def test_the_quadrature_catches_a_wrong_prior(fault):
    model, batch = of(SUBJECTS[0])
    with fork(0):
        model.prior.__dict__["log_prob"] = fault(model.prior)
        with pytest.raises(AssertionError):
            likelihood_laws.bound_lies_below_and_rises(model, batch, enough=4000)


def test_draws_have_the_moments_of_the_density():
    model, _ = of(SUBJECTS[0])
    with fork(0):
        z = model.sample_latent(50_000).double()
    w, mu, sigma = model.prior.logits.softmax(0).double(), model.prior.means.double(), model.prior.log_sigmas.exp()
    mean = w @ mu
    torch.testing.assert_close(z.mean(0), mean.detach(), atol=0.03, rtol=0)
    second = w @ (mu**2 + sigma.double() ** 2)
    torch.testing.assert_close(z.square().mean(0), second.detach(), rtol=0.03, atol=0)


def test_temperature_narrows_the_components_and_keeps_their_means():
    model, _ = of(SUBJECTS[0])
    model.sampler["temperature"] = 0.0
    with fork(0):
        z = model.sample_latent(100)
    assert torch.cdist(z, model.prior.means).min(1).values.max() < 1e-6
    assert len(z.unique(dim=0)) == 3


def test_free_bits_are_refused_with_the_reason():
    with pytest.raises(UsageError, match="no dimension has a KL"):
        build("vae", "points", *MIXTURE, "model.free_bits=0.1")
