"""Laws of diffusion models: the flow is a density and can be followed back; levels have probabilities; labels count."""

import torch

from gentool.batch import Batch
from gentool.models.diffusion import Diffusion
from gentool.training.rng import fork
from tests.laws.exact_laws import states
from tests.laws.laws import same

FINE = 24
"""Steps of the flow that leave its error below what a law allows."""


def decodes_what_it_encodes(model: Diffusion, batch: Batch) -> None:
    model.sampler.ode_steps = FINE
    y = batch.y if model.conditional else None
    again = model.decode(model.encode(batch.x, y), y)
    if model.space.levels is None:
        torch.testing.assert_close(again, batch.x, atol=0.02, rtol=0.01)
    else:
        same(model.space.quantise(again), batch.x, "decode(encode(x)) is not x")


def flow_is_a_density(model: Diffusion, reach: float = 5.0, cells: int = 40) -> None:
    """exp log_prob, by the flow, integrates to one over the plane."""
    vars(model.sampler).update(likelihood="ode", ode_steps=12)
    line = (torch.arange(cells) + 0.5) / cells * 2 - 1
    x = model.space.to_data(reach * torch.cartesian_prod(line, line))
    cell = float((2 * reach / cells * model.space.scale).prod())
    total = float(model.log_prob(x).double().exp().sum() * cell)
    assert abs(total - 1) < 0.02, f"the density integrates to {total:.4f}"


def probabilities_sum_to_no_more_than_one(model: Diffusion, draws: int = 400) -> None:
    """sum_x exp E log_prob <= sum_x P(x) = 1 over all examples there can be, of the bound and by the flow."""
    x = states(model.space)
    for kind, repeats, each in (("bound", draws, 1), ("ode", 10, 10)):
        vars(model.sampler).update(likelihood=kind, ode_steps=5)
        with fork(0):
            values = model.log_prob(x.repeat(repeats, 1, 1, 1), draws=each).double().unflatten(0, (repeats, -1))
        excess = values.var(0) / repeats / 2  # of the exponential of a mean that is not exact
        total = float((values.mean(0) - excess).exp().sum())
        assert 0 < total < 1.02, f"by {kind} all examples have {total:.3f}"


def labels_matter(model: Diffusion, batch: Batch) -> None:
    """Another label gives another code, sample and likelihood."""
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert not torch.allclose(model.encode(batch.x[:4], zeros), model.encode(batch.x[:4], ones)), "encode ignores it"
    found = []
    for y in (zeros, ones):
        with fork(0):
            found.append((model.log_prob(batch.x[:4], y), model.decode(model.sample_latent(4), y)))
    assert not torch.allclose(found[0][0], found[1][0]), "log_prob ignores the label"
    assert not torch.allclose(found[0][1], found[1][1]), "decode ignores the label"
