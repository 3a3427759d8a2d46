"""Laws of autoregressive models: nothing later is seen, caches change nothing, completion follows the conditional."""

import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.models.autoregressive import Autoregressive, Cached
from gentool.space import DataSpace
from gentool.training.rng import fork
from tests.laws.exact_laws import states
from tests.laws.laws import same

TOLERANCE = 1e-10  # in fp64
DRAWS = 2000


def labels(model: Autoregressive, batch: Batch) -> Tensor | None:
    return batch.y if model.conditional else None


def order_of(model: Autoregressive) -> list[int]:
    body = model.network.body
    return [int(i) for i in body.order]  # type: ignore[union-attr]


def other(x: Tensor, space: DataSpace) -> Tensor:
    """Another value, in data space, for each of x."""
    return x + 1 if space.levels is None else ((x.long() + 1) % space.levels).to(x.dtype)


def outputs_see_what_is_before_them_alone(model: Autoregressive, batch: Batch) -> None:
    """Change one dimension: no output of it or of an earlier one moves, and some later one does.

    It is the Jacobian's strict triangle in the order, by differences: so it holds of tokens too.
    """
    model.double()
    order, x = order_of(model), batch.x[:1]
    assert sorted(order) == list(range(model.space.dims)), "the order is no permutation of the dimensions"
    changed = x.repeat(len(order) + 1, *[1] * len(model.space.shape)).flatten(1)
    for row, dim in enumerate(order):
        changed[row, dim] = other(x.flatten()[dim], model.space)
    y = labels(model, batch)
    with torch.no_grad():
        out = model._outputs(changed.view(-1, *model.space.shape), None if y is None else y[:1].expand(len(changed)))
    moved = (out - out[-1]).abs().flatten(2).amax(1)[:-1, order]  # [i, j]: of the j-th by a change of the i-th
    leaks = torch.tril(moved).amax().item()
    assert leaks < TOLERANCE, f"an output moves by {leaks:.2g} with its own dimension or a later one"
    assert moved.amax() > 0, "no output depends on any dimension"


def cached_equals_naive(model: Autoregressive, batch: Batch) -> None:
    """From the same uniform numbers the same samples, and at each dimension the same outputs."""
    model.double()
    body, n = model.network.body, len(batch.x)
    assert isinstance(body, Cached)
    y = labels(model, batch)
    with fork(0):
        known = torch.rand(batch.x.shape) < 0.2
        u = model._uniform(n)
    with torch.no_grad():
        cached, naive = (model._fill(batch.x, known, y, u, cached=way) for way in (True, False))
        if model.space.levels is None:
            torch.testing.assert_close(cached, naive, rtol=0, atol=1e-6)
        else:
            same(cached, naive, "cached sampling draws otherwise")
        whole = model.network(model._seen(naive), y).flatten(2)
        state, seen = body.begin(n, y, naive.device), None
        for i, dim in enumerate(order_of(model)):
            gap = (body.step(state, i, seen) - whole[..., dim]).abs().max().item()
            assert gap < TOLERANCE, f"the outputs of dimension {i} differ by {gap:.2g}"
            seen = model._seen(naive.flatten(1)[:, dim], dim)


def completion_needs_no_caches(model: Autoregressive, batch: Batch) -> None:
    """Where the first half in the order is known (an image's top, a prompt), the rest is drawn alike without caches."""
    model.double()
    known = torch.zeros(model.space.dims, dtype=torch.bool)
    known[order_of(model)[: model.space.dims // 2]] = True
    known = known.view(model.space.shape).expand(batch.x.shape)
    drawn = []
    for cached in (True, False):
        with fork(3):
            drawn.append(model.complete(batch.x, known, labels(model, batch), cached=cached))
    same(drawn[0][known], batch.x[known], "what is known was changed")
    assert not torch.equal(drawn[0], batch.x), "nothing was drawn"
    if model.space.levels is None:
        torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=1e-6)
    else:
        same(drawn[0], drawn[1], "caches complete otherwise")


def completion_keeps_what_is_known(model: Autoregressive, batch: Batch) -> None:
    """What is given comes back bit for bit, and what stands where nothing is known has no effect."""
    known = torch.arange(model.space.dims).view(model.space.shape) % 3 == 0
    known = known.expand(batch.x.shape)
    drawn = []
    for x in (batch.x, torch.where(known, batch.x, other(batch.x, model.space))):
        with fork(1):
            drawn.append(model.complete(x, known, labels(model, batch)))
    same(drawn[0], drawn[1], "what is unknown is looked at")
    same(drawn[0][known], batch.x[known], "what is known was changed")
    assert not torch.equal(drawn[0], batch.x), "nothing was drawn"
    model.space.check(drawn[0])


def completion_follows_the_conditional(model: Autoregressive, batch: Batch) -> None:
    """Where the first dimensions of the order are known, the rest has the moments of p(rest | them)."""
    order, space = order_of(model), model.space
    half = space.dims // 2
    known = torch.zeros(space.dims, dtype=torch.bool)
    known[order[:half]] = True
    x, y = batch.x[:1], labels(model, batch)
    places, p = _conditional(model, x, known, None if y is None else y[:1])
    with fork(2):
        drawn = model.complete(
            x.expand(DRAWS, *space.shape),
            known.view(space.shape).expand(DRAWS, *space.shape),
            None if y is None else y[:1].expand(DRAWS),
        )
    rest = drawn.flatten(1)[:, ~known].double()
    mean = p @ places
    spread = (p @ places.square() - mean.square()).clamp(min=1 / DRAWS).sqrt()
    off = ((rest.mean(0) - mean).abs() / spread).max().item()
    assert off < 5 / DRAWS**0.5 + 0.01, f"completions are {off:.3f} s.d. from the conditional mean"
    ratio = (rest.std(0).clamp(min=DRAWS**-0.5) / spread).log().abs().max().item()
    assert ratio < 0.25, "completions spread otherwise than the conditional"


def _conditional(model: Autoregressive, x: Tensor, known: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return values of the unknown dimensions, (count, unknown), and their probabilities given the known ones."""
    if model.space.levels is None:
        line = torch.linspace(-40, 40, 8001)[:, None] * model.space.scale.flatten()[~known] + x.flatten()[~known]
        every = x.flatten(1).repeat(len(line), 1)
        every[:, ~known] = line
        every = every.view(-1, *model.space.shape)
    else:
        every = states(model.space)
        every = every[(every.flatten(1)[:, known] == x.flatten()[known]).all(1)]
    with torch.no_grad():
        log_p = model.log_prob(every, None if y is None else y.expand(len(every)))
    return every.flatten(1)[:, ~known].double(), log_p.double().softmax(0)
