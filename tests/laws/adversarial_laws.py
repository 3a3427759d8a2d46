"""Laws of adversarial models: samples get the data's moments, a turn reaches its own player, gains are held at 1."""

from collections.abc import Iterator

import torch
from torch import nn

from gentool.batch import Batch
from gentool.models.base import GenerativeModel
from gentool.models.gan import GAN
from gentool.nn.spectral import Spectral
from gentool.training.rng import fork

MEAN, FACTOR = torch.tensor([1.5, 0.0]), torch.tensor([[2.0, 0.0], [1.0, 1.0]])
TOLERANCE = 0.25  # in units of the largest deviation: a game is noisier than a likelihood
DRAWS = 4000


def gaussian(seed: int = 1, n: int = 128) -> Iterator[Batch]:
    """Yield batches of N(MEAN, FACTOR FACTOR') for ever."""
    g = torch.Generator().manual_seed(seed)
    while True:
        x = MEAN + torch.randn(n, 2, generator=g) @ FACTOR.T
        yield Batch(x, torch.arange(n) % 2, torch.arange(n))


def samples_have_the_moments(model: GenerativeModel) -> None:
    """Held against a model trained on `gaussian`."""
    with fork(5):
        x = model.sample(DRAWS)
    scale = FACTOR.norm(dim=1).max()
    gap = ((x.mean(0) - MEAN) / scale).abs().max().item()
    assert gap < TOLERANCE, f"the mean is {gap:.2f} deviations off"
    gap = ((x.T.cov() - FACTOR @ FACTOR.T) / scale**2).abs().max().item()
    assert gap < TOLERANCE, f"the covariance is {gap:.2f} variances off"


def turns_reach_their_player(model: GAN, batch: Batch) -> None:
    """The critic's loss has no gradient in the generator, which is detached; the generator's has one in all of it."""
    model.train()
    for loss, reached, spared in (
        (model.critic_loss, model.critic, model.generator),
        (model.generator_loss, model.generator, None),
    ):
        model.zero_grad()
        loss(batch).total.backward()
        assert all(p.grad is not None for p in reached.parameters()), "a player's own loss does not reach it"
        assert spared is None or all(p.grad is None for p in spared.parameters()), "the samples were not detached"
    model.zero_grad()


def value_is_what_is_minimised(model: GAN, batch: Batch) -> None:
    """critic's loss = weight * penalty - value, with both as they are logged, and accuracy a share."""
    model.train()
    with fork(3):
        loss = model.critic_loss(batch)
    penalty = loss.terms.get("penalty", torch.zeros(()))
    torch.testing.assert_close(loss.total.detach(), model.penalty_weight * penalty - loss.terms["value"])
    assert 0 <= loss.terms["accuracy"] <= 1
    assert all(not t.requires_grad and t.dim() == 0 for t in loss.terms.values()), "terms are detached scalars"


def gains_are_held(model: GAN, batch: Batch) -> None:
    """Every layer of a spectrally normalised critic has gain 1, once its estimates have caught up with the last step.

    They are followed in training, and evaluation moves none of them.
    """
    layers = [m for m in model.critic.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)]
    model.train()
    with torch.no_grad():
        for _ in range(30):
            model.critic_loss(batch)
    model.eval()
    before = {name: b.clone() for name, b in model.critic.named_buffers()}
    for layer in layers:
        sigma = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item()
        assert abs(sigma - 1) < 0.05, f"a layer has gain {sigma:.3f}"
    with torch.no_grad():
        model.critic_loss(batch)
    assert all(torch.equal(b, before[name]) for name, b in model.critic.named_buffers()), "evaluation moved an estimate"
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original += torch.randn_like(layer.weight)
    model.train().critic_loss(batch)
    moved = {name.rpartition(".")[0] for name, b in model.critic.named_buffers() if not torch.equal(b, before[name])}
    assert len(moved) == len(layers), "training does not follow the weights"  # a single output has u = 1 for ever


def every_layer_is_normalised(model: GAN) -> None:
    """No linear, convolutional or embedding layer of the critic is left out."""
    layers = [m for m in model.critic.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)]
    estimates = [m for m in model.critic.modules() if isinstance(m, Spectral)]
    assert len(estimates) == len(layers), "a layer is not normalised"
