"""In Python a model needs no more than the space of its data; networks and options have defaults."""

import pytest

from gentool.models.autoencoder import Autoencoder
from gentool.models.base import GenerativeModel
from gentool.models.diffusion import Diffusion
from gentool.models.energy import EnergyModel
from gentool.models.flow_matching import FlowMatching
from gentool.models.gan import GAN
from gentool.models.gaussian import Gaussian
from gentool.models.mixture import Mixture
from gentool.models.ngram import NGram
from gentool.models.vae import VAE
from gentool.models.vae_gan import VAEGAN
from gentool.models.vq_vae import VQVAE
from tests.models.on_digits import DIGITS

ALL = (Autoencoder, Diffusion, EnergyModel, FlowMatching, GAN, Gaussian, Mixture, NGram, VAE, VAEGAN, VQVAE)
LABELLED = [model for model in ALL if model not in (Gaussian, VAEGAN)]  # which are of the whole data alone


@pytest.mark.parametrize("model", ALL)
def test_the_space_is_enough(model):
    built = model(DIGITS)
    assert isinstance(built, GenerativeModel) and not built.conditional


@pytest.mark.parametrize("model", LABELLED)
def test_labels_are_one_word_more(model):
    assert model(DIGITS, conditional=True).conditional


def test_the_prior_of_codes_is_given_the_labels_that_the_model_is():
    assert VQVAE(DIGITS, conditional=True).prior.conditional
    assert not VQVAE(DIGITS).prior.conditional
