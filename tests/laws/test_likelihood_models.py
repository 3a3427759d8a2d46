"""Laws of models with a likelihood, a latent space or labels."""

import pytest
import torch

from gentool.batch import Batch
from gentool.models.base import Decodes, Encodes, HasLikelihood
from gentool.models.vae import VAE
from gentool.training.rng import fork
from tests.laws import laws, likelihood_laws
from tests.laws.linear_gaussian import linear_gaussian
from tests.laws.subjects import TINY, Subject, subjects


def few(subject: Subject) -> Batch:
    return subject.batch(4)


def of(subject: Subject, *capabilities: type) -> torch.nn.Module:
    model = subject.model()
    if not all(isinstance(model, capability) for capability in capabilities):
        pytest.skip(f"is no {' and '.join(c.__name__ for c in capabilities)}")
    return model


def converging(found: list[Subject]) -> list[Subject]:
    return [subject for subject in found if subject.data in likelihood_laws.CONVERGE]


decoding = pytest.mark.parametrize("subject", subjects(having="decode"), ids=str)
encoding = pytest.mark.parametrize("subject", subjects(having="encode"), ids=str)
variational = pytest.mark.parametrize("subject", subjects(of=VAE), ids=str)
labelled = pytest.mark.parametrize("subject", subjects("conditional"), ids=str)
labelled_vaes = pytest.mark.parametrize("subject", subjects("conditional", of=VAE), ids=str)


@decoding
def test_latents_decode(subject):
    laws.latents_decode(of(subject, Decodes), subject.model().space)


@encoding
def test_codes_reconstruct(subject):
    laws.codes_reconstruct(of(subject, Encodes), few(subject))


@decoding
def test_pictures_show_the_samples(subject):
    model = of(subject, HasLikelihood, Decodes)
    laws.pictures_show_the_samples(model)


@pytest.mark.parametrize("subject", converging(subjects(of=VAE)), ids=str)
def test_bound_lies_below_log_prob_and_rises_with_draws(subject):
    likelihood_laws.bound_lies_below_and_rises(of(subject, VAE), few(subject))


@variational
def test_elbo_terms_hold(subject):
    likelihood_laws.elbo_terms_hold(of(subject, VAE), few(subject))


@variational
def test_gradient_is_unbiased(subject):
    likelihood_laws.gradient_is_unbiased(of(subject, VAE), few(subject))


@labelled_vaes
def test_labels_matter(subject):
    likelihood_laws.labels_matter(of(subject, VAE), few(subject))


@labelled_vaes
def test_unlabelled_log_prob_is_the_mixture(subject):
    likelihood_laws.unlabelled_log_prob_is_the_mixture(of(subject, VAE), subject.batch(3))


@labelled
def test_labels_are_drawn_by_frequency(subject):
    likelihood_laws.labels_are_drawn_by_frequency(subject.model())


@labelled
def test_conditional_models_keep_the_laws_of_every_model(subject):
    model = subject.model()
    laws.samples_lie_in_the_space(model)
    if isinstance(model, Encodes):
        laws.codes_reconstruct(model, few(subject))
    laws.looking_changes_nothing(model, few(subject))
    laws.examples_do_not_see_each_other(model, subject.batch(8), subject.batch(8, seed=2000))
    if "new_examples" not in TINY[subject.name] and model.objective(few(subject)) is not None:
        laws.objective_is_the_training_loss(model, few(subject))


@pytest.mark.parametrize("draws", [1, 5, 100])
def test_linear_gaussian_is_exact(draws):
    likelihood_laws.equals_a_gaussian(*linear_gaussian(), draws)


def test_linear_gaussian_samples_have_its_moments():
    model, exact = linear_gaussian()
    with fork(0):
        x = model.sample(20000)
    torch.testing.assert_close(x.mean(0), exact.mean, atol=0.15, rtol=0)
    torch.testing.assert_close(x.T.cov(), exact.covariance_matrix, atol=0.7, rtol=0.03)


def test_linear_gaussian_with_a_wrong_posterior_gets_there_by_draws():
    model, exact = linear_gaussian()
    x = exact.sample((5,))
    with torch.no_grad():
        model.encoder.body.layers[0].bias[:2] += 0.3
        model.encoder.body.layers[0].bias[2:] += 0.7
    with fork(0):
        one = model.log_prob(x.repeat(200, 1)).mean().item()
        many = model.log_prob(x, draws=20000)
    truth = exact.log_prob(x)
    assert one < truth.mean().item() - 0.1
    torch.testing.assert_close(many, truth, atol=0.05, rtol=0)
