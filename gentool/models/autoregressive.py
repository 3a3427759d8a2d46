"""Autoregressive models: each dimension from those before it, whatever network sees to that."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from math import log
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from typing_extensions import TypedDict

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer
from gentool.nn import Network
from gentool.probability.conditionals import Name, conditional_for
from gentool.probability.inverse_cdf import inverse_cdf, sharpen
from gentool.probability.mixture_likelihoods import GaussianMixture
from gentool.space import DataSpace

CHUNK = 2**25  # network outputs held at a time by `log_prob`: 128 MB, also where each pixel has hundreds


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        temperature: T of p(x_i | x_<i)^(1/T); 1 is the model's own, 0 takes the likeliest.
        top_k: how many of the likeliest levels may be drawn; None: all.
        top_p: the share that the levels that may be drawn hold, the likeliest first; None: all.
        mean: pictures show the mean of each p(x_i | x_<i) at the samples, instead of the samples.
    """

    temperature: NonNegativeFloat
    top_k: PositiveInt | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None
    mean: bool


@runtime_checkable
class Cached(Protocol):
    """A body that remembers what it computed for the dimensions before, so that one more costs as much as one.

    From the same values, `step` gives the numbers that `forward` gives.
    """

    def begin(self, n: int, y: Tensor | None, device: torch.device) -> Any:
        """Return what is remembered before the first dimension of n samples, of labels y (n,) or None."""
        ...

    def step(self, state: Any, i: int, x_prev: Tensor | None) -> Tensor:
        """Return the outputs (n, outputs_per_dim) of the i-th dimension in the order, for i = 0, 1 and so on.

        `x_prev` (n,) is the value of the dimension before, as `forward` sees it (see `Autoregressive`); None at i = 0.
        """
        ...


@runtime_checkable
class Mixed(Protocol):
    """A body of several masks, each an autoregressive network: in training one is drawn a batch, p(x) is their mixture.

    Attributes:
        masks: how many.
    """

    masks: int

    def wearing(self, mask: int) -> AbstractContextManager[None]:
        """Inside, the body is the network of that mask."""
        ...


SAMPLER: Sampler = {"temperature": 1.0, "top_k": None, "top_p": None, "mean": False}


class Autoregressive(GenerativeModel):
    """p(x) = prod_i p(x_i | x_<i), exactly, in the order of the network.

    The body of the network has `order`, (dims,) int64: the flat index of each dimension, in the order they are drawn.
    Its forward(x, y) gives (batch, outputs_per_dim, *space.shape), and what it gives for a dimension depends on those
    before it alone. It sees x in model space, or as int64 levels where it says `takes_tokens = True`. A body that is
    `Cached` is sampled a dimension at a time, any other by one whole forward a dimension.

    Args:
        space: the data's facts.
        network: builds the network: (space, outputs_per_dim, classes) -> Network.
        likelihood: p(x_i | x_<i): bernoulli (2 levels), categorical (levels, text), logistic_mixture (levels) or
            gaussian_mixture (reals); auto: the first that fits, but logistic_mixture above 32 levels.
        components: components of a mixture, 1 or more.
        conditional: whether the network is given the label.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where options do not fit the data.

    Reference: Modeling High-Dimensional Discrete Data with Multi-Layer Neural Networks, Bengio and Bengio, 1999,
        https://papers.nips.cc/paper/1679-modeling-high-dimensional-discrete-data-with-multi-layer-neural-networks
    """

    likelihood: Literal["exact"] = "exact"
    start: Tensor

    def __init__(
        self,
        space: DataSpace,
        *,
        network: Callable[..., Network],
        likelihood: Name = "auto",
        components: PositiveInt = 10,
        conditional: bool = False,
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        self.condition(conditional)
        self.observation = conditional_for(space, likelihood, components)
        self.network = network(space, self.observation.outputs_per_dim, space.classes if conditional else 0)
        self.register_buffer("start", self.observation.start(), persistent=False)

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Take one step up the likelihood."""
        return optimizers.minimize("model", self.loss, batches)

    def loss(self, batch: Batch) -> Loss:
        """Return the mean of -log p(x), and of discrete data what that is a dimension."""
        nll = self.objective(batch).mean()
        if self.space.levels is None:
            return Loss(nll, {})
        nats = nll.detach() / self.space.dims
        return Loss(nll, {"nats_per_token": nats} if self.space.vocabulary else {"bits_per_dim": nats / log(2)})

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) nats: -log p(x), of a conditional model -log p(x | y)."""
        return -self._log_prob(batch.x, batch.y if self.conditional else None)

    @torch.no_grad()
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, draws: int = 1) -> Tensor:
        """Return log p(x), exactly.

        Args:
            x: (batch, *space.shape), in data space.
            y: (batch,) labels of a conditional model; None sums p(y) p(x | y) over all classes, p(y) by frequency.
            draws: without effect.

        Returns:
            (batch,) nats.
        """
        size = max(1, CHUNK // self.start.numel())
        if not self.conditional:
            return torch.cat([self._mixed(x[i : i + size], None) for i in range(0, len(x), size)])
        if y is not None:
            return torch.cat([self._mixed(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)])
        return self.each_label(x, lambda y: self.log_prob(x, y)).logsumexp(1)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw x one dimension after the other."""
        x = torch.zeros(n, *self.space.shape, dtype=self.space.dtype, device=self.start.device)
        return self.complete(x, torch.zeros_like(x, dtype=torch.bool), y)

    @torch.no_grad()
    def picture(self, n: int, y: Tensor | None = None) -> Tensor:
        """Return the mean of each p(x_i | x_<i) at the samples that `sample` would draw; them, if not sampler.mean."""
        y = self.labels(n, y)
        x = self.sample(n, y)
        if not self.sampler["mean"] or self.space.vocabulary or self.space.is_points:
            return x
        return self.observation.mean(self._outputs(x, y))

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, y: Tensor | None = None, *, cached: bool = True) -> Tensor:
        """Draw what is unknown, each dimension given all those before it in the order.

        What is known is given to what comes after it. So where it comes first in the order, this is p(unknown | known).

        Args:
            x: (n, *space.shape), in data space.
            known: (n, *space.shape), True where x is given.
            y: (n,) labels of a conditional model; None draws them by their training frequency.
            cached: false draws by one whole forward a dimension, as one does without caches.

        Returns:
            (n, *space.shape), in data space.
        """
        y, u = self.labels(len(x), y), self._uniform(len(x))
        body = self.network.body
        cached = cached and isinstance(body, Cached)
        if not isinstance(body, Mixed) or body.masks == 1:
            return self._fill(x, known, y, u, cached=cached)
        x, which = x.clone(), torch.randint(body.masks, (len(x),), device=x.device)
        for mask in range(body.masks):
            rows = (which == mask).nonzero()[:, 0]
            with body.wearing(mask):
                x[rows] = self._fill(x[rows], known[rows], None if y is None else y[rows], u[rows], cached=cached)
        return x

    @property
    def order(self) -> Tensor:
        """(dims,) int64, the flat index of each dimension in the order they are drawn."""
        body: Any = self.network.body
        order: Tensor = body.order
        return order

    @torch.no_grad()
    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return (batch, outputs_per_dim, *space.shape), of which each p(x_i | x_<i) is made; y where conditional."""
        return self._outputs(x, y if self.conditional else None)

    def _uniform(self, n: int) -> Tensor:
        """Draw all the randomness of n samples at once, so that it does not depend on how they are computed."""
        places = (n, self.space.dims) if self.space.levels is not None else (n, self.space.dims, 2)
        return torch.rand(places, device=self.start.device)

    def _fill(self, x: Tensor, known: Tensor, y: Tensor | None, u: Tensor, *, cached: bool) -> Tensor:
        """Return x with its unknown part drawn, from u (n, dims, …) uniform on [0, 1), by place in the order."""
        x = x.masked_fill(~known, 0)
        values, fixed, start = x.view(len(x), -1), known.flatten(1), self.start.flatten(1)
        all_known, any_known = fixed.all(0).tolist(), fixed.any(0).tolist()
        body: Any = self.network.body
        with torch.inference_mode():  # x is older than it, so what is returned is an ordinary tensor
            state = body.begin(len(x), y, x.device) if cached else None
            seen = None
            for i, dim in enumerate(body.order.tolist()):
                outputs = body.step(state, i, seen) if cached else self.network(self._seen(x), y).flatten(2)[..., dim]
                if not all_known[dim]:
                    drawn = self._draw(outputs + start[:, dim], u[:, i], dim).to(x.dtype)
                    values[:, dim] = torch.where(fixed[:, dim], values[:, dim], drawn) if any_known[dim] else drawn
                seen = self._seen(values[:, dim], dim)
        return x

    def _draw(self, outputs: Tensor, u: Tensor, dim: int) -> Tensor:
        """Draw one dimension, (n,) in data space, from outputs (n, outputs_per_dim)."""
        temperature, top_k, top_p = (self.sampler[key] for key in ("temperature", "top_k", "top_p"))
        if isinstance(self.observation, GaussianMixture):
            if top_k or top_p:
                raise UsageError("sampler.top_k and sampler.top_p choose among levels, and this data holds reals")
            z = self.observation.draw(outputs, u, temperature)
            return z * self.space.scale.flatten()[dim] + self.space.loc.flatten()[dim]
        return inverse_cdf(sharpen(self.observation.log_table(outputs), temperature, top_k, top_p), u)

    def _seen(self, x: Tensor, dim: int | None = None) -> Tensor:
        """Return x, or one dimension (n,) of it, as the body takes it."""
        if getattr(self.network.body, "takes_tokens", False):
            return x.long()
        space = self.space
        if dim is None or space.levels is not None:  # of levels, every dimension is scaled alike
            seen = space.to_model(x)
        else:
            seen = (x - space.loc.flatten()[dim]) / space.scale.flatten()[dim]
        return seen.to(self.start.dtype)

    def _outputs(self, x: Tensor, y: Tensor | None) -> Tensor:
        outputs: Tensor = self.network(self._seen(x), y) + self.start
        return outputs

    def _log_prob(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self.observation.log_prob(x, self._outputs(x, y))

    def _mixed(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return log p(x), of a body with several masks that of their mixture."""
        body = self.network.body
        if not isinstance(body, Mixed) or body.masks == 1:
            return self._log_prob(x, y)
        each = []
        for mask in range(body.masks):
            with body.wearing(mask):
                each.append(self._log_prob(x, y))
        return torch.stack(each).logsumexp(0) - log(body.masks)
