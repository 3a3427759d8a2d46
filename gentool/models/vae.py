"""Variational autoencoders: a Gaussian posterior over a latent, trained on a bound of log p(x)."""

from collections.abc import Callable, Iterator
from functools import partial
from math import log
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor
from typing_extensions import TypedDict

from gentool import nn as networks
from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer, Pass
from gentool.nn import Network
from gentool.probability import priors
from gentool.probability.ascent import refine
from gentool.probability.likelihoods import Name, Sigma, likelihood_for
from gentool.probability.per_example import PerExample
from gentool.probability.posterior import Posterior, summary
from gentool.space import DataSpace

CHUNK = 2**21  # decoder outputs held at a time while `log_prob` draws: 8 MB, so that memory does not grow with draws


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        mean: pictures show the mean of p(x | z) instead of a draw.
        temperature: standard deviation of the prior that z is drawn from; 1 is the model's own.
        steps: natural-gradient steps that each example's own q(z | x) is given wherever one is asked for.
    """

    mean: bool
    temperature: NonNegativeFloat
    steps: NonNegativeInt


SAMPLER: Sampler = {"mean": True, "temperature": 1.0, "steps": 0}


class VAE(GenerativeModel):
    """p(x) = ∫ p(z) p(x | z) dz, with q(z | x) = N(mu(x), sigma²(x)).

    One draw: total = -E_q[log p(x | z)] + beta sum_j max(free_bits, KL_j), the KL to a standard normal prior in closed
    form, to a mixture by the draw. k draws: total = -log (1/k) sum_i p(x | z_i) (p(z_i) / q(z_i | x))^beta. Free bits
    are per example, so that the objective of validation is the one of training.

    Args:
        space: the data's facts.
        latent_dim: dimensions of z, 1 or more; 2 can be drawn as a map (gentool latent).
        likelihood: p(x | z): bernoulli (2 levels), discretised_logistic or categorical (integer levels), gaussian
            (reals, or levels by the mass of their bins); auto: the first that fits.
        sigma: scale of gaussian and discretised_logistic: a number > 0 (1 is the data's standard deviation; images span
            2), learned (one number), per_pixel, or decoder (an output for each pixel).
        prior: p(z): normal (standard) or mixture (of Gaussians, learned with the rest).
        components: Gaussians in a mixture prior, 1 or more; a few more than the data has modes.
        beta: weight of the KL, 0 or more; 1 is the ELBO, more asks for a simpler code (beta-VAE).
        kl_warm_up: fraction of the training, 0 to 1, over which the KL's weight rises from 0; helps where latents stay
            unused.
        free_bits: nats per latent dimension that cost nothing, 0 or more; needs draws=1.
        draws: draws of z per example in training, 1 or more; more than 1 is the importance-weighted bound (IWAE).
        conditional: whether p(x | z, y) and q(z | x, y) depend on the label.
        encoder: builds the network of q(z | x): (space, outputs, classes) -> Network; or a table with one posterior per
            example.
        decoder: builds the network of p(x | z): (space, inputs, outputs_per_dim, classes) -> Network.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where options do not fit the data or each other.

    Reference: Auto-Encoding Variational Bayes, Kingma and Welling, 2013, https://arxiv.org/abs/1312.6114;
        Importance Weighted Autoencoders, Burda, Grosse and Salakhutdinov, 2015, https://arxiv.org/abs/1509.00519
    """

    likelihood: Literal["importance"] = "importance"

    def __init__(
        self,
        space: DataSpace,
        *,
        latent_dim: PositiveInt = 16,
        likelihood: Name = "auto",
        sigma: Sigma = "learned",
        prior: priors.Name = "normal",
        components: PositiveInt = 16,
        beta: NonNegativeFloat = 1.0,
        kl_warm_up: Annotated[float, Field(ge=0, le=1)] = 0.0,
        free_bits: NonNegativeFloat = 0.0,
        draws: PositiveInt = 1,
        conditional: bool = False,
        encoder: Callable[..., Network | PerExample] = networks.encoder,
        decoder: Callable[..., Network] = networks.decoder,
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        self.condition(conditional)
        if free_bits and draws > 1:
            raise UsageError(f"model.free_bits={free_bits} needs model.draws=1: the {draws}-draw bound has no KL term")
        if free_bits and prior == "mixture":
            raise UsageError(
                f"model.free_bits={free_bits} needs model.prior=normal: of a mixture no dimension has a KL"
            )
        self.latent_dim = latent_dim
        self.beta, self.kl_warm_up, self.free_bits, self.draws = beta, kl_warm_up, free_bits, draws
        classes = space.classes if conditional else 0
        self.observation = likelihood_for(space, likelihood, sigma)
        self.encoder = encoder(space, 2 * latent_dim, classes)
        self.decoder = decoder(space, latent_dim, self.observation.outputs_per_dim, classes)
        self.prior = priors.prior_for(prior, latent_dim, components)
        self.register_buffer("start", self.observation.start(), persistent=False)

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step down the bound, with the KL's weight of this step."""
        beta = self._annealed(optimizers.step, optimizers.steps)
        progress = optimizers.step / optimizers.steps
        return optimizers.minimize("model", partial(self.loss, beta=beta, progress=progress), batches)

    def loss(self, batch: Batch, beta: float, progress: float = 0.0) -> Loss:
        """Return the negative bound and what it is made of; a table of posteriors moves its rows on the way.

        Args:
            batch: the examples.
            beta: weight of the KL.
            progress: share of the training done, 0 to 1: a table's steps get smaller.

        Returns:
            total; and the terms reconstruction (mean log p(x | z)), kl, elbo = reconstruction - kl, and beta.
        """
        y = batch.y if self.conditional else None
        if isinstance(self.encoder, PerExample):
            q = self.encoder.visit(batch.index, self._log_joint(batch.x, y, beta), progress, beta)
        else:
            q = self._encoded(batch.x, y)
        cost, reconstruction, kl = self._costs(batch.x, y, q, beta)
        reconstruction, kl = reconstruction.detach().mean(), kl.detach().sum(1).mean()
        elbo, weight = reconstruction - kl, torch.full_like(kl, beta)
        return Loss(cost.mean(), {"reconstruction": reconstruction, "kl": kl, "elbo": elbo, "beta": weight})

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) nats: the training loss of each example, as a new one, with the KL's final weight."""
        y = batch.y if self.conditional else None
        return self._costs(batch.x, y, self._posterior(batch.x, y), self.beta)[0]

    def _annealed(self, step: int, steps: int) -> float:
        warm = self.kl_warm_up * steps
        return self.beta * min(1.0, step / warm) if warm else self.beta

    def _costs(self, x: Tensor, y: Tensor | None, q: Posterior, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the negative bound (batch,), log p(x | z) (batch,) and the KL (batch, latent_dim or 1)."""
        z = self._draw(q, self.draws)
        log_p_x, kl = self._reconstruction(x, z, y), self.prior.kl(*q, z)
        if self.draws == 1:
            charged = kl.clamp(min=self.free_bits) if self.free_bits else kl
            return beta * charged.sum(1) - log_p_x[0], log_p_x[0], kl
        bound = (log_p_x + beta * (self.prior.log_prob(z) - q.log_prob(z))).logsumexp(0) - log(self.draws)
        return -bound, log_p_x.mean(0), kl

    def _encoded(self, x: Tensor, y: Tensor | None) -> Posterior:
        if isinstance(self.encoder, PerExample):
            return self.encoder.guess(len(x), self._log_joint(x, y))
        return Posterior(*self.encoder(self.space.standardise(x), y).chunk(2, 1))

    def _posterior(self, x: Tensor, y: Tensor | None) -> Posterior:
        """Return q(z | x), the sampler's steps further than the encoder says."""
        return refine(self._log_joint(x, y), self._encoded(x, y), self.sampler["steps"])

    def _log_joint(self, x: Tensor, y: Tensor | None, beta: float = 1.0) -> Callable[[Tensor], Tensor]:
        return lambda z: self._reconstruction(x, z, y) + beta * self.prior.log_prob(z)

    @torch.no_grad()
    def log_joint(self, x: Tensor, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch,) log p(x, z) in nats, z (batch, latent_dim); of a conditional model log p(x, z | y)."""
        return self._log_joint(x, y if self.conditional else None)(z.unsqueeze(0))[0]

    def _draw(self, q: Posterior, draws: int) -> Tensor:
        """Draw z = mu + sigma eps: (draws, batch, latent_dim)."""
        eps = torch.randn(draws, *q.mu.shape, device=q.mu.device, dtype=q.mu.dtype)
        return q.mu + (0.5 * q.log_var).exp() * eps

    def _reconstruction(self, x: Tensor, z: Tensor, y: Tensor | None) -> Tensor:
        """Return log p(x | z), (draws, batch), of z (draws, batch, latent_dim)."""
        labels = None if y is None else y.repeat(len(z))
        outputs = self.decoder(z.flatten(0, 1), labels) + self.start
        return self.observation.log_prob(x, outputs.unflatten(0, (len(z), -1)))

    def _weights(self, x: Tensor, y: Tensor | None, q: Posterior, draws: int) -> tuple[Tensor, Tensor]:
        """Return log p(x | z) and log p(z) - log q(z | x) at fresh draws, each (draws, batch)."""
        z = self._draw(q, draws)
        return self._reconstruction(x, z, y), self.prior.log_prob(z) - q.log_prob(z)

    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return log (1/k) sum_i p(x | z_i) p(z_i) / q(z_i | x), k = draws: below log p(x) in the mean, rising to it.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None sums p(y) p(x | y) over all classes, p(y) by frequency.
            draws: draws of z an example; more are tighter. Memory does not depend on it.

        Returns:
            (batch,) nats.
        """
        if not self.conditional or y is not None:
            return self._bound(x, y if self.conditional else None, draws)
        return self.each_label(x, lambda label: self._bound(x, label, draws)).logsumexp(1)

    def _bound(self, x: Tensor, y: Tensor | None, draws: int) -> Tensor:
        q = self._posterior(x, y)
        wide = max(self.space.dims * self.observation.outputs_per_dim, self.prior.components * self.latent_dim)
        chunk = max(1, CHUNK // (x.shape[0] * wide))
        total = torch.full_like(q.mu[:, 0], -torch.inf)
        for start in range(0, draws, chunk):
            log_p_x, log_ratio = self._weights(x, y, q, min(chunk, draws - start))
            total = torch.logaddexp(total, (log_p_x + log_ratio).logsumexp(0))
        return total - log(draws)

    @torch.no_grad()
    def elbo(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1, steps: int = 0) -> Tensor:
        """Return (batch,) nats: E_q log p(x | z) - KL(q || p(z)), the expectation over `draws`; y as in `encode`.

        `steps` natural-gradient steps of each example's own mu and log_var first bring q(z | x) closer to p(z | x).
        """
        y = self._known_labels(x, y)
        q = refine(self._log_joint(x, y), self._posterior(x, y), steps)
        bounds = [self._terms(x, y, q) for _ in range(draws)]
        return torch.stack([log_p_x - kl.sum(1) for log_p_x, kl in bounds]).mean(0)

    def _terms(self, x: Tensor, y: Tensor | None, q: Posterior) -> tuple[Tensor, Tensor]:
        """Return log p(x | z) (batch,) at one draw, and the KL (batch, latent_dim or 1)."""
        z = self._draw(q, 1)
        return self._reconstruction(x, z, y)[0], self.prior.kl(*q, z)

    @torch.no_grad()
    def report(self, data: Pass) -> Metrics:
        """Return what one pass over a split measures, at weight 1 of the KL; see `probability.posterior.summary`."""

        def measured(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
            y = batch.y if self.conditional else None
            q = self._posterior(batch.x, y)
            return *self._terms(batch.x, y, q), q.mu

        return summary(map(measured, data()), self.space)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw z from the prior at the sampler's temperature, then x from p(x | z)."""
        return self.observation.sample(self._prior_outputs(n, y))

    @torch.no_grad()
    def picture(self, n: int, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z) at the latents `sample` would draw; draws, where sampler.mean is false."""
        outputs = self._prior_outputs(n, y)
        return self.observation.mean(outputs) if self.sampler["mean"] else self.observation.sample(outputs)

    @torch.no_grad()
    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, latent_dim) from the prior at the sampler's temperature."""
        return self.prior.sample(n, float(self.sampler["temperature"]), next(self.parameters()).device)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (n, *space.shape) float, the mean of p(x | z); y=None of a conditional model draws labels."""
        return self.observation.mean(self._outputs(z, self.labels(len(z), y)))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch, latent_dim), the posterior's mean; y=None of a conditional model takes `infer_labels`."""
        return self._posterior(x, self._known_labels(x, y)).mu

    @torch.no_grad()
    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z) at the posterior's mean; x and y as in `encode`."""
        y = self._known_labels(x, y)
        return self.observation.mean(self._outputs(self._posterior(x, y).mu, y))

    @torch.no_grad()
    def infer_labels(self, x: Tensor) -> Tensor:
        """Return (batch,) the labels that maximise log p(y) + ELBO(x | y), its expectation taken at the mean of q."""

        def score(y: Tensor) -> Tensor:
            q = self._posterior(x, y)
            z = q.mu.unsqueeze(0)
            return self._reconstruction(x, z, y)[0] - self.prior.kl(*q, z).sum(1)

        return self.each_label(x, score).argmax(1)

    def _known_labels(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        return (self.infer_labels(x) if y is None else y) if self.conditional else None

    def _outputs(self, z: Tensor, y: Tensor | None) -> Tensor:
        outputs: Tensor = self.decoder(z, y) + self.start
        return outputs

    def _prior_outputs(self, n: int, y: Tensor | None) -> Tensor:
        y = self.labels(n, y)
        return self._outputs(self.sample_latent(n), y)
