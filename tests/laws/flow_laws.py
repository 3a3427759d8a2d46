"""Laws of flows: an inverse that is one, the Jacobian's determinant, a bound of integers, data shown once."""

from math import log, pi

import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.models.flow import Flow
from gentool.probability.transforms.actnorm import SMALLEST, ActNorm
from gentool.training.rng import fork
from tests.laws.exact_laws import states
from tests.laws.laws import same, snapshot


def decodes_what_it_encodes(model: Flow, batch: Batch) -> None:
    """decode(encode(x)) = x: to rounding in double precision, and to the same levels in single."""
    y = batch.y if model.conditional else None
    single = model.decode(model.encode(batch.x, y), y)
    if model.space.levels is None:
        torch.testing.assert_close(single, batch.x, rtol=1e-3, atol=1e-3)
    else:
        same(model.space.quantise(single), batch.x, "decode(encode(x)) is not x, in fp32")
    model.double()
    double = model.decode(model.encode(batch.x.double(), y), y)
    torch.testing.assert_close(double, batch.x.double(), rtol=1e-6, atol=1e-6)


def log_det_is_the_jacobians(model: Flow, batch: Batch) -> None:
    """log p(x) = log N(z; 0, 1) + log |det dz/dx|, the whole way from data space, by autograd's slogdet."""
    model.double()
    n = 2
    y = batch.y[:n] if model.conditional and batch.y is not None else None
    with fork(0):
        stated = -model.objective(Batch(batch.x[:n], y, batch.index[:n]))
    with fork(0):
        u, log_q = model._noise(batch.x[:n])
        stated = stated + log_q
    for i in range(n):
        label, noise = None if y is None else y[i : i + 1], u if isinstance(u, float) else u[i : i + 1]

        def to_noise(x: Tensor, label: Tensor | None = label, noise: Tensor | float = noise) -> Tensor:
            return model.transform.forward_and_log_det(model._enter(x[None], noise)[0], label)[0][0]

        x = batch.x[i].double()
        jacobian = torch.autograd.functional.jacobian(to_noise, x, vectorize=True)
        log_det = torch.linalg.slogdet(jacobian.reshape(model.space.dims, model.space.dims))[1]
        log_p = -0.5 * (to_noise(x).square().sum() + model.space.dims * log(2 * pi)) + log_det
        # Constants of the space are fp32, so its volume is: a missing term is far larger.
        torch.testing.assert_close(stated[i].detach(), log_p.detach(), rtol=1e-5, atol=1e-5 * model.space.dims)


def inverse_has_minus_the_log_det(model: Flow, batch: Batch) -> None:
    y = batch.y if model.conditional else None
    model.double()
    with torch.no_grad():
        v = model._enter(batch.x.double(), 0.5)[0]
        z, forth = model.transform.forward_and_log_det(v, y)
        again, back = model.transform.inverse_and_log_det(z, y)
    assert z.shape == (len(v), model.space.dims), "noise is (batch, dims)"
    torch.testing.assert_close(again, v, rtol=1e-6, atol=1e-6)
    forth, back = torch.broadcast_tensors(forth, back)
    torch.testing.assert_close(forth + back, torch.zeros_like(forth), rtol=0, atol=1e-6 * model.space.dims)


def levels_have_the_mass_of_their_cells(model: Flow, draws: int = 8, samples: int = 4000) -> None:
    """The sum of E_u p(x + u) over all examples is the share of noise that maps into their cells."""
    x = states(model.space)
    with fork(0):
        p = torch.stack([model.log_prob(x, draws=1).double().exp() for _ in range(draws)])
        y = model.draw_labels(samples) if model.conditional else None
        drawn = model._leave(torch.randn(samples, model.space.dims), y).flatten(1)
    assert model.space.levels is not None and model.likelihood == "bound"
    inside = ((drawn >= 0) & (drawn < model.space.levels)).all(1).double()
    error = (p.var(0).sum() / draws + inside.var() / samples).sqrt().item()
    gap = p.mean(0).sum().item() - inside.mean().item()
    assert abs(gap) <= 5 * error + 2e-3, f"all examples have a mass {gap:+.4f} off that of their cells"


def draws_average_probabilities(model: Flow, batch: Batch) -> None:
    """log_prob(draws=3) = log of the mean of three p(x + u): by Jensen it rises with draws, to log P(x)."""
    y = batch.y if model.conditional else None
    with fork(0):
        each = torch.stack([model.log_prob(batch.x, y) for _ in range(3)])
    with fork(0):
        together = model.log_prob(batch.x, y, draws=3)
    assert not torch.equal(each[0], each[1]), "the noise is not drawn afresh"
    torch.testing.assert_close(together, each.logsumexp(0) - log(3), rtol=1e-5, atol=1e-4)


def actnorm_is_fitted_once(model: Flow, batch: Batch, other: Batch) -> None:
    """`begin` gives every ActNorm's output zero mean and unit variance, on that data, once; and that is saved.

    Args:
        model: fresh from its constructor.
        batch: the first data.
        other: further data.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, ActNorm)]
    with fork(0), torch.no_grad():
        model.train()
        model.objective(other)
        model.sample(3)
    assert not any(layer.fitted for layer in layers), "something but `begin` fitted an ActNorm"
    with fork(0):
        model.begin(lambda: iter([batch, other]))
    assert all(layer.fitted for layer in layers), "an ActNorm was not shown the data"
    outputs = _outputs(layers, model, batch)
    for z in outputs:
        axes = [axis for axis in range(z.dim()) if axis != 1]
        assert z.mean(axes).abs().max() < 1e-3, "the mean is not zero"
        assert (z.std(axes, correction=0) - 1).abs().max() < 1e-2, f"the variance is not 1 (of more than {SMALLEST}²)"
    before = snapshot(model)
    model.load_state_dict(before)
    model.begin(lambda: iter([other]))
    for name, value in model.state_dict().items():
        same(value, before[name], f"{name} was fitted twice")


def _outputs(layers: list[ActNorm], model: Flow, batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []
    for layer in layers:

        def listening(x: Tensor, y: Tensor | None = None, layer: ActNorm = layer) -> tuple[Tensor, Tensor]:
            out = ActNorm.forward_and_log_det(layer, x, y)
            found.append(out[0])
            return out

        layer.__dict__["forward_and_log_det"] = listening
    with fork(0), torch.no_grad():
        model.objective(batch)
    for layer in layers:
        del layer.__dict__["forward_and_log_det"]
    return found


def labels_matter(model: Flow, batch: Batch) -> None:
    """Another label gives another code, sample and likelihood."""
    z, few = torch.zeros(4, model.space.dims), batch.x[:4]
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert not torch.allclose(model.decode(z, zeros), model.decode(z, ones)), "decode ignores the label"
    assert not torch.allclose(model.encode(few, zeros), model.encode(few, ones)), "encode ignores it"


def unlabelled_log_prob_is_the_mixture(model: Flow, batch: Batch) -> None:
    """log p(x) = log sum_y p(y) p(x | y), and the label a code is taken under is the most probable."""
    parts = []
    for c in range(model.space.classes):
        with fork(0):
            parts.append(model.log_prob(batch.x, torch.full((len(batch.x),), c)))
    joint = torch.stack(parts) + model.space.frequencies.log()[:, None]
    with fork(0):
        torch.testing.assert_close(model.log_prob(batch.x), joint.logsumexp(0), rtol=1e-5, atol=1e-4)
    if model.space.levels is None:
        same(model.encode(batch.x), model.encode(batch.x, joint.argmax(0)), "the code's label is not the likeliest")


def temperature_is_the_noises(model: Flow) -> None:
    """At temperature 0 every sample is what zero maps to; a temperature scales the noise and nothing else."""
    model.sampler["temperature"] = 0.5
    with fork(0):
        half = model.sample_latent(5)
    model.sampler["temperature"] = 1.0
    with fork(0):
        torch.testing.assert_close(half, 0.5 * model.sample_latent(5))
    model.sampler["temperature"] = 0.0
    y = torch.zeros(3, dtype=torch.int64)
    x = model.sample(3, y).float()
    zero = model.decode(torch.zeros(3, model.space.dims), y)
    assert (x - zero).abs().max() <= (1e-5 if model.space.levels is None else 0.5 + 1e-3), "temperature 0 is not zero"
