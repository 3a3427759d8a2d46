"""VAE-GAN: a variational autoencoder whose measure of likeness is learned by a critic."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from gentool import nn as networks
from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer
from gentool.models.gan import Sampler
from gentool.nn import Network
from gentool.nn.linear import Linear
from gentool.nn.settling import still
from gentool.probability import adversarial, gaussians
from gentool.space import DataSpace

SAMPLER: Sampler = {"temperature": 1.0}


class VAEGAN(GenerativeModel):
    """x = G(z), z ~ N(0, I), with q(z | x) = N(mu(x), sigma²(x)) and a critic f = psi(phi(x)).

    Three players move together, in one graph: likeness = ‖phi(x) - phi(G(z))‖² / 2 with z ~ q(z | x), and `value` and
    `cost` are of the samples G(z) of both q(z | x) and the prior:
    encoder: likeness + beta KL(q || N(0, I)); decoder: likeness_weight * likeness + cost; critic: -value.

    Args:
        space: the data's facts.
        latent_dim: dimensions of z, 1 or more.
        objective: of critic and decoder: minimax, non_saturating, least_squares, hinge or wasserstein.
        beta: weight of the KL in the encoder's loss, 0 or more.
        likeness_weight: weight of the likeness in the decoder's loss, 0 or more; less makes samples look more like
            data, more makes reconstructions closer to the input.
        features: critic features in which likeness is measured, 1 or more.
        encoder: builds the network of q(z | x): (space, outputs, classes) -> Network.
        decoder: builds G: (space, latent_dim, classes) -> network of (z, y).
        critic: builds phi: (space, outputs, classes) -> Network.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where options do not fit the data.

    Reference: Autoencoding beyond pixels using a learned similarity metric, Anders Boesen Lindbo Larsen et al., 2015,
        https://arxiv.org/abs/1512.09300
    """

    def __init__(
        self,
        space: DataSpace,
        *,
        latent_dim: PositiveInt = 16,
        objective: adversarial.Name = "non_saturating",
        beta: NonNegativeFloat = 1.0,
        likeness_weight: NonNegativeFloat = 0.1,
        features: PositiveInt = 64,
        encoder: Callable[..., Network] = partial(networks.encoder, kind="auto", hidden_features=(256,)),
        decoder: Callable[..., nn.Module] = partial(
            networks.generator, kind="auto", hidden_features=(256, 256), hidden_channels=(32, 64, 128)
        ),
        critic: Callable[..., Network] = partial(
            networks.encoder, kind="auto", hidden_features=(256,), activation="leaky_relu"
        ),
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        if space.vocabulary:
            raise UsageError("a critic's gradient reaches the decoder through x, and the symbols of text have none")
        self.latent_dim, self.beta, self.likeness_weight, self.features = latent_dim, beta, likeness_weight, features
        self.game = adversarial.objective_for(objective)
        self.encoder = encoder(space, 2 * latent_dim, 0)
        self.decoder = decoder(space, latent_dim, 0)
        self.phi = critic(space, features, 0)
        self.psi = Linear(features, 1, bias=False)
        nn.init.normal_(self.psi.weight, std=features**-0.5)

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Return the three players' parameters."""
        return {
            "encoder": list(self.encoder.parameters()),
            "decoder": list(self.decoder.parameters()),
            "critic": [*self.phi.parameters(), *self.psi.parameters()],
        }

    def averaged(self) -> list[nn.Parameter]:
        """Return the parameters of encoder and decoder."""
        return [*self.encoder.parameters(), *self.decoder.parameters()]

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step of each player, all from one graph."""
        return optimizers.minimize_together(["encoder", "decoder", "critic"], self.losses, batches)

    def losses(self, batch: Batch) -> Mapping[str, Loss]:
        """Return what each player minimises.

        Args:
            batch: the examples.

        Returns:
            For the encoder the terms likeness and kl (nats an example), for the critic value and accuracy.
        """
        x = self.space.to_model(batch.x)
        mu, log_var = self._posterior(x)
        z = torch.cat([mu + (0.5 * log_var).exp() * torch.randn_like(mu), torch.randn_like(mu)])
        phi = self.phi(torch.cat([x, self.decoder(z, None)]), None)
        f_real, f_fake = self._judge(phi[: len(x)]), self._judge(phi[len(x) :])
        likeness = 0.5 * (phi[: len(x)] - phi[len(x) : 2 * len(x)]).square().sum(1).mean()
        kl = gaussians.kl(mu, log_var).sum(1).mean()
        value = self.game.value(f_real, f_fake)
        accuracy = adversarial.ranking_accuracy(f_real, f_fake[: len(x)])
        return {
            "encoder": Loss(likeness + self.beta * kl, {"likeness": likeness.detach(), "kl": kl.detach()}),
            "decoder": Loss(self.likeness_weight * likeness + self.game.cost(f_fake), {}),
            "critic": Loss(-value, {"value": value.detach(), "accuracy": accuracy.detach()}),
        }

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the log variance of q(z | x), of x in model space."""
        mu, log_var = self.encoder(x, None).chunk(2, 1)
        return mu, log_var

    def _judge(self, phi: Tensor) -> Tensor:
        out: Tensor = self.psi(phi).squeeze(1)
        return out

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw z, and map it to data: integer levels are the nearest."""
        return self.space.quantise(self.decode(self.sample_latent(n)))

    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, latent_dim) from the prior at the sampler's temperature."""
        return torch.randn(n, self.latent_dim, device=self.psi.weight.device) * float(self.sampler["temperature"])

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (n, *space.shape) float, G(z) in data space."""
        with still(self.decoder):
            return self.space.to_data(self.decoder(z, None))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch, latent_dim), the posterior's mean."""
        return self._posterior(self.space.to_model(x))[0]

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return G at the posterior's mean, float, in data space."""
        return self.decode(self.encode(x))

    def fields(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return the critic f at points in data space, and where it is one the discriminator."""

        def critic(x: Tensor) -> Tensor:
            return self._judge(self.phi(self.space.to_model(x), None))

        found: dict[str, Callable[[Tensor], Tensor]] = {"critic": critic}
        if self.game.is_discriminator:
            found["discriminator"] = lambda x: critic(x).sigmoid()
        return found
