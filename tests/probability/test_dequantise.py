"""Dequantisation: the noise fills the cell, the constants are those of integers, the way back is the inverse.

Noise that is learned is a density on the unit cube, starts uniform, and makes a bound that lies below log p(x).
"""

from functools import partial
from math import log

import pytest
import torch
from torch import Tensor

from gentool.models.flow import Flow
from gentool.nn import coupling_network
from gentool.probability import dequantise as module
from gentool.probability.dequantise import VariationalNoise, dequantise, quantise
from gentool.probability.transforms import Compose, Flatten, Transform, realnvp
from gentool.probability.transforms.coupling import AffineCouplings
from gentool.training.rng import fork
from tests.spaces import space

NORMAL = torch.distributions.Normal(0.0, 1.0)


class Gaussianise(Transform):
    """Maps what is uniform on [-1, 1) to N(0, 1)."""

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = NORMAL.icdf((x + 1) / 2)
        return z, (-NORMAL.log_prob(z) - log(2)).flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return 2 * NORMAL.cdf(z) - 1, (NORMAL.log_prob(z) + log(2)).flatten(1).sum(1)


def flow(data, transform, dequantisation):
    return Flow(
        data, transform=transform, prior="normal", components=1, dequantisation=dequantisation, alpha=None,
        conditional=False, sampler={"temperature": 1.0},
    )  # fmt: skip


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_has_log_levels_nats_a_pixel(levels):
    data = space((1, 4, 3), levels=levels, classes=0)
    model = flow(data, lambda where, classes: Compose([Gaussianise(), Flatten(where.shape)]), "uniform")
    x = torch.randint(0, levels, (50, 1, 4, 3))
    expected = torch.full((50,), -12 * log(levels))
    for draws in (1, 5):
        torch.testing.assert_close(model.log_prob(x, draws=draws), expected, rtol=1e-5, atol=1e-4)
    model.register_parameter("where", torch.nn.Parameter(torch.zeros(())))  # sample asks a parameter for its device
    share = torch.bincount(model.sample(2000).flatten().long(), minlength=levels) / 24000
    assert (share - 1 / levels).abs().max() < 5 * (1 / levels / 24000) ** 0.5


@pytest.mark.parametrize("alpha", [None, 0.05, 1e-3])
@pytest.mark.parametrize("levels", [2, 256])
def test_the_way_back_is_the_inverse(levels, alpha):
    x = torch.arange(levels)[None].double()
    u = torch.rand(1, levels).double() * 0.998 + 0.001
    v, _ = dequantise(x, u, levels, alpha)
    torch.testing.assert_close(quantise(v, levels, alpha), x + u, rtol=1e-6, atol=1e-6)
    assert (quantise(v, levels, alpha).floor() == x).all()


@pytest.mark.parametrize("alpha", [None, 0.05])
def test_log_det_is_the_slope(alpha):
    x = torch.randint(0, 256, (3, 5)).double()
    u = torch.rand(3, 5).double().requires_grad_()
    v, log_det = dequantise(x, u, 256, alpha)
    slopes = torch.autograd.grad(v.sum(), u)[0]
    torch.testing.assert_close(log_det, slopes.log().sum(1), rtol=1e-9, atol=1e-9)


def test_the_noise_fills_the_whole_cell():
    """Half a cell would make every likelihood too high by log 2 a dimension."""
    u = torch.tensor([0.0, 1.0])
    ends, _ = dequantise(torch.tensor([[3], [3]]), u[:, None], 8, None)
    assert (ends[1] - ends[0]).item() == pytest.approx(2 / 8)
    assert dequantise(torch.tensor([[0]]), 0.0, 8, None)[0].item() == -1
    assert dequantise(torch.tensor([[7]]), 1.0, 8, None)[0].item() == 1


NETWORK = partial(coupling_network, hidden_features=[8], hidden_channels=4, pointwise_layers=0, activation="tanh")
LEVELS = 4


def noise(shape, std, levels=LEVELS):
    """Learned noise, at weights of that deviation: 0 is the start."""
    with fork(0):
        found = VariationalNoise(shape, levels, 2, 2.0, NETWORK).double()
        for parameter in found.parameters():
            parameter.data.add_(std * torch.randn_like(parameter))
    return found


LINE = torch.linspace(-13, 13, 401, dtype=torch.float64)
"""Corners of cells over (0, 1), before a sigmoid: they are thinner near its ends."""


def grid(line, dims):
    """The points (…, dims) of a cube that has those on each side."""
    return torch.stack(torch.meshgrid(*[line] * dims, indexing="ij"), -1)


def learned_noise_is_a_density(shape):
    """∫ q(u | x) du = 1 over the cube, by where a grid of noise is moved to; and log q is minus the log-determinant."""
    q, dims = noise(shape, 0.1), torch.Size(shape).numel()
    x = torch.linspace(-1, 0.7, dims, dtype=torch.float64).reshape(1, *shape)
    e = grid(LINE.sigmoid(), dims)
    with torch.no_grad():
        u, log_q = q(x.expand(e.shape[:-1].numel(), *shape), e.reshape(-1, *shape))
    u, density = u.reshape(e.shape), log_q.exp().reshape(e.shape[:-1])
    if dims == 1:
        area = (u[1:] - u[:-1])[:, 0]
        density = (density[1:] + density[:-1]) / 2
    else:
        one, other = u[1:, 1:] - u[:-1, :-1], u[1:, :-1] - u[:-1, 1:]  # the diagonals of a cell
        area = (one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]).abs() / 2
        density = (density[1:, 1:] + density[1:, :-1] + density[:-1, 1:] + density[:-1, :-1]) / 4
    assert density.std() > 0.1, "this one is uniform"
    assert area.sum().item() == pytest.approx(1, abs=5e-3), "it does not cover the cube"
    assert (density * area).sum().item() == pytest.approx(1, abs=2e-3), "it does not integrate to 1"
    e = torch.rand(1, *shape, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda e: q(x, e)[0].flatten(), e).reshape(dims, dims)
    assert q(x, e)[1].item() == pytest.approx(-torch.linalg.slogdet(jacobian)[1].item(), abs=1e-9)


def learned_noise_starts_uniform(shape=(1, 4, 3)):
    x, e = torch.randn(5, *shape).double(), torch.rand(5, *shape).double() * 0.999 + 5e-4
    u, log_q = noise(shape, 0.0)(x, e)
    torch.testing.assert_close(u, e, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_q, torch.zeros_like(log_q), rtol=0, atol=1e-9)


def learned_noise_stays_within_its_level(shape=(2, 2, 2)):
    """In fp32, at its faces and far out: x + u has the whole part x."""
    for levels in (2, 17, 256):
        x = torch.randint(0, levels, (512, *shape))
        x[:256] = levels - 1
        e = torch.rand(512, *shape)
        e[:64], e[64:128], e[-1] = 0.0, 1 - 2**-24, 1.0
        u, log_q = noise(shape, 4.0, levels).float()(2 * x / (levels - 1) - 1, e)
        assert ((x + u).floor() == x).all() and (u >= 0).all() and torch.isfinite(log_q).all()


def bound_lies_below(shape):
    """E_q[log p(x + u) - log q(u | x)] <= log p(x) = log E_q[p / q], by quadrature over the cube; rising with draws."""
    data = space(shape, levels=LEVELS, classes=0)
    with fork(1):
        model = flow(data, partial(realnvp, couplings=2, scales=1, bound=1.0, network=NETWORK), "variational").double()
        for parameter in model.transform.parameters():
            parameter.data.add_(0.5 * torch.randn_like(parameter))
    model.noise = noise(shape, 0.1)
    x = torch.arange(1, 1 + data.dims).reshape(1, *shape)
    e = grid(((LINE[1:] + LINE[:-1]) / 2).sigmoid(), data.dims).reshape(-1, *shape)
    log_volume = grid(LINE.sigmoid().diff().log(), data.dims).flatten(0, -2).sum(1)
    many = x.expand(len(e), *shape)
    with torch.no_grad():
        exact = (model._log_density(*model._enter(many, e), None) + log_volume).logsumexp(0).item()
        u, log_q = model.noise(data.to_model(many).double(), e)
        terms = model._log_density(*model._enter(many, u), None) - log_q
        drawn = {k: model.log_prob(many[:1].expand(8000, *shape), draws=k) for k in (1, 8)}
    below = log_volume.exp() @ terms
    assert below < exact - 0.003, "this noise leaves no gap, or the bound lies above"
    assert (terms + log_volume).logsumexp(0).item() == pytest.approx(exact, abs=0.01), "E_q[p / q] is not p"
    error = {k: 4 * v.std().item() / len(v) ** 0.5 for k, v in drawn.items()}
    assert drawn[1].mean().item() == pytest.approx(below.item(), abs=error[1]), "log_prob is another bound"
    assert below + error[8] < drawn[8].mean() < exact + error[8], "it does not rise to log p(x)"


CUBES = [(1,), (2,), (1, 1, 2)]  # one number, a vector, an image
LAWS = [
    *[partial(learned_noise_is_a_density, shape) for shape in CUBES],
    *[partial(bound_lies_below, shape) for shape in CUBES],
    learned_noise_starts_uniform,
    learned_noise_stays_within_its_level,
]


@pytest.mark.parametrize("law", LAWS)
def test_learned_noise(law):
    with fork(2):
        law()


def forward(change):
    """A fault of what comes out: change(u, log_q)."""
    return VariationalNoise, "forward", lambda old: lambda self, x, e: change(*old(self, x, e))


def half(old):
    """The log-determinant of couplings halved."""
    return lambda self, x, y=None: tuple(part / (1 + i) for i, part in enumerate(old(self, x, y)))


@pytest.mark.parametrize(
    ("law", "owner", "name", "fault"),
    [
        (LAWS[0], *forward(lambda u, log_q: (u, -log_q))),
        (LAWS[1], *forward(lambda u, log_q: (0.9 * u, log_q - 2 * log(0.9)))),  # not all of the cube
        (LAWS[1], AffineCouplings, "forward_and_log_det", half),
        (LAWS[2], module, "_log_slope", lambda old: lambda t: 0 * t),
        (LAWS[3], *forward(lambda u, log_q: (u, 0 * log_q))),
        (LAWS[4], *forward(lambda u, log_q: (u, -log_q))),
        (LAWS[5], Flow, "_dequantise", lambda old: lambda self, x: self._enter(x, self._noise(x)[0])),
        (LAWS[5], Flow, "log_prob", lambda old: lambda self, x, draws: old(self, x)),
        (LAWS[6], *forward(lambda u, log_q: (u**2, log_q))),
        (LAWS[6], AffineCouplings, "forward_and_log_det", lambda old: lambda self, x, y=None: old(self, 1.01 * x, y)),
        (LAWS[7], *forward(lambda u, log_q: (u.clamp(min=1e-3) + 1e-4, log_q))),
        (LAWS[7], torch.Tensor, "clamp", lambda old: lambda t, **to: t if "max" in to else old(t, **to)),
    ],
)
def test_law_catches_its_fault(law, owner, name, fault, monkeypatch):
    monkeypatch.setattr(owner, name, fault(getattr(owner, name)))
    with pytest.raises(AssertionError), fork(2):
        law()
