"""Variational autoencoders: an amortised posterior over a Gaussian latent, trained on a bound of log p(x)."""

from collections.abc import Callable, Iterator
from functools import partial
from math import log
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from typing_extensions import TypedDict

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer, Pass
from gentool.nn import Network
from gentool.probability import gaussians
from gentool.probability.likelihoods import Name, Sigma, likelihood_for
from gentool.space import DataSpace

CHUNK = 2**21  # decoder outputs held at a time while `log_prob` draws: 8 MB, so that memory does not grow with draws
ACTIVE = 0.01  # variance over the data of a latent's posterior mean from which the latent is active (Burda et al.)


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        mean: pictures show the mean of p(x | z) instead of a draw.
        temperature: standard deviation of the prior that z is drawn from; 1 is the model's own.
    """

    mean: bool
    temperature: NonNegativeFloat


class Posterior(NamedTuple):
    """q(z | x) = N(mu, exp(log_var)), each (batch, latent_dim)."""

    mu: Tensor
    log_var: Tensor


class VAE(GenerativeModel):
    """p(x) = ∫ N(z; 0, 1) p(x | z) dz, with q(z | x) = N(mu(x), sigma²(x)).

    One draw: total = -E_q[log p(x | z)] + beta sum_j max(free_bits, KL_j), the KL in closed form. k draws:
    total = -log (1/k) sum_i p(x | z_i) (p(z_i) / q(z_i | x))^beta. Free bits are per example, so that the objective of
    validation is the one of training.

    Args:
        space: the data's facts.
        latent_dim: dimensions of z.
        likelihood: p(x | z); auto fits the data.
        sigma: scale of a Gaussian or logistic likelihood; see `probability.likelihoods`.
        beta: weight of the KL at the end of its warm-up.
        kl_warm_up: share of the planned steps over which the KL's weight rises linearly from 0.
        free_bits: nats a latent dimension that cost nothing.
        draws: draws of z an example in training; 1 is the ELBO, more the importance-weighted bound.
        conditional: whether p(x | z, y) and q(z | x, y) see the label.
        encoder: makes the posterior's network: (space, outputs, classes) -> Network.
        decoder: makes the likelihood's network: (space, inputs, outputs_per_dim, classes) -> Network.
        sampler: defaults of sampling.

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
        latent_dim: PositiveInt,
        likelihood: Name,
        sigma: Sigma,
        beta: NonNegativeFloat,
        kl_warm_up: Annotated[float, Field(ge=0, le=1)],
        free_bits: NonNegativeFloat,
        draws: PositiveInt,
        conditional: bool,
        encoder: Callable[..., Network],
        decoder: Callable[..., Network],
        sampler: Sampler,
    ) -> None:
        super().__init__(space, sampler)
        if conditional and not space.classes:
            raise UsageError("model.conditional=true needs data with classes, and this has none")
        if free_bits and draws > 1:
            raise UsageError(f"model.free_bits={free_bits} needs model.draws=1: the {draws}-draw bound has no KL term")
        self.latent_dim = latent_dim
        self.beta, self.kl_warm_up, self.free_bits, self.draws = beta, kl_warm_up, free_bits, draws
        self.conditional = conditional
        classes = space.classes if conditional else 0
        self.observation = likelihood_for(space, likelihood, sigma)
        self.encoder = encoder(space, 2 * latent_dim, classes)
        self.decoder = decoder(space, latent_dim, self.observation.outputs_per_dim, classes)
        self.register_buffer("start", self.observation.start(), persistent=False)

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step down the bound, with the KL's weight of this step."""
        beta = self._annealed(optimizers.step, optimizers.steps)
        return optimizers.minimize("model", partial(self.loss, beta=beta), batches)

    def loss(self, batch: Batch, beta: float) -> Loss:
        """Return the negative bound and what it is made of.

        Args:
            batch: the examples.
            beta: weight of the KL.

        Returns:
            total; and the terms reconstruction (mean log p(x | z)), kl, elbo = reconstruction - kl, and beta.
        """
        cost, reconstruction, kl = self._costs(batch, beta)
        reconstruction, kl = reconstruction.detach().mean(), kl.detach().sum(1).mean()
        elbo, weight = reconstruction - kl, torch.full_like(kl, beta)
        return Loss(cost.mean(), {"reconstruction": reconstruction, "kl": kl, "elbo": elbo, "beta": weight})

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) nats: the training loss of each example with the KL's final weight."""
        return self._costs(batch, self.beta)[0]

    def _annealed(self, step: int, steps: int) -> float:
        warm = self.kl_warm_up * steps
        return self.beta * min(1.0, step / warm) if warm else self.beta

    def _costs(self, batch: Batch, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the negative bound (batch,), log p(x | z) (batch,) and the KL (batch, latent_dim)."""
        y = batch.y if self.conditional else None
        q = self._posterior(batch.x, y)
        kl = gaussians.kl(q.mu, q.log_var)
        if self.draws == 1:
            log_p_x = self._reconstruction(batch.x, self._draw(q, 1), y)[0]
            charged = kl.clamp(min=self.free_bits) if self.free_bits else kl
            return beta * charged.sum(1) - log_p_x, log_p_x, kl
        log_p_x, log_ratio = self._weights(batch.x, y, q, self.draws)
        bound = (log_p_x + beta * log_ratio).logsumexp(0) - log(self.draws)
        return -bound, log_p_x.mean(0), kl

    def _posterior(self, x: Tensor, y: Tensor | None) -> Posterior:
        return Posterior(*self.encoder(self.space.standardise(x), y).chunk(2, 1))

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
        log_ratio = gaussians.log_density(z, 0.0, 0.0) - gaussians.log_density(z, q.mu, 0.5 * q.log_var)
        return self._reconstruction(x, z, y), log_ratio.sum(2)

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
        if not self.conditional:
            return self._bound(x, None, draws)
        if y is not None:
            return self._bound(x, y, draws)
        log_p_y = self.space.frequencies.to(x.device).log()
        bounds = [self._bound(x, label, draws) + log_p_y[c] for c, label in enumerate(self._each_label(x))]
        return torch.stack(bounds).logsumexp(0)

    def _bound(self, x: Tensor, y: Tensor | None, draws: int) -> Tensor:
        q = self._posterior(x, y)
        chunk = max(1, CHUNK // (x.shape[0] * self.space.dims * self.observation.outputs_per_dim))
        total = torch.full_like(q.mu[:, 0], -torch.inf)
        for start in range(0, draws, chunk):
            log_p_x, log_ratio = self._weights(x, y, q, min(chunk, draws - start))
            total = torch.logaddexp(total, (log_p_x + log_ratio).logsumexp(0))
        return total - log(draws)

    @torch.no_grad()
    def report(self, data: Pass) -> Metrics:
        """Return what one pass measures, each a mean over examples, at weight 1 of the KL.

        Args:
            data: one pass over a split.

        Returns:
            reconstruction, kl and elbo = reconstruction - kl (nats), kl_per_dim (latent_dim,) nats, active_units (how
            many latents' posterior means have a variance above 0.01), and of integer levels bits_per_dim of the ELBO.
        """
        seen = 0
        zero = torch.zeros(self.latent_dim, device=next(self.parameters()).device)
        reconstruction, kl, mean, spread = zero[0], zero, zero, zero
        for batch in data():
            y = batch.y if self.conditional else None
            q, new = self._posterior(batch.x, y), len(batch.x)
            reconstruction = reconstruction + self._reconstruction(batch.x, self._draw(q, 1), y).sum()
            kl = kl + gaussians.kl(q.mu, q.log_var).sum(0)
            # Chan's update of mean and sum of squares: exact in fp32, however many examples there are.
            shift = q.mu.mean(0) - mean
            spread = spread + q.mu.var(0, correction=0) * new + shift**2 * (seen * new / (seen + new))
            mean = mean + shift * (new / (seen + new))
            seen += new
        if not seen:
            return {}
        reconstruction, kl = reconstruction / seen, kl / seen
        elbo = reconstruction - kl.sum()
        found = {"reconstruction": reconstruction, "kl": kl.sum(), "elbo": elbo, "kl_per_dim": kl}
        if self.space.levels is not None:
            found["bits_per_dim"] = -elbo / (self.space.dims * log(2))
        return {**found, "active_units": (spread / seen > ACTIVE).sum()}

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw z from the prior at the sampler's temperature, then x from p(x | z)."""
        return self.observation.sample(self._prior_outputs(n, y))

    @torch.no_grad()
    def picture(self, n: int, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z) at the latents `sample` would draw; draws, where sampler.mean is false."""
        outputs = self._prior_outputs(n, y)
        return self.observation.mean(outputs) if self.sampler["mean"] else self.observation.sample(outputs)

    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, latent_dim) from the prior at the sampler's temperature."""
        eps = torch.randn(n, self.latent_dim, device=next(self.parameters()).device)
        return eps * float(self.sampler["temperature"])

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z).

        Args:
            z: (n, latent_dim).
            y: (n,) labels of a conditional model; None draws them by their training frequency.

        Returns:
            (n, *space.shape) float, in data space.
        """
        return self.observation.mean(self._outputs(z, self._prior_labels(len(z), y)))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the posterior's mean.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None takes those of `infer_labels`.

        Returns:
            (batch, latent_dim).
        """
        return self._posterior(x, self._known_labels(x, y)).mu

    @torch.no_grad()
    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z) at the posterior's mean; x and y as in `encode`."""
        y = self._known_labels(x, y)
        return self.observation.mean(self._outputs(self._posterior(x, y).mu, y))

    @torch.no_grad()
    def infer_labels(self, x: Tensor) -> Tensor:
        """Return (batch,) the labels that maximise log p(y) + ELBO(x | y), its expectation taken at the mean of q."""
        scores = []
        for label in self._each_label(x):
            q = self._posterior(x, label)
            scores.append(self._reconstruction(x, q.mu[None], label)[0] - gaussians.kl(q.mu, q.log_var).sum(1))
        return (torch.stack(scores, 1) + self.space.frequencies.to(x.device).log()).argmax(1)

    def _each_label(self, x: Tensor) -> Iterator[Tensor]:
        for c in range(self.space.classes):
            yield torch.full((len(x),), c, device=x.device)

    def _known_labels(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        return (self.infer_labels(x) if y is None else y) if self.conditional else None

    def _prior_labels(self, n: int, y: Tensor | None) -> Tensor | None:
        return (self.draw_labels(n) if y is None else y) if self.conditional else None

    def _outputs(self, z: Tensor, y: Tensor | None) -> Tensor:
        outputs: Tensor = self.decoder(z, y) + self.start
        return outputs

    def _prior_outputs(self, n: int, y: Tensor | None) -> Tensor:
        y = self._prior_labels(n, y)
        return self._outputs(self.sample_latent(n), y)
