"""Flows: what is refused, what shapes are taken, what transforms do besides the laws."""

from functools import partial

import pytest
import torch

from gentool.errors import UsageError
from gentool.models.flow import Flow
from gentool.nn import coupling_network
from gentool.nn.mlp import MLP
from gentool.probability.transforms import Transform, coupling, glow, realnvp
from gentool.probability.transforms.actnorm import ActNorm
from gentool.probability.transforms.coupling import AffineCouplings
from gentool.probability.transforms.glow import SplitPrior
from gentool.probability.transforms.invertible_linear import InvertibleLinear
from gentool.probability.transforms.prior import LearnedPrior
from gentool.probability.transforms.squeeze import MultiScale, Squeeze
from gentool.training.rng import fork
from tests.laws import exact_laws
from tests.laws.subjects import examples
from tests.spaces import space

NETWORK = partial(
    coupling_network, hidden_features=[8], hidden_channels=4, pointwise_layers=1, activation="silu"
)  # fmt: skip
STACKS = {
    "realnvp": partial(realnvp, couplings=2, scales=3, bound=2.0, network=NETWORK),
    "glow": partial(glow, steps=2, scales=3, bound=2.0, network=NETWORK),
}


def flow(where, stack="glow", conditional=False, prior="normal", dequantisation="uniform", away=0.1):
    with fork(0):
        model = Flow(
            where, transform=STACKS[stack], prior=prior, components=3, dequantisation=dequantisation, alpha=None,
            conditional=conditional, sampler={"temperature": 1.0},
        )  # fmt: skip
        for parameter in model.parameters():  # away from where every coupling is the identity
            parameter.data.add_(away * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 5, 7), (1, 5, 4), (2, 6, 3), (3, 8, 8), (1, 12, 20)])
@pytest.mark.parametrize("conditional", [False, True])
def test_takes_data_of_any_shape(stack, shape, conditional):
    where = space(shape, levels=None if len(shape) == 1 else 4, classes=3)
    model = flow(where, stack, conditional).double()
    x = where.quantise(torch.rand(4, *shape) * 3)
    y = torch.tensor([0, 1, 2, 0]) if conditional else None
    z = model.encode(x.double(), y)
    assert z.shape == (4, where.dims)
    torch.testing.assert_close(model.decode(z, y), x.double(), rtol=1e-5, atol=1e-5)


def test_refuses_text_and_labels_that_are_not_there():
    with pytest.raises(UsageError, match="symbols of text"):
        flow(space((5,), levels=3, classes=0, vocabulary=("a", "b", "c")))
    with pytest.raises(UsageError, match="classes"):
        flow(space((2,), classes=0), conditional=True)


def test_refuses_to_learn_noise_for_reals():
    with pytest.raises(UsageError, match=r"^model.dequantisation=variational needs data of integer levels.*$"):
        flow(space((2,), classes=0), dequantisation="variational")


def test_one_dimension_is_a_gaussian():
    """There is nothing to couple: an affine map of noise."""
    model = flow(space((1,), classes=0), "realnvp")
    x = torch.linspace(-3, 3, 7)[:, None]
    values = model.log_prob(x)
    curvature = values[2:] - 2 * values[1:-1] + values[:-2]
    torch.testing.assert_close(curvature, curvature[:1].expand(5), rtol=1e-3, atol=1e-4)


def test_squeeze_puts_one_colour_of_the_checkerboard_first():
    x = torch.arange(6 * 4.0).reshape(1, 1, 6, 4)
    z, _ = Squeeze((1, 6, 4)).forward_and_log_det(x)
    assert z.shape == (1, 4, 3, 2)
    first = z[:, :2].flatten()
    rows, columns = torch.div(first, 4, rounding_mode="floor"), first % 4
    assert ((rows + columns) % 2 == 0).all() and len(first) == 12


def test_a_coupling_sees_only_the_other_half():
    layer = AffineCouplings((4, 3, 3), 1, 0, 2.0, NETWORK)
    torch.nn.init.normal_(layer.networks[0].last[-1].weight)
    x = torch.randn(1, 4, 3, 3).double()
    jacobian = torch.autograd.functional.jacobian(lambda v: layer.double().forward_and_log_det(v)[0], x)
    flat = jacobian.reshape(36, 36)
    torch.testing.assert_close(flat[:18], torch.eye(36, dtype=torch.float64)[:18])
    moved = flat[18:, 18:]
    assert (moved - moved.diag().diag()).abs().max() == 0 and (moved.diag() > 0).all()
    assert flat[18:, :18].abs().max() > 0


def test_scales_stay_within_their_bound():
    layer = AffineCouplings((2,), 1, 0, 1.5, NETWORK)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=30.0)
    _, log_det = layer.forward_and_log_det(torch.randn(100, 2))
    assert 1.4 < log_det.abs().max() <= 1.5


def _derivatives(layer, x):
    x = x.clone().requires_grad_()
    z, log_det = layer.forward_and_log_det(x)
    weights = torch.arange(z.numel() + len(x)).double().cos()
    total = (torch.cat([z.flatten(), log_det]) * weights).sum()
    return [z, log_det, *torch.autograd.grad(total, (x, *layer.parameters()))]


def _run(dims, count, hidden):
    network = partial(
        coupling_network, hidden_features=hidden, hidden_channels=4, pointwise_layers=1, activation="relu"
    )
    layer = AffineCouplings((dims,), count, 0, 1.5, network).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer, torch.randn(6, dims).double()


def _agree(layer, x):
    in_training, otherwise = _derivatives(layer.train(), x), _derivatives(layer.eval(), x)
    for one, other in zip(in_training, otherwise, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dims, count, hidden", [(2, 8, [16, 16]), (5, 3, [7]), (3, 1, [])])
def test_a_run_of_couplings_derives_as_its_graph_does(dims, count, hidden):
    layer, x = _run(dims, count, hidden)
    assert layer._derives
    _agree(layer, x)


@pytest.mark.parametrize("fault", ["_tanh_backward", "pull"])
def test_a_wrong_derivative_of_a_run_is_caught(monkeypatch, fault):
    layer, x = _run(2, 3, [8])
    if fault == "pull":
        pull = MLP.pull
        monkeypatch.setattr(MLP, "pull", lambda self, seen, g: pull(self, [seen[0], *(s + 1 for s in seen[1:])], g))
    else:
        monkeypatch.setattr(coupling, "_tanh_backward", lambda gradient, out: gradient * (1 - out))
    with pytest.raises(AssertionError):
        _agree(layer, x)


def test_a_weight_that_changed_before_the_backward_pass_is_refused():
    layer, x = _run(2, 2, [8])
    z, log_det = layer.forward_and_log_det(x)
    with torch.no_grad():
        layer.networks[0].layers[0].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (z.sum() + log_det.sum()).backward()


def test_lu_starts_as_a_rotation_and_stays_invertible():
    layer = InvertibleLinear(6)
    x = torch.randn(5, 6)
    z, log_det = layer.forward_and_log_det(x)
    torch.testing.assert_close(z.norm(dim=1), x.norm(dim=1))
    assert abs(log_det.item()) < 1e-5
    for parameter in layer.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    z, _ = layer.forward_and_log_det(x)
    torch.testing.assert_close(layer.inverse_and_log_det(z)[0], x, rtol=1e-3, atol=1e-3)


def test_the_prior_is_the_gaussian_it_says():
    layer = LearnedPrior((2,), 3)
    torch.nn.init.normal_(layer.mu)
    torch.nn.init.normal_(layer.log_sigma)
    x, y = torch.randn(4, 2), torch.tensor([2, 0, 1, 2])
    z, log_det = layer.forward_and_log_det(x, y)
    normal = torch.distributions.Normal
    expected = normal(layer.mu[y], layer.log_sigma[y].exp()).log_prob(x).sum(1)
    torch.testing.assert_close(normal(0.0, 1.0).log_prob(z).sum(1) + log_det, expected)


def test_a_mixture_of_noise_is_a_density_and_what_is_drawn():
    model = flow(space((2,), classes=0, loc=1.0, scale=2.0), "realnvp", prior="mixture")
    exact_laws.integrates_to_one(model)  # and its moments are those of what is drawn


def what_leaves_is_gaussian_given_what_stays() -> None:
    """log p(leaving | staying) = log N(noise; 0, 1) + log det, mean and scale by the convolution of what stays."""
    stack = flow(space((1, 8, 8), levels=4, classes=0)).transform
    steps, split = stack.stages[0].transforms
    with fork(1), torch.no_grad():
        x = torch.randn(5, 1, 8, 8)
        h, before = steps.forward_and_log_det(x)
        stays, leaves = h.chunk(2, 1)
        shift, raw = split.networks[0].conv(stays).chunk(2, 1)
        sigma = (-split.bound * raw.tanh()).exp()
        noise, after = stack.forward_and_log_det(x)[0][:, :32], stack.stages[0].forward_and_log_det(x)[1]
    normal = torch.distributions.Normal
    expected = normal(-shift * sigma, sigma).log_prob(leaves).flatten(1).sum(1)
    torch.testing.assert_close(normal(0.0, 1.0).log_prob(noise).sum(1) + after - before, expected)


def test_what_leaves_early_is_gaussian_given_what_stays():
    what_leaves_is_gaussian_given_what_stays()


def _blind(old):
    return lambda self, x, y=None: old(self, 0 * x, y)


def _swapped(old):
    return lambda self, x, y=None: old(self, x, y).roll(2, 1)  # the mean for the scale


@pytest.mark.parametrize("fault", [_blind, _swapped])
def test_a_split_prior_of_something_else_is_caught(fault, monkeypatch):
    monkeypatch.setattr(SplitPrior, "forward", fault(SplitPrior.forward))
    with pytest.raises(AssertionError):
        what_leaves_is_gaussian_given_what_stays()


def test_labels_move_the_prior_of_the_last_scale():
    """Before training the couplings see no label yet: all that it moves is the noise that leaves last."""
    model = flow(space((1, 8, 8), levels=4, classes=3), conditional=True, away=0.0)
    assert not any(p.any() for m in model.modules() if isinstance(m, SplitPrior) for p in m.parameters())
    (prior,) = (module for module in model.modules() if isinstance(module, LearnedPrior))
    torch.nn.init.normal_(prior.mu)
    x = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    one, other = (model.encode(x, torch.tensor([label]))[0] for label in (0, 2))
    assert torch.equal(one[:-16], other[:-16])
    torch.testing.assert_close((one - other)[-16:], (prior.mu[2] - prior.mu[0]).flatten())


def test_noise_from_far_away_is_still_an_example():
    model = flow(space((1, 4, 4), levels=17, classes=0))
    model.sampler["temperature"] = 50.0
    with fork(0):
        x = model.sample(20)
    model.space.check(x)
    assert x.min() == 0 and x.max() == 16


def test_multiscale_lets_half_of_the_channels_go():
    model = flow(space((1, 8, 8), levels=4, classes=0))
    stacks = [module for module in model.modules() if isinstance(module, MultiScale)]
    assert [stack.shapes for stack in stacks] == [[(2, 4, 4), (4, 2, 2), (16, 1, 1)]]


def test_begin_is_of_the_training_data_and_only_once():
    batch, other = examples("grey"), examples("grey", seed=9)
    model = flow(space((1, 4, 4), levels=17, classes=2))
    model.begin(lambda: iter([batch]))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    again = flow(space((1, 4, 4), levels=17, classes=2))
    again.load_state_dict(before)
    again.begin(lambda: iter([other]))
    assert all(torch.equal(value, before[name]) for name, value in again.state_dict().items())
    assert all(layer.fitted for layer in again.modules() if isinstance(layer, ActNorm))


def test_a_channel_that_never_varies_keeps_a_finite_scale():
    layer = ActNorm(2)
    layer.fitting = True
    z, log_det = layer.forward_and_log_det(torch.stack([torch.ones(8), torch.randn(8)], 1))
    assert torch.isfinite(z).all() and torch.isfinite(log_det)


def test_transforms_are_abstract():
    with pytest.raises(TypeError):
        Transform()  # type: ignore[abstract]
