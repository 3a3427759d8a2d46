"""Diffusion models: data is drowned in noise, and a network that learnt to denoise brings noise back to data."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from gentool.batch import Batch
from gentool.errors import Unavailable, UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer, Pass
from gentool.nn.condition import hide_labels
from gentool.nn.fit import fitting
from gentool.nn.network import exact
from gentool.probability import solvers
from gentool.probability.diffusion_likelihood import Denoise, Flow, across, evidence
from gentool.probability.likelihoods import likelihood_for
from gentool.probability.noise import Cosine, Noise, Parameterisation, denoised, score, weight
from gentool.probability.ode import draw_probes
from gentool.probability.samplers import Ancestral, DiffusionSampler, Sampler
from gentool.signatures import Group
from gentool.space import DataSpace

SHOWN_RATIOS = (0.1, 0.3, 1.0)
"""Noise, in standard deviations of the data, at which `fields` shows the score."""


class Diffusion(GenerativeModel):
    """x0(z, r) = E[x | z], z = x + r eps, learnt by E w(r) |x - x0(z, r)|² over the noise schedule's r.

    The network sees z / sqrt(r² + s²) and log(r) / 4, s the data's root mean square. Levels are scaled to [-1, 1] and
    points are standardised; x itself is read off z at the smallest r, through the Gaussian of that width.

    Args:
        space: the data's facts.
        denoiser: the network of (x, t, y): x noisy, t how noisy it is, y a label or None; None: the one that fits the
            data.
        noise: the noise schedule: r over t in [0, 1].
        parameterisation: what the network's output stands for: eps (the noise, as the paper), x0 (the data), or v (a
            mix that is neither at any noise).
        weighting: which output's squared error is minimised: eps (the paper's), x0, v, or likelihood (the bound
            itself).
        sigma_data: root mean square of the data in model space, > 0; 1 makes the network's input the paper's x_t; None:
            measured.
        conditional: whether the network sees the label.
        label_dropout: share of the examples, 0 to below 1, whose label is hidden in training: guidance needs some; only
            where conditional.
        sampler: how samples are drawn.

    Raises:
        UsageError: where options do not fit the data or each other.

    Reference: Denoising Diffusion Probabilistic Models, Jonathan Ho, Ajay Jain and Pieter Abbeel, 2020,
        https://arxiv.org/abs/2006.11239; Elucidating the Design Space of Diffusion-Based Generative Models, Tero Karras
        et al., 2022, https://arxiv.org/abs/2206.00364; Classifier-Free Diffusion Guidance, Jonathan Ho and Tim
        Salimans, 2022, https://arxiv.org/abs/2207.12598
    """

    scale: Tensor
    sampler: DiffusionSampler

    def __init__(
        self,
        space: DataSpace,
        *,
        denoiser: Annotated[Callable[..., nn.Module], Group("denoiser")] | None = None,
        noise: Noise = Cosine(),
        parameterisation: Parameterisation = "v",
        weighting: Literal["eps", "x0", "v", "likelihood"] = "eps",
        sigma_data: PositiveFloat | None = 1.0,
        conditional: bool = False,
        label_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        sampler: Sampler = Ancestral(),
    ) -> None:
        super().__init__(space, sampler)
        self.condition(conditional)
        if space.vocabulary:
            raise UsageError("noise is added to reals and to ordered levels, and the symbols of text have no order")
        self.noise, self.parameterisation, self.weighting = noise, parameterisation, weighting
        self.sigma_data, self.label_dropout = sigma_data, label_dropout
        self.denoiser = (denoiser or fitting("denoiser", space))(space, 1, space.classes if conditional else 0)
        self.observation = likelihood_for(space, "gaussian", noise.sigma_min)
        self.register_buffer("scale", torch.tensor(sigma_data or 1.0))
        self._evaluations = 0
        self._check()  # a sampler that makes no sense is refused before training

    @property
    def likelihood(self) -> Literal["bound", "ode"]:
        """What `log_prob` returns: as sampler.likelihood says."""
        return "bound" if self.sampler.likelihood == "bound" else "ode"

    def begin(self, data: Pass) -> None:
        """Measure the data's root mean square, unless it is given."""
        if self.sigma_data is None:
            squares = [self.space.to_model(batch.x).double().square().mean() for batch in data()]
            self.scale.fill_(torch.stack(squares).mean().sqrt())

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step down the weighted error."""
        return optimizers.minimize("model", self.loss, batches)

    def loss(self, batch: Batch) -> Loss:
        """Return the mean weighted error a dimension."""
        return Loss(self.objective(batch).mean(), {})

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) w(r) |x - x0|² / dims, each example at one r; only training hides labels."""
        x = self.space.to_model(batch.x)
        t = (torch.rand((), device=x.device) + torch.arange(len(x), device=x.device) / len(x)) % 1  # even over a batch
        r = self.noise.ratio(t)
        z = x + across(r, x) * torch.randn_like(x)
        error = (x - self._denoise(z, r, self._hidden(batch.y))).square().flatten(1).mean(1)
        return self._weight(t, r) * error

    def _weight(self, t: Tensor, r: Tensor) -> Tensor:
        if self.weighting == "likelihood":
            return self.noise.slope(t) / r.square()
        return weight(self.weighting, r, self.scale)

    def _hidden(self, y: Tensor | None) -> Tensor | None:
        """Return labels of which in training a share, each for itself, is replaced by that of none."""
        if not self.conditional or y is None:
            return None
        if not self.training:
            return y
        return hide_labels(y, self.space.classes, self.label_dropout)

    def _denoise(self, z: Tensor, r: Tensor, y: Tensor | None) -> Tensor:
        """Return x0 of z (batch, *shape), r (batch,) and labels (batch,)."""
        wide = across(r, z)
        output = self.denoiser(z * (wide.square() + self.scale.square()).rsqrt(), r.log() / 4, y)
        return denoised(self.parameterisation, output, z, wide, self.scale)

    def _check(self) -> None:
        if self.sampler.guidance != 1 and not (self.conditional and self.label_dropout):
            raise UsageError(
                f"sampler.guidance={self.sampler.guidance}: other than 1 it needs model.conditional=true and a "
                "model.label_dropout above 0"
            )

    def _guided(self, y: Tensor | None) -> Denoise:
        """Return (z, r (batch,)) -> x0 for labels, moved away from x0 without them by the sampler's guidance."""
        w = self.sampler.guidance

        def denoise(z: Tensor, r: Tensor) -> Tensor:
            x0 = self._denoise(z, r, y)
            if w != 1 and y is not None:
                free = self._denoise(z, r, torch.full_like(y, self.space.classes))
                x0 = free + w * (x0 - free)
            return x0

        return denoise

    def _path(self, n: int, y: Tensor | None) -> tuple[solvers.Counted, Tensor, list[float]]:
        """Return the denoiser for labels (n,), noise at the largest ratio, and the ratios to visit."""
        self._check()
        guided, sampler = self._guided(y), self.sampler
        top = 1.0 if sampler.clip and self.space.levels is not None else float("inf")
        denoise = solvers.Counted(lambda z, r: guided(z, z.new_full((len(z),), r)).clamp(-top, top))
        start = self.sample_latent(n) * (self.noise.sigma_max**2 + self.scale.square()).sqrt()
        return denoise, start, self.noise.levels(sampler.steps, sampler.rho)

    def _draw(self, n: int, y: Tensor | None, seen: solvers.Seen) -> Tensor:
        """Draw n samples in data space."""
        denoise, start, levels = self._path(n, self.labels(n, y))
        z = self.sampler(denoise, start, levels, seen)
        self._evaluations = denoise.evaluations * (1 + (self.sampler.guidance != 1))
        return self.space.quantise(self.space.to_data(z))

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw by the sampler's method."""
        return self._draw(n, y, solvers.unseen)

    @torch.no_grad()
    def chain(self, n: int, y: Tensor | None = None, *, frames: int) -> Tensor:
        """Return what `sample(n, y)` passes through, from noise to its samples, evenly over the levels visited.

        Args:
            n: number of samples.
            y: (n,) labels, or None.
            frames: how many moments, 2 or more.

        Returns:
            (frames, n, *space.shape), z shrunk to the data's scale; moments repeat where levels are few.
        """
        moments: list[Tensor] = []

        def seen(z: Tensor, r: float) -> None:
            shrunk = z * self.scale * (r * r + self.scale.square()).rsqrt()
            moments.append(self.space.quantise(self.space.to_data(shrunk)))

        last = self._draw(n, y, seen)
        shown = [moments[round(i * (len(moments) - 1) / max(frames - 1, 1))] for i in range(frames - 1)]
        return torch.stack([*shown, last])

    def remarks(self) -> Mapping[str, float]:
        """Return how often the last sampling asked the network, for each sample."""
        return {"network evaluations": self._evaluations} if self._evaluations else {}

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, y: Tensor | None = None) -> Tensor:
        """Draw what is unknown of x, given `known`; see `solvers.inpaint`."""
        denoise, start, levels = self._path(len(x), self.labels(len(x), y))
        z = solvers.inpaint(denoise, start, levels, self.space.to_model(x), known, visits=self.sampler.visits)
        return torch.where(known, x, self.space.quantise(self.space.to_data(z)))

    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, *space.shape) of unit noise."""
        return torch.randn(n, *self.space.shape, device=self.scale.device)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Follow the probability flow from unit noise (n, *space.shape) to data (float); y=None draws labels."""
        with exact(self):
            return self.space.to_data(self._flow(self._guided(self.labels(len(z), y))).down(z))

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Follow the probability flow from data to unit noise.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None takes the most probable by the flow's likelihood.

        Returns:
            (batch, *space.shape).
        """
        z = self.space.to_model(x)
        with exact(self):
            if self.conditional and y is None:
                probes = draw_probes(z, 1)
                y = self.each_label(z, lambda c: self._flow(partial(self._denoise, y=c)).log_prob(z, probes)).argmax(1)
            return self._flow(self._guided(y if self.conditional else None)).up(z)

    def _flow(self, denoise: Denoise) -> Flow:
        """Return the probability flow between the noise schedule's ends."""
        low, high = self.noise.sigma_min, self.noise.sigma_max
        return Flow(denoise, low, high, float(self.scale), steps=self.sampler.ode_steps)

    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return log p(x): its evidence bound in continuous time, or by the probability flow's change of variables.

        The flow gives reals their density; integer levels the importance-weighted bound over z at the smallest r, of
        which x is the nearest level.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None sums p(y) p(x | y) over all classes, p(y) by frequency.
            draws: of noise, an example: bound: of ten values of r, whose mean is taken; flow: of z, for levels.

        Returns:
            (batch,) nats.
        """
        value = self._bound if self.likelihood == "bound" else self._flow_value
        with exact(self):
            if self.conditional and y is None:
                return self.each_label(x, lambda c: value(x, c, draws)).logsumexp(1)
            return value(x, y if self.conditional else None, draws)

    def _bound(self, x: Tensor, y: Tensor | None, draws: int) -> Tensor:
        v, low, high = self.space.to_model(x), self.noise.sigma_min, self.noise.sigma_max
        read = self.observation.log_prob(x, (v + low * torch.randn_like(v)).unsqueeze(1))
        return read + evidence(partial(self._denoise, y=y), v, low, high, float(self.scale), draws=draws)

    def _flow_value(self, x: Tensor, y: Tensor | None, draws: int) -> Tensor:
        v, flow = self.space.to_model(x), self._flow(partial(self._denoise, y=y))
        if self.space.levels is None:
            return flow.log_prob(v, draw_probes(v, 1)) - self.space.scale.log().sum()
        return flow.log_mass(v, lambda z: self.observation.log_prob(x, z.unsqueeze(1)), draws=draws)

    def fields(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return the score of points with noise, of a few standard deviations of the data."""
        if self.conditional and not self.label_dropout:
            raise Unavailable("the score without a label needs model.label_dropout above 0")
        return {f"score at sigma {r:g}": partial(self._score, r) for r in SHOWN_RATIOS}

    def _score(self, ratio: float, x: Tensor) -> Tensor:
        z, r = self.space.to_model(x), torch.full((len(x),), ratio, device=x.device)
        y = torch.full((len(x),), self.space.classes, device=x.device) if self.conditional else None
        return score(self._denoise(z, r, y), z, across(r, z)) / self.space.scale
