"""Autoencoders: a code that the data can be rebuilt from, and a density of the codes to sample from."""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from typing_extensions import TypedDict

from gentool import nn as networks
from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer, Pass
from gentool.nn import Network
from gentool.probability import bernoulli
from gentool.probability.code_density import CodeDensity
from gentool.probability.corruption import Corruption, check_corruption, corrupted
from gentool.space import DataSpace

Reconstruction = Literal["auto", "cross_entropy", "squared_error"]


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        temperature: factor on the deviations of the density the codes are drawn from; 1 is the density itself.
    """

    temperature: NonNegativeFloat


SAMPLER: Sampler = {"temperature": 1.0}


class Autoencoder(GenerativeModel):
    """x_hat = g(f(c(x))), trained to be x; to sample, decode a code drawn from a density fitted to the codes f(x).

    With t = x / (levels - 1), the loss of an example is sum_d -t log x_hat - (1 - t) log(1 - x_hat) by cross entropy,
    x_hat a sigmoid, or |t - x_hat|² by squared error; of reals it is |x - x_hat|² over the mean variance of a
    dimension. Linear f and g under squared error span the principal components. The corruption c is at work in the
    loss alone: encoding and reconstructing take x as it is given.

    Args:
        space: the data's facts.
        latent_dim: dimensions of the code, 1 or more; 2 can be drawn as a map (gentool latent).
        reconstruction: the loss: cross_entropy (pixels as probabilities of white; integer levels only) or
            squared_error; auto: cross_entropy for integer levels, squared_error for reals.
        corruption: applied to x in training, for the model to undo: none, gaussian, salt_pepper, masking_noise (single
            pixels set to black) or mask (a black square).
        level: strength of the corruption, 0 to 1. For gaussian, the noise's standard deviation as a fraction of the
            range of levels (for reals, of their standard deviation); for the others, the fraction of the pixels.
        density: fitted to the codes after training, so that the model can sample: gaussian (one) or mixture.
        components: Gaussians in a mixture, 1 or more.
        conditional: whether encoder and decoder are given the label; each class then has its own density of codes.
        encoder: builds f: (space, outputs, classes) -> Network.
        decoder: builds g: (space, inputs, outputs_per_dim, classes) -> Network.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where options do not fit the data.

    Reference: Reducing the Dimensionality of Data with Neural Networks, Geoffrey Hinton and Ruslan Salakhutdinov, 2006,
        https://doi.org/10.1126/science.1127647; Extracting and Composing Robust Features with Denoising Autoencoders,
        Pascal Vincent, Hugo Larochelle, Yoshua Bengio and Pierre-Antoine Manzagol, 2008,
        https://doi.org/10.1145/1390156.1390294
    """

    start: Tensor
    unit: Tensor

    def __init__(
        self,
        space: DataSpace,
        *,
        latent_dim: PositiveInt = 32,
        reconstruction: Reconstruction = "auto",
        corruption: Corruption = "none",
        level: Annotated[float, Field(ge=0, le=1)] = 0.25,
        density: Literal["gaussian", "mixture"] = "mixture",
        components: PositiveInt = 20,
        conditional: bool = False,
        encoder: Callable[..., Network] = networks.encoder,
        decoder: Callable[..., Network] = networks.decoder,
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        if space.vocabulary:
            raise UsageError("an autoencoder rebuilds images and points, and this data is text")
        self.condition(conditional)
        if reconstruction == "cross_entropy" and space.levels is None:
            raise UsageError("model.reconstruction=cross_entropy is for integer levels; choose auto or squared_error")
        check_corruption(space, "model.corruption", corruption)
        self.corruption, self.level = corruption, level
        self.by_cross_entropy = space.levels is not None and reconstruction != "squared_error"
        classes = space.classes if conditional else 0
        self.encoder = encoder(space, latent_dim, classes)
        self.decoder = decoder(space, latent_dim, 1, classes)
        y = torch.zeros(1, dtype=torch.int64) if conditional else None
        with torch.no_grad():
            self.code_shape = self.encoder(torch.zeros(1, *space.shape), y).shape[1:]
        self.density = CodeDensity(self.code_shape.numel(), components if density == "mixture" else 1, max(1, classes))
        self.register_buffer("start", self._start(), persistent=False)
        self.register_buffer("unit", self._unit(), persistent=False)

    def _start(self) -> Tensor:
        """Return what is added to the decoder's outputs, so that they start from the mean of the data."""
        if self.by_cross_entropy:
            assert self.space.levels is not None
            n = self.space.examples
            return ((n * self.space.loc / (self.space.levels - 1) + 0.5) / (n + 1)).logit()
        return self.space.to_model(self.space.loc)

    def _unit(self) -> Tensor:
        """Return what a unit of model space is worth: levels span 1, reals have a mean variance of 1."""
        if self.space.levels is not None:
            return torch.full_like(self.space.scale, 0.5)
        return self.space.scale / self.space.scale.square().mean().sqrt()

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step down the reconstruction error."""
        return optimizers.minimize("model", self.loss, batches)

    def loss(self, batch: Batch) -> Loss:
        """Return the mean reconstruction error of the batch, also as the term reconstruction."""
        error, z = self._errors(batch)
        if self.training:
            self.density.follow(z.flatten(1), self._classes(batch))
        total = error.mean()
        return Loss(total, {"reconstruction": total.detach()})

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) the training loss of each example."""
        return self._errors(batch)[0]

    def _errors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the reconstruction error (batch,) and the codes of the corrupted examples."""
        y = batch.y if self.conditional else None
        z = self._encode(corrupted(batch.x, self.space, self.corruption, self.level), y)
        return self._error(batch.x, self._outputs(z, y)), z

    def _error(self, x: Tensor, outputs: Tensor) -> Tensor:
        if not self.by_cross_entropy:
            return ((self.space.to_model(x) - outputs) * self.unit).square().flatten(1).sum(1)
        assert self.space.levels is not None
        t = x / (self.space.levels - 1)
        return -(t * outputs + bernoulli.log_sigmoid(-outputs)).flatten(1).sum(1)

    def _encode(self, x: Tensor, y: Tensor | None) -> Tensor:
        z: Tensor = self.encoder(self.space.standardise(x), y)
        return z

    def _outputs(self, z: Tensor, y: Tensor | None) -> Tensor:
        outputs: Tensor = self.decoder(z, y)[:, 0] + self.start
        return outputs

    def _mean(self, outputs: Tensor) -> Tensor:
        if not self.by_cross_entropy:
            return self.space.to_data(outputs)
        assert self.space.levels is not None
        return outputs.sigmoid() * (self.space.levels - 1)

    def _classes(self, batch: Batch) -> Tensor:
        """Return (batch,) the density each code belongs to."""
        return batch.y if self.conditional and batch.y is not None else torch.zeros_like(batch.index)

    @torch.no_grad()
    def finish(self, data: Pass) -> None:
        """Fit the density to the codes of one pass over the training data."""
        codes, classes = [], []
        for batch in data():
            codes.append(self._encode(batch.x, batch.y if self.conditional else None).flatten(1))
            classes.append(self._classes(batch))
        self.density.fit(torch.cat(codes), torch.cat(classes))

    @torch.no_grad()
    def report(self, data: Pass) -> Metrics:
        """Return what one pass measures.

        Args:
            data: one pass over a split.

        Returns:
            mean_squared_error: of a dimension, as `gentool reconstruct` prints it: of levels scaled to [0, 1], of reals
            in units of the data; x is not corrupted.
        """
        total, count = torch.zeros((), device=self.start.device), 0
        for batch in data():
            made = self.reconstruct(batch.x, batch.y)
            total = total + (made - batch.x).square().mean() * len(made)
            count += len(made)
        scale = 1 if self.space.levels is None else (self.space.levels - 1) ** 2
        return {"mean_squared_error": total / (count * scale)} if count else {}

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Decode codes drawn from their density, rounded to the levels the data has."""
        return self.space.quantise(self.picture(n, y))

    @torch.no_grad()
    def picture(self, n: int, y: Tensor | None = None) -> Tensor:
        """Return what `sample` returns, not rounded."""
        if not self.conditional:
            return self._mean(self._outputs(self.sample_latent(n), None))
        y = self.draw_labels(n) if y is None else y
        return self._mean(self._outputs(self._draw(y), y))

    @torch.no_grad()
    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, *code shape) from the density of the codes, of a conditional model under labels drawn first."""
        y = self.draw_labels(n) if self.conditional else torch.zeros(n, dtype=torch.int64, device=self.start.device)
        return self._draw(y)

    def _draw(self, y: Tensor) -> Tensor:
        return self.density.sample(y, float(self.sampler["temperature"])).reshape(len(y), *self.code_shape)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Rebuild x from codes.

        Args:
            z: (n, *code shape).
            y: (n,) labels of a conditional model; None draws them by their training frequency.

        Returns:
            (n, *space.shape) float, in data space.
        """
        if self.conditional and y is None:
            y = self.draw_labels(len(z))
        return self._mean(self._outputs(z, y if self.conditional else None))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the codes.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None takes those of `infer_labels`.

        Returns:
            (batch, *code shape).
        """
        return self._encode(x, self._known_labels(x, y))

    @torch.no_grad()
    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Rebuild x (batch, *space.shape) from its code; x and y as in `encode`."""
        y = self._known_labels(x, y)
        return self._mean(self._outputs(self._encode(x, y), y))

    @torch.no_grad()
    def infer_labels(self, x: Tensor) -> Tensor:
        """Return (batch,) the labels under which x is rebuilt best."""
        each = [torch.full((len(x),), c, device=x.device) for c in range(self.space.classes)]
        return torch.stack([self._error(x, self._outputs(self._encode(x, y), y)) for y in each], 1).argmin(1)

    def _known_labels(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        return (self.infer_labels(x) if y is None else y) if self.conditional else None
