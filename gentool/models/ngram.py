"""Markov chains over symbols: counted, smoothed, exact."""

from collections.abc import Iterator
from math import log
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from typing_extensions import TypedDict

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.base import GenerativeModel, Metrics, Minimizer, Pass
from gentool.nn.sequence import raster
from gentool.probability.inverse_cdf import inverse_cdf, sharpen
from gentool.space import DataSpace

MOST = 2**24
"""N-grams kept at most: 256 MB."""

CHUNK = 2**22  # counts looked up at a time: 32 MB

_NONE = 2**63 - 1  # fills the table behind the last n-gram


class Sampler(TypedDict):
    """What sampling can be asked for.

    Attributes:
        temperature: T of p(x_i | x_<i)^(1/T); 1 is the model's own, 0 takes the likeliest.
        top_k: how many of the likeliest symbols may be drawn; None: all.
        top_p: the share that the symbols that may be drawn hold, the likeliest first; None: all.
    """

    temperature: NonNegativeFloat
    top_k: PositiveInt | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None


SAMPLER: Sampler = {"temperature": 1.0, "top_k": None, "top_p": None}


class NGram(GenerativeModel):
    """p(x) = prod_i p(x_i | the `order` - 1 symbols before it), from how often they followed each other in training.

    A context c of k symbols leans on its last k - 1, c', down to no context and the uniform distribution below it:

    - discount: p(w | c) = (max(n(c w) - d, 0) + p(w | c') sum_v min(n(c v), d)) / n(c), 0 < d < 1;
    - dirichlet: p(w | c) = (n(c w) + a p(w | c')) / (n(c) + a), the posterior mean under a prior worth `a` examples.

    The table holds every n-gram once, sorted, as a number in base levels + 1 (the last digit fills up what is cut off
    by an example's end); below it the sum of counts before each. So n(c w) of any length is a difference of two sums.

    Args:
        space: the data's facts.
        order: symbols in an n-gram, 1 or more: each is predicted from the order - 1 before it.
        smoothing: how a context backs off to shorter ones: discount (absolute discounting) or dirichlet (they are its
            prior).
        amount: discount: subtracted from each count, between 0 and 1; dirichlet: how many examples the prior is worth,
            > 0.
        conditional: whether each class has its own counts.
        sampler: what sampling does unless asked otherwise.

    Raises:
        UsageError: where the data is real, or the table would be too large.

    Reference: A Mathematical Theory of Communication, Claude Shannon, 1948,
        https://doi.org/10.1002/j.1538-7305.1948.tb01338.x; On Structuring Probabilistic Dependences in Stochastic
        Language Modelling, Ney, Essen and Kneser, 1994, https://doi.org/10.1006/csla.1994.1001; A Hierarchical
        Dirichlet Language Model, MacKay and Peto, 1995, https://doi.org/10.1017/S1351324900000218
    """

    likelihood: Literal["exact"] = "exact"
    grams: Tensor
    below: Tensor
    sequence: Tensor

    def __init__(
        self,
        space: DataSpace,
        *,
        order: PositiveInt = 5,
        smoothing: Literal["discount", "dirichlet"] = "discount",
        amount: PositiveFloat = 0.75,
        conditional: bool = False,
        sampler: Sampler = SAMPLER,
    ) -> None:
        super().__init__(space, sampler)
        if space.levels is None:
            raise UsageError("an n-gram counts symbols, and this data is real: bin it, or take model=gmm")
        self.condition(conditional)
        if smoothing == "discount" and amount >= 1:
            raise UsageError(
                f"model.amount={amount}: expected a discount between 0 and 1; smoothing=dirichlet takes more"
            )
        self.order, self.smoothing, self.amount = order, smoothing, amount
        self.base = space.levels + 1
        groups = space.classes if conditional else 1
        room = min(groups * self.base**order, space.examples * space.dims)
        if groups * self.base**order >= _NONE or room > MOST:
            raise UsageError(
                f"model.order={order}: {room:,} n-grams of {space.levels} symbols are too many to keep; lower it"
            )
        self.register_buffer("grams", torch.full((room,), _NONE))
        self.register_buffer("below", torch.zeros(room + 1, dtype=torch.int64))
        self.register_buffer("sequence", raster(space), persistent=False)

    def players(self) -> dict[str, list[torch.nn.Parameter]]:
        """Return none: nothing is learnt by gradients."""
        return {}

    @torch.no_grad()
    def begin(self, data: Pass) -> None:
        """Count, in one pass; that is all the training there is.

        Args:
            data: one pass over the training split.
        """
        grams = counts = torch.zeros(0, dtype=torch.int64, device=self.grams.device)
        for x, y, _ in data():
            new = self._grams(x, y).flatten()
            grams, where = torch.cat([grams, new]).unique(return_inverse=True)  # type: ignore[no-untyped-call]
            added = torch.cat([counts, torch.ones_like(new)])
            counts = torch.zeros_like(grams).index_add_(0, where, added)
        self.grams.fill_(_NONE)[: len(grams)] = grams
        self.below[1:] = counts.sum()
        self.below[1 : len(grams) + 1] = counts.cumsum(0)

    def _grams(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return (batch, dims) the number of the n-gram that begins at each place."""
        symbols = x.flatten(1)[:, self.sequence].long()
        end = torch.full((len(x), self.order - 1), self.base - 1, device=x.device)
        symbols = torch.cat([symbols, end], 1)
        number = self._groups(len(x), y)[:, None].expand(-1, self.space.dims)
        for j in range(self.order):
            number = number * self.base + symbols[:, j : j + self.space.dims]
        return number

    def _groups(self, n: int, y: Tensor | None) -> Tensor:
        return y if self.conditional and y is not None else torch.zeros(n, dtype=torch.int64, device=self.grams.device)

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        """Measure a batch; `begin` has counted."""
        nll = self.objective(next(batches)).mean()
        nats = nll / self.space.dims
        each = {"model/nats_per_token": nats} if self.space.vocabulary else {"model/bits_per_dim": nats / log(2)}
        return {"model/loss": nll, **each, "model/grams": (self.grams < _NONE).sum()}

    def objective(self, batch: Batch) -> Tensor:
        """Return (batch,) nats: -log p(x), of a conditional model -log p(x | y)."""
        return -self.log_prob(batch.x, batch.y if self.conditional else None)

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
        if self.conditional and y is None:
            return self.each_label(x, lambda y: self.log_prob(x, y)).logsumexp(1)
        size = max(1, CHUNK // (self.space.dims * self.base))
        groups = self._groups(len(x), y)
        return torch.cat([self._log_prob(x[i : i + size], groups[i : i + size]) for i in range(0, len(x), size)])

    def _log_prob(self, x: Tensor, groups: Tensor) -> Tensor:
        """Return (batch,) nats, each place given what stands before it in its own example alone."""
        symbols = x.flatten(1)[:, self.sequence].long()
        p = self._shorter_first(symbols, groups)
        return p.gather(2, symbols.unsqueeze(2)).squeeze(2).log().sum(1).float()

    def _shorter_first(self, symbols: Tensor, groups: Tensor) -> Tensor:
        """Return p(. | the symbols before), (batch, places, levels) float64, of every place of (batch, places)."""
        n, places = symbols.shape
        p = torch.full((n, places, self.base - 1), 1 / (self.base - 1), dtype=torch.float64, device=symbols.device)
        for k in range(min(self.order, places)):
            context = groups[:, None].expand(n, places - k)
            for j in range(k):
                context = context * self.base + symbols[:, j : j + places - k]
            p[:, k:] = self._leaning(context, k, p[:, k:])
        return p

    def _leaning(self, context: Tensor, k: int, p: Tensor) -> Tensor:
        """Return p(. | context), (…, levels), of contexts (…) of k symbols, from that of the context's last k - 1."""
        n = self._counts(context, k)
        total = n.sum(-1, keepdim=True)
        if self.smoothing == "dirichlet":
            return (n + self.amount * p) / (total + self.amount)
        kept = (n - self.amount).clamp(min=0)
        shared = total - kept.sum(-1, keepdim=True)
        return torch.where(total > 0, (kept + shared * p) / total.clamp(min=1), p)

    def _counts(self, context: Tensor, k: int) -> Tensor:
        """Return how often each symbol followed contexts (…) of k symbols, (…, levels) float64."""
        first = context.unsqueeze(-1) * self.base + torch.arange(self.base, device=context.device)
        places = torch.searchsorted(self.grams, first * self.base ** (self.order - 1 - k))
        return self.below[places].diff(dim=-1).double()

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw x one symbol after the other."""
        x = torch.zeros(n, *self.space.shape, dtype=self.space.dtype, device=self.grams.device)
        return self.complete(x, torch.zeros_like(x, dtype=torch.bool), y)

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, y: Tensor | None = None) -> Tensor:
        """Draw what is unknown, each symbol given those before it.

        Args:
            x: (n, *space.shape), in data space.
            known: (n, *space.shape), True where x is given.
            y: (n,) labels of a conditional model; None draws them by their training frequency.

        Returns:
            (n, *space.shape), in data space.
        """
        y = self.labels(len(x), y)
        symbols, given = (t.flatten(1)[:, self.sequence] for t in (x.long(), known))
        groups = self._groups(len(x), y)
        u = torch.rand(symbols.shape, device=x.device)
        for i in range(self.space.dims):
            seen = symbols[:, max(0, i - self.order + 1) : i + 1]
            log_p = self._last(seen, groups).log()
            drawn = inverse_cdf(
                sharpen(log_p, *(self.sampler[key] for key in ("temperature", "top_k", "top_p"))), u[:, i]
            )
            symbols[:, i] = torch.where(given[:, i], symbols[:, i], drawn)
        flat = torch.empty_like(symbols)
        flat[:, self.sequence] = symbols
        return flat.view(x.shape).to(self.space.dtype)

    def _last(self, symbols: Tensor, groups: Tensor) -> Tensor:
        """Return p(. | the symbols before the last), (n, levels) float64."""
        n, places = symbols.shape
        p = torch.full((n, self.base - 1), 1 / (self.base - 1), dtype=torch.float64, device=symbols.device)
        for k in range(places):
            context = groups
            for j in range(places - 1 - k, places - 1):
                context = context * self.base + symbols[:, j]
            p = self._leaning(context, k, p)
        return p
