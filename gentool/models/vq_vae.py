"""VQ-VAE: a grid of codes from a learned codebook, and a prior over the codes that is trained after it."""

from collections.abc import Callable, Iterator
from functools import partial
from math import log
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from typing_extensions import TypedDict

from gentool.batch import Batch
from gentool.models.autoregressive import Autoregressive
from gentool.models.base import GenerativeModel, HasLikelihood, Loss, Metrics, Minimizer, Pass
from gentool.nn import Network
from gentool.nn.pixelcnn import pixelcnn
from gentool.nn.resnet import grid_decoder, grid_encoder
from gentool.probability.codebook import Codebook, perplexity, space_of_codes
from gentool.probability.likelihoods import Name, Sigma, likelihood_for
from gentool.space import DataSpace


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        mean: pictures show the mean of p(x | z) instead of a draw.
        temperature: T of the prior's p(z_i | z_<i)^(1/T); 1 is the model's own, 0 takes the likeliest code.
        top_k: how many of the likeliest codes may be drawn; None: all.
        top_p: the share that the codes that may be drawn hold, the likeliest first; None: all.
    """

    mean: bool
    temperature: NonNegativeFloat
    top_k: PositiveInt | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None


class Coded(NamedTuple):
    """An encoded batch.

    Attributes:
        features: (batch, height, width, latent_dim), what the encoder says.
        codes: (batch, height, width) int64, the nearest in the codebook.
        z: (batch, height, width, latent_dim), their vectors.
    """

    features: Tensor
    codes: Tensor
    z: Tensor


SAMPLER: Sampler = {"mean": True, "temperature": 1.0, "top_k": None, "top_p": None}


class VQVAE(GenerativeModel):
    """p(x) = sum_z p(z) p(x | z) over grids z of codes; z(x) is the nearest code to each feature of the encoder.

    The first share of the steps trains the autoencoder on -log p(x | z(x)) + beta |features - sg[z(x)]|², gradients
    passing straight through to the features, while the codebook follows them. Then the code stays as it is, and the
    prior learns: the total is -log p(x | z(x)) - log p(z(x)), which bounds -log p(x), for one grid of the sum is z(x).

    Args:
        space: the data's facts.
        codes: vectors in the codebook, 2 or more; a prior of fewer is easier to learn.
        latent_dim: dimensions of each vector, 1 or more.
        likelihood: p(x | z): bernoulli (2 levels), discretised_logistic or categorical (integer levels), gaussian
            (reals, or levels by the mass of their bins); auto: the first that fits.
        sigma: scale of gaussian and discretised_logistic: a number > 0 (1 is the data's standard deviation; images span
            2), learned (one number), per_pixel, or decoder (an output for each pixel).
        beta: weight of the commitment loss, 0 or more: how strongly features are pulled to their codes.
        decay: of the moving averages that the codebook is made of, in [0, 1).
        revive: a code used less than this fraction of uniform use is moved to where features are, in [0, 1); 0: never.
        autoencoder_share: fraction of the training, in (0, 1], that the autoencoder gets; the prior gets the rest.
        conditional: whether the prior, and so p(x | y), depends on the label.
        encoder: builds the network to the grid of features: (space, latent_dim) -> Network.
        decoder: builds the network of p(x | z): (space, latent_dim, grid, outputs_per_dim) -> Network.
        prior: builds the model of the codes: (space of the codes) -> a model with an exact likelihood; where
            conditional, it is given conditional=True.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where options do not fit the data.

    Reference: Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017,
        https://arxiv.org/abs/1711.00937
    """

    likelihood: Literal["bound"] = "bound"

    def __init__(
        self,
        space: DataSpace,
        *,
        codes: Annotated[int, Field(ge=2)] = 512,
        latent_dim: PositiveInt = 64,
        likelihood: Name = "auto",
        sigma: Sigma = "learned",
        beta: NonNegativeFloat = 0.25,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.99,
        revive: Annotated[float, Field(ge=0, lt=1)] = 0.05,
        autoencoder_share: Annotated[float, Field(gt=0, le=1)] = 0.4,
        conditional: bool = False,
        encoder: Callable[..., Network] = grid_encoder,
        decoder: Callable[..., Network] = grid_decoder,
        prior: Callable[..., Any] = partial(
            Autoregressive,
            network=partial(pixelcnn, channels=64, blocks=6, window=3, first_window=5, head_channels=128, embedding=32),
            likelihood="categorical",
        ),
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        self.condition(conditional)
        self.beta, self.autoencoder_share = beta, autoencoder_share
        self.observation = likelihood_for(space, likelihood, sigma)
        self.encoder = encoder(space, latent_dim)
        self.codebook = Codebook(codes, latent_dim, decay, revive)
        with torch.no_grad():
            height, width = self.encoder(torch.zeros(1, *space.shape)).shape[2:]
        self.decoder = decoder(space, latent_dim, (height, width), self.observation.outputs_per_dim)
        build = partial(prior, conditional=True) if conditional else prior
        self.prior = build(space_of_codes(space, codes, (1, height, width)))
        self.prior.sampler = self.sampler  # one mapping, so that what a reader asks of sampling reaches the prior
        self.register_buffer("start", self.observation.start(), persistent=False)

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Return the autoencoder's parameters and the prior's."""
        parts = (self.encoder, self.decoder, self.observation)
        return {
            "autoencoder": [p for part in parts for p in part.parameters()],
            "prior": list(self.prior.parameters()),
        }

    def averaged(self) -> list[nn.Parameter]:
        """Return the prior's parameters: its codes are those of the encoder as it is, which rests while it learns."""
        return list(self.prior.parameters())

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step of the autoencoder and let the codebook follow; in the last part of the plan, of the prior."""
        if optimizers.step >= self.autoencoder_share * optimizers.steps:
            return optimizers.minimize("prior", self.prior_loss, batches)
        seen: list[Coded] = []
        metrics = optimizers.minimize("autoencoder", partial(self.loss, seen=seen), batches)
        features = torch.cat([coded.features.flatten(0, 2) for coded in seen])
        codes = torch.cat([coded.codes.flatten() for coded in seen])
        revived = self.codebook.follow(features, codes, optimizers.sum_over_processes)
        return {**metrics, "autoencoder/revived": revived}

    def loss(self, batch: Batch, seen: list[Coded]) -> Loss:
        """Return what the autoencoder minimises.

        Args:
            batch: the examples.
            seen: takes up what the batch was encoded to, which the codebook follows.

        Returns:
            total; and the terms reconstruction (mean log p(x | z)), commitment, perplexity and usage (share of the
            codes) of the batch.
        """
        coded = self._encode(batch.x)
        straight_through = coded.features + (coded.z - coded.features).detach()
        reconstruction = self._reconstruction(batch.x, straight_through).mean()
        commitment = (coded.features - coded.z).square().sum((1, 2, 3)).mean()
        seen.append(Coded(*(t.detach() for t in coded)))
        terms = {"reconstruction": reconstruction.detach(), "commitment": commitment.detach()}
        return Loss(self.beta * commitment - reconstruction, terms | self._use(self._count(coded.codes)))

    def prior_loss(self, batch: Batch) -> Loss:
        """Return the negative bound of log p(x), of which only the prior learns.

        Args:
            batch: the examples.

        Returns:
            total; and the terms reconstruction (mean log p(x | z)) and codes (mean log p(z)).
        """
        reconstruction, log_p_z = (t.mean() for t in self._parts(batch))
        return Loss(-(reconstruction + log_p_z), {"reconstruction": reconstruction, "codes": log_p_z.detach()})

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) nats, the negative bound: it falls as the code learns, and goes on falling with the prior."""
        return -torch.stack(self._parts(batch)).sum(0)

    def _parts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log p(x | z(x)), without its graph, and log p(z(x)), each (batch,)."""
        with torch.no_grad():
            coded = self._encode(batch.x)
            reconstruction = self._reconstruction(batch.x, coded.z)
        log_p_z: Tensor = -self.prior.objective(self._batch_of_codes(coded.codes, batch.y))
        return reconstruction, log_p_z

    def _batch_of_codes(self, codes: Tensor, y: Tensor | None) -> Batch:
        index = torch.arange(len(codes), device=codes.device)
        return Batch(codes[:, None].to(self.prior.space.dtype), y if self.conditional else None, index)

    def _encode(self, x: Tensor) -> Coded:
        features: Tensor = self.encoder(self.space.standardise(x)).movedim(1, -1)
        codes = self.codebook.nearest(features.detach())
        return Coded(features, codes, self.codebook.embed(codes))

    def _outputs(self, z: Tensor) -> Tensor:
        """Decode vectors (batch, height, width, latent_dim)."""
        outputs: Tensor = self.decoder(z.movedim(-1, 1)) + self.start
        return outputs

    def _reconstruction(self, x: Tensor, z: Tensor) -> Tensor:
        return self.observation.log_prob(x, self._outputs(z))

    def _count(self, codes: Tensor) -> Tensor:
        return torch.bincount(codes.flatten(), minlength=len(self.codebook.vectors))

    def _use(self, counts: Tensor) -> dict[str, Tensor]:
        counts = counts.float()
        return {"perplexity": perplexity(counts), "usage": (counts > 0).float().mean()}

    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return log p(x | z(x)) + log p(z(x)), at most log p(x): all other grids of codes are left out.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None sums p(y) p(z | y) over all classes, p(y) by frequency.
            draws: changes nothing, for nothing is drawn.

        Returns:
            (batch,) nats.
        """
        coded = self._encode(x)
        batch = self._batch_of_codes(coded.codes, y)
        prior: HasLikelihood = self.prior
        return self._reconstruction(x, coded.z) + prior.log_prob(batch.x, batch.y)

    @torch.no_grad()
    def report(self, data: Pass) -> Metrics:
        """Return what one pass measures.

        Args:
            data: one pass over a split.

        Returns:
            reconstruction and codes, mean log p(x | z) and log p(z) in nats; perplexity and usage (share of the
            codes) over the split; and of integer levels bits_per_dim of the bound.
        """
        seen, zero = 0, torch.zeros((), device=self.codebook.vectors.device)
        reconstruction, log_p_z, counts = zero, zero, zero
        for batch in data():
            coded = self._encode(batch.x)
            reconstruction = reconstruction + self._reconstruction(batch.x, coded.z).sum()
            log_p_z = log_p_z - self.prior.objective(self._batch_of_codes(coded.codes, batch.y)).sum()
            counts = counts + self._count(coded.codes)
            seen += len(batch.x)
        if not seen:
            return {}
        reconstruction, log_p_z = reconstruction / seen, log_p_z / seen
        found = {"reconstruction": reconstruction, "codes": log_p_z, **self._use(counts)}
        if self.space.levels is not None:
            found["bits_per_dim"] = -(reconstruction + log_p_z) / (self.space.dims * log(2))
        return found

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw codes from the prior at the sampler's temperature, then x from p(x | z)."""
        return self.observation.sample(self._outputs(self._draw(n, y)))

    @torch.no_grad()
    def picture(self, n: int, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z) at the codes `sample` would draw; draws, where sampler.mean is false."""
        outputs = self._outputs(self._draw(n, y))
        return self.observation.mean(outputs) if self.sampler["mean"] else self.observation.sample(outputs)

    def _draw(self, n: int, y: Tensor | None) -> Tensor:
        """Draw codes from the prior and return their vectors, (n, height, width, latent_dim)."""
        return self.codebook.embed(self.prior.sample(n, y if self.conditional else None)[:, 0])

    @torch.no_grad()
    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, latent_dim, height, width), vectors of codes drawn from the prior."""
        return self._draw(n, None).movedim(-1, 1)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z) at the codes nearest to z, so that what is decoded are always codes.

        Args:
            z: (n, latent_dim, height, width).
            y: changes nothing: only the prior sees labels.

        Returns:
            (n, *space.shape) float, in data space.
        """
        nearest = self.codebook.embed(self.codebook.nearest(z.movedim(1, -1)))
        return self.observation.mean(self._outputs(nearest))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch, latent_dim, height, width), the vectors of the codes of x; y changes nothing."""
        return self._encode(x).z.movedim(-1, 1)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z) at the codes of x; y changes nothing."""
        return self.observation.mean(self._outputs(self._encode(x).z))
