"""Flow matching: a network learns the velocity of straight paths from noise to data, and samples follow it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import log, pi
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from gentool.batch import Batch
from gentool.errors import Unavailable, UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer
from gentool.nn.condition import hide_labels
from gentool.nn.fit import fitting
from gentool.nn.network import exact
from gentool.probability import ode, straight_path
from gentool.probability.dequantise import dequantise, quantise
from gentool.probability.ode import Method, draw_probes
from gentool.probability.straight_path import TimeLaw, between
from gentool.signatures import Group, OneOf
from gentool.space import DataSpace

SHOWN_TIMES = (0.25, 0.5, 0.75, 0.95)
"""Times at which `fields` shows the velocity."""


@dataclass(kw_only=True)
class FlowSampler:
    """What every sampler of flow matching can be asked for.

    Attributes:
        steps: equal steps of euler, heun and rk4, of 1, 2 and 4 network evaluations, and of completion; 1 or more.
        guidance: w of v(no label) + w (v(label) - v(no label)): 1 is the model's own, more exaggerates the label (which
            needs label dropout in training), 0 ignores it.
        visits: completion: times each step is taken, 1 or more; few leave the two parts at odds.
    """

    method: ClassVar[Method]

    steps: PositiveInt = 50
    guidance: NonNegativeFloat = 1.0
    visits: PositiveInt = 10


@dataclass(kw_only=True)
class Euler(FlowSampler):
    """Follow the velocity by equal steps of first order."""

    method = "euler"


@dataclass(kw_only=True)
class Heun(FlowSampler):
    """Follow the velocity by equal steps of second order."""

    method = "heun"


@dataclass(kw_only=True)
class Rk4(FlowSampler):
    """Follow the velocity by equal steps of fourth order."""

    method = "rk4"


@dataclass(kw_only=True)
class Dopri5(FlowSampler):
    """Follow the velocity by steps that adapt to a tolerance, of 6 network evaluations each.

    Attributes:
        tolerance: of a step, absolute and relative, in standard deviations of the data, > 0.
    """

    method = "dopri5"

    tolerance: PositiveFloat = 1e-5


Sampler = Annotated[FlowSampler, OneOf(euler=Euler, heun=Heun, rk4=Rk4, dopri5=Dopri5)]
"""A sampler by its name."""


class FlowMatching(GenerativeModel):
    """dx/dt = v(x, t), v learnt by E |v(x_t, t) - (x1 - x0)|², x_t = (1 - t) x0 + t x1, x0 ~ N(0, 1), x1 data.

    Reals are standardised; integer levels are dequantised by noise uniform in [0, 1), and centred to [-1, 1).

    Args:
        space: the data's facts.
        denoiser: makes v: (space, outputs_per_dim, classes) -> network of (x, t, y).
        time: law of t in training: uniform, or logit_normal: more often in the middle.
        coupling: of noise and data in training: independent, or ot: the cheapest pairs of each batch, for straighter
            paths.
        conditional: whether v sees the label.
        label_dropout: share of the examples, 0 to below 1, whose label is hidden in training: guidance needs some; only
            where conditional.
        sampler: how samples are drawn.

    Raises:
        UsageError: where options do not fit the data or each other.

    Reference: Flow Matching for Generative Modeling, Yaron Lipman et al., 2022, https://arxiv.org/abs/2210.02747; Flow
        Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow, Xingchao Liu, Chengyue Gong and
        Qiang Liu, 2022, https://arxiv.org/abs/2209.03003
    """

    likelihood: Literal["ode"] = "ode"
    sampler: FlowSampler

    def __init__(
        self,
        space: DataSpace,
        *,
        denoiser: Annotated[Callable[..., nn.Module], Group("denoiser")] | None = None,
        time: TimeLaw = "uniform",
        coupling: Literal["independent", "ot"] = "independent",
        conditional: bool = False,
        label_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        sampler: Sampler = Dopri5(),
    ) -> None:
        super().__init__(space, sampler)
        self.condition(conditional)
        if space.vocabulary:
            raise UsageError("noise flows to reals and to ordered levels, and the symbols of text have no order")
        self.time, self.coupling, self.label_dropout = time, coupling, label_dropout
        self.denoiser = (denoiser or fitting("denoiser", space))(space, 1, space.classes if conditional else 0)
        self._evaluations = 0
        self._check()  # a sampler that makes no sense is refused before training

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step down the squared error of the velocity."""
        return optimizers.minimize("model", self.loss, batches)

    def loss(self, batch: Batch) -> Loss:
        """Return the mean squared error a dimension."""
        return Loss(self.objective(batch).mean(), {})

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) |v(x_t, t) - (x1 - x0)|² / dims, each example at one t and one x0.

        Only training hides labels and pairs noise with data.
        """
        x1, y = self._enter(batch.x, self._noise(batch.x))[0], batch.y if self.conditional else None
        x0, t = torch.randn_like(x1), straight_path.draw_times(len(x1), self.time, x1.device)
        if self.training:
            x0 = straight_path.pair(x0, x1, y) if self.coupling == "ot" else x0
            y = None if y is None else hide_labels(y, self.space.classes, self.label_dropout)
        error: Tensor = self.denoiser(between(x0, x1, t), t, y) - (x1 - x0)
        return error.square().flatten(1).mean(1)

    def _noise(self, x: Tensor) -> Tensor | float:
        return 0.0 if self.space.levels is None else torch.rand(x.shape, device=x.device)

    def _enter(self, x: Tensor, u: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return data as the reals that paths end in, and the log-determinant (batch,) of that."""
        if self.space.levels is not None:
            return dequantise(x, u, self.space.levels, None)
        return self.space.standardise(x), -self.space.scale.log().sum().expand(len(x))

    def _leave(self, v: Tensor) -> Tensor:
        """Return reals as data; integer levels are the whole part."""
        if self.space.levels is None:
            return self.space.to_data(v)
        return quantise(v, self.space.levels, None).clamp(0, self.space.levels - 1).to(self.space.dtype)

    def _check(self) -> None:
        if self.sampler.guidance != 1 and not (self.conditional and self.label_dropout):
            raise UsageError(
                f"sampler.guidance={self.sampler.guidance}: other than 1 it needs model.conditional=true and a "
                "model.label_dropout above 0"
            )

    @property
    def _solver(self) -> dict[str, Any]:
        tolerance = self.sampler.tolerance if isinstance(self.sampler, Dopri5) else 0.0
        return {"method": self.sampler.method, "steps": self.sampler.steps, "tolerance": tolerance}

    def _field(self, y: Tensor | None) -> ode.Field:
        """Return (x, t) -> velocity for labels, moved away from that without them by the sampler's guidance."""
        w = self.sampler.guidance

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            v: Tensor = self.denoiser(x, t, y)
            if w == 1 or y is None:
                return v
            free: Tensor = self.denoiser(x, t, torch.full_like(y, self.space.classes))
            return free + w * (v - free)

        return velocity

    def _solved(self, field: ode.Field, x: Tensor, t0: float, t1: float) -> list[Tensor]:
        """Return x after each step of the sampler's solver."""
        self._check()
        path = list(ode.trajectory(field, x, t0, t1, **self._solver))
        self._evaluations = path[-1].evaluations * (1 + (self.sampler.guidance != 1))
        return [step.x for step in path]

    def _drawn(self, n: int, y: Tensor | None) -> list[Tensor]:
        """Return what n samples pass through, from noise on."""
        field = self._field(self.labels(n, y))
        x0 = self.sample_latent(n)
        if self.sampler.method != "dopri5":
            return [x0, *self._solved(field, x0, 0.0, 1.0)]
        with exact(self):  # it would take the rounding of bfloat16 for a field that asks for tiny steps
            return [x0, *self._solved(field, x0, 0.0, 1.0)]

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw noise and follow the velocity from t = 0 to 1."""
        return self._leave(self._drawn(n, y)[-1])

    @torch.no_grad()
    def chain(self, n: int, y: Tensor | None = None, *, frames: int) -> Tensor:
        """Return (frames, n, *space.shape), what `sample(n, y)` passes through, evenly over the solver's steps."""
        path = self._drawn(n, y)
        shown = [path[round(i * (len(path) - 1) / max(frames - 1, 1))] for i in range(frames - 1)]
        return torch.stack([self._leave(x) for x in (*shown, path[-1])])

    def remarks(self) -> Mapping[str, float]:
        """Return how often the last sampling asked the network, for each sample."""
        return {"network evaluations": self._evaluations} if self._evaluations else {}

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, y: Tensor | None = None) -> Tensor:
        """Draw what is unknown of x, given `known`, by the sampler's steps and visits; see `straight_path.inpaint`."""
        self._check()
        field, v = self._field(self.labels(len(x), y)), self._enter(x, 0.5)[0]
        steps, visits = self.sampler.steps, self.sampler.visits
        drawn = straight_path.inpaint(field, torch.randn_like(v), v, known, steps=steps, visits=visits)
        return torch.where(known, x, self._leave(drawn))

    def sample_latent(self, n: int) -> Tensor:
        """Draw (n, *space.shape) of unit noise."""
        return torch.randn(n, *self.space.shape, device=next(self.parameters()).device)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Follow the velocity from noise (n, *space.shape) to data (float, not rounded); y=None draws labels."""
        with exact(self):
            v = self._solved(self._field(self.labels(len(z), y)), z, 0.0, 1.0)[-1]
        if self.space.levels is None:
            return self.space.to_data(v)
        return (quantise(v, self.space.levels, None) - 0.5).clamp(0, self.space.levels - 1)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Follow the velocity from data, levels taken at their middle, back to noise.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None takes the most probable.

        Returns:
            (batch, *space.shape).
        """
        v = self._enter(x, 0.5)[0]
        with exact(self):
            if self.conditional and y is None:
                probes = draw_probes(v, 1)
                y = self.each_label(v, lambda c: self._log_density(v, c, probes)).argmax(1)
            return self._solved(self._field(y if self.conditional else None), v, 1.0, 0.0)[-1]

    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return log p(x) by the change of variables along the flow, with the sampler's solver, without guidance.

        Of integer levels it is the mean of log p(x + u_i) over draws of u: a bound in expectation, by Jensen. In more
        than `ode.EXACT_DIMS` dimensions the log-determinant is estimated, without bias, by one probe a draw.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None sums p(y) p(x | y) over all classes, p(y) by frequency.
            draws: of u and of the probes, an example; of few reals there is nothing to draw.

        Returns:
            (batch,) nats.
        """
        drawn = [self._one_draw(x, y) for _ in range(draws if self._is_random else 1)]
        return torch.stack(drawn).mean(0)

    @property
    def _is_random(self) -> bool:
        return self.space.levels is not None or self.space.dims > ode.EXACT_DIMS

    def _one_draw(self, x: Tensor, y: Tensor | None) -> Tensor:
        v, log_det = self._enter(x, self._noise(x))
        probes = draw_probes(v, 1)
        with exact(self):
            if self.conditional and y is None:
                return self.each_label(v, lambda c: self._log_density(v, c, probes) + log_det).logsumexp(1)
            return self._log_density(v, y if self.conditional else None, probes) + log_det

    def _log_density(self, v: Tensor, y: Tensor | None, probes: Tensor | None) -> Tensor:
        """Return log N(x0; 0, 1) + log |det dx0/dv|, (batch,) nats, of v (batch, *shape)."""
        z, log_det, _ = ode.integrate_with_log_det(
            lambda x, t: self.denoiser(x, t, y), v, 1.0, 0.0, probes=probes, **self._solver
        )
        return log_det - 0.5 * (z.square().flatten(1).sum(1) + self.space.dims * log(2 * pi))

    def fields(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Return the velocity at some times."""
        if self.conditional and not self.label_dropout:
            raise Unavailable("the velocity without a label needs model.label_dropout above 0")
        return {f"velocity at t={t:g}": partial(self._velocity, t) for t in SHOWN_TIMES}

    def _velocity(self, t: float, x: Tensor) -> Tensor:
        """Return the velocity at points of data space, in its units a unit of t."""
        y = torch.full((len(x),), self.space.classes, device=x.device) if self.conditional else None
        v: Tensor = self.denoiser(self.space.standardise(x), x.new_full((len(x),), t), y)
        return v * self.space.scale
