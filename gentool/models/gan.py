"""Generative adversarial networks: a generator of samples against a critic that tells them from data."""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from typing_extensions import TypedDict

from gentool import nn as networks
from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer, Pass
from gentool.nn.settling import settle, still
from gentool.probability import adversarial
from gentool.space import DataSpace

BATCH, SETTLING = 64, 32
"""Samples a batch, and batches, from which the generator's batch norm takes its statistics after training."""


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        temperature: standard deviation of the latent; 1 is the model's own.
    """

    temperature: NonNegativeFloat


SAMPLER: Sampler = {"temperature": 1.0}


class GAN(GenerativeModel):
    """x = G(z), z ~ N(0, I), where G plays against a critic f: Algorithm 1 of the paper.

    A training step is k steps of f up `objective.value` - weight * penalty, then one of G down `objective.cost`; both
    see x in model space: integer levels in [-1, 1], reals standardised.

    Args:
        space: the data's facts.
        latent_dim: dimensions of z, 1 or more.
        objective: minimax, non_saturating, least_squares, hinge or wasserstein.
        penalty: on the norm of the critic's gradient: one_centred or zero_centred (between data and samples), r1 (at
            data) or none.
        penalty_weight: weight of the penalty, 0 or more.
        weight_clip: largest |weight| of the critic, > 0, as in the first Wasserstein GAN; None: no clipping.
        critic_steps: critic steps per generator step, 1 or more.
        packing: examples that the critic judges together (PacGAN), 1 to 64; several show it mode collapse.
        conditional: whether G and f are given the label, f by projection.
        generator: builds G: (space, latent_dim, classes) -> network of (z, y).
        critic: builds f: (space, packing, classes) -> network of (x, y), one number an example.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where options do not fit the data or each other.

    Reference: Generative Adversarial Networks, Ian Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661; PacGAN:
        The power of two samples in generative adversarial networks, Zinan Lin, Ashish Khetan, Giulia Fanti and
        Sewoong Oh, 2017, https://arxiv.org/abs/1712.04086
    """

    def __init__(
        self,
        space: DataSpace,
        *,
        latent_dim: PositiveInt = 64,
        objective: adversarial.Name = "non_saturating",
        penalty: adversarial.Penalty = "none",
        penalty_weight: NonNegativeFloat = 10.0,
        weight_clip: PositiveFloat | None = None,
        critic_steps: PositiveInt = 1,
        packing: Annotated[int, Field(ge=1, le=64)] = 1,
        conditional: bool = False,
        generator: Callable[..., nn.Module] = networks.generator,
        critic: Callable[..., nn.Module] = networks.critic,
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        self.condition(conditional)
        if space.vocabulary:
            raise UsageError("a critic's gradient reaches the generator through x, and the symbols of text have none")
        if conditional and packing > 1:
            raise UsageError(f"model.packing={packing} needs model.conditional=false: a pack has no label of its own")
        self.latent_dim, self.critic_steps, self.packing = latent_dim, critic_steps, packing
        self.penalty, self.penalty_weight, self.weight_clip = penalty, penalty_weight, weight_clip
        self.game = adversarial.objective_for(objective)
        classes = space.classes if conditional else 0
        self.generator = generator(space, latent_dim, classes)
        self.critic = critic(space, packing, classes)
        self._settle(1)
        # Batch norm is to see data and samples apart, as the paper of DCGAN has it; other critics are faster with both.
        self.sees_both = not any(isinstance(layer, nn.BatchNorm2d) for layer in self.critic.modules())
        if penalty != "none" and not self.sees_both:
            raise UsageError(
                f"model.penalty={penalty} needs model.critic.batch_norm=false: it is on each example's own gradient"
            )

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Return the two players' parameters."""
        return {"critic": list(self.critic.parameters()), "generator": list(self.generator.parameters())}

    def averaged(self) -> list[nn.Parameter]:
        """Return the generator's parameters: the critic's average would judge nobody."""
        return list(self.generator.parameters())

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take k steps of the critic, then one of the generator."""
        critic: Metrics = {}
        for _ in range(self.critic_steps):
            critic = optimizers.minimize("critic", self.critic_loss, batches)
            if self.weight_clip is not None:
                adversarial.clip_weights(self.critic.parameters(), self.weight_clip)
        return {**critic, **optimizers.minimize("generator", self.generator_loss, batches)}

    def critic_loss(self, batch: Batch) -> Loss:
        """Return -value + weight * penalty, with samples as they are: no gradient reaches the generator.

        Args:
            batch: the examples.

        Returns:
            total; and the terms value, accuracy (share of pairs ranked rightly) and, where there is one, penalty.
        """
        y = batch.y if self.conditional else None
        with torch.no_grad():
            fake = self._packed(self._generate(self._latent(len(batch.x)), y))
        real = self._packed(self.space.to_model(batch.x))
        f_real, f_fake = self._judge_both(real, fake, y)
        value = self.game.value(f_real, f_fake)
        terms = {"value": value.detach(), "accuracy": adversarial.ranking_accuracy(f_real, f_fake).detach()}
        if self.penalty == "none":
            return Loss(-value, terms)
        penalty = adversarial.penalty_of(self.penalty, lambda x: self.critic(x, y), real, fake)
        return Loss(self.penalty_weight * penalty - value, {**terms, "penalty": penalty.detach()})

    def generator_loss(self, batch: Batch) -> Loss:
        """Return the generator's cost of as many samples as the batch has examples, with its labels."""
        y = batch.y if self.conditional else None
        return Loss(self.game.cost(self.critic(self._packed(self._generate(self._latent(len(batch.x)), y)), y)), {})

    def _judge_both(self, real: Tensor, fake: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.sees_both:
            return self.critic(real, y), self.critic(fake, y)
        both = None if y is None else y.repeat(2)
        f_real, f_fake = self.critic(torch.cat([real, fake]), both).chunk(2)
        return f_real, f_fake

    def _packed(self, x: Tensor) -> Tensor:
        """Put every `packing` examples (batch, *shape) behind each other along the first axis of x."""
        if self.packing == 1:
            return x
        if len(x) % self.packing:
            raise UsageError(f"model.packing={self.packing}: trainer.batch_size={len(x)} is no multiple of it")
        return x.reshape(-1, self.packing * x.shape[1], *x.shape[2:])

    def _latent(self, n: int) -> Tensor:
        return torch.randn(n, self.latent_dim, device=next(self.parameters()).device)

    def _generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Return G(z) in model space, with its gradient."""
        x: Tensor = self.generator(z, y)
        return x

    def finish(self, data: Pass) -> None:
        """Measure the statistics of the generator's batch norm on the weights as they now are, averaged or not."""
        self._settle(SETTLING)

    def _settle(self, times: int) -> None:
        settle(self.generator, lambda: self._generate(self._latent(BATCH), self.labels(BATCH, None)), times)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw z, and map it to data: integer levels are the nearest."""
        y = self.labels(n, y)
        return self.space.quantise(self.decode(self.sample_latent(n), y))

    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, latent_dim) from the prior at the sampler's temperature."""
        return self._latent(n) * float(self.sampler["temperature"])

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (n, *space.shape) float, G(z) in data space; y=None of a conditional model draws labels."""
        with still(self.generator):
            return self.space.to_data(self._generate(z, self.labels(len(z), y)))

    def fields(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return the critic f, and where it is one the discriminator, at points in data space.

        Of packs of examples the critic sees copies of one; of a conditional model it is the mean over the labels.
        """
        found: dict[str, Callable[[Tensor], Tensor]] = {"critic": self._critic_at}
        if self.game.is_discriminator:
            found["discriminator"] = lambda x: self._critic_at(x).sigmoid()
        return found

    def _critic_at(self, x: Tensor) -> Tensor:
        v = self.space.to_model(x).repeat(1, self.packing, *[1] * (x.dim() - 2))
        with still(self.critic):
            if not self.conditional:
                out: Tensor = self.critic(v, None)
                return out
            every = [self.critic(v, torch.full((len(x),), c, device=x.device)) for c in range(self.space.classes)]
        return self.space.frequencies.to(x.device) @ torch.stack(every)
