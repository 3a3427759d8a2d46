"""Masked networks: what an output sees, the same numbers a dimension at a time, and products that skip empty blocks."""

import pytest
import torch

from gentool.nn import cut
from gentool.nn.cut import blocks_of, cut_linear
from gentool.nn.masked import MADE

KINDS = [("raster", 1), ("reversed", 1), ("random", 1), ("agnostic", 3), ("raster", 2)]
SHAPE, OUTPUTS, CLASSES = (1, 2, 3), 2, 3


def net(order="raster", masks=1, direct=True, residual=True):
    torch.manual_seed(0)
    return MADE(SHAPE, OUTPUTS, CLASSES, [12, 12], "tanh", order, masks, direct, residual).double()


def examples(n=4):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, *SHAPE, dtype=torch.float64, generator=g), torch.arange(n) % CLASSES


def outputs_see_what_comes_before(model: MADE) -> None:
    """The Jacobian, in the order of drawing, is strictly lower triangular, and some of it is not zero."""
    x, y = examples(1)
    for mask in range(model.masks):
        with model.wearing(mask):
            jacobian = torch.autograd.functional.jacobian(lambda v: model(v, y).flatten(2), x).reshape(OUTPUTS, 6, 6)
            ordered = jacobian[:, model.order][:, :, model.order]
        assert (ordered.triu() == 0).all(), "an output sees itself or what comes after it"
        assert (ordered.diagonal(-1, 1, 2) != 0).any(), "outputs do not see what is just before them"


def steps_equal_forward(model: MADE) -> None:
    x, y = examples()
    with torch.no_grad():
        for mask in range(model.masks):
            with model.wearing(mask):
                whole, state, seen = model(x, y).flatten(2), model.begin(len(x), y, x.device), None
                for i, dim in enumerate(model.order.tolist()):
                    torch.testing.assert_close(model.step(state, i, seen), whole[..., dim], rtol=0, atol=1e-10)
                    seen = x.flatten(1)[:, dim]


each = pytest.mark.parametrize(("order", "masks"), KINDS)
forms = pytest.mark.parametrize(("direct", "residual"), [(False, False), (True, False), (False, True), (True, True)])


@each
@forms
def test_outputs_see_what_comes_before(order, masks, direct, residual):
    outputs_see_what_comes_before(net(order, masks, direct, residual))


@each
@forms
def test_steps_equal_forward(order, masks, direct, residual):
    steps_equal_forward(net(order, masks, direct, residual))


def leaks(model, layer):
    """An output sees itself."""
    mask = model.get_buffer(f"cut_{layer}")
    mask[:] = 1


def forgets_a_degree(model):
    model.degrees[:] = model.degrees.clamp(max=int(model.degrees.max()) - 1)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_leaky_mask_is_caught(layer):
    model = net()
    leaks(model, layer)
    with pytest.raises(AssertionError):
        outputs_see_what_comes_before(model)


def test_a_unit_computed_too_early_is_caught():
    model = net()
    forgets_a_degree(model)
    with pytest.raises(AssertionError):
        steps_equal_forward(model)


def test_a_batch_draws_one_of_several_masks():
    model, (x, y) = net("agnostic", 3), examples()
    drawn = {tuple(model(x, y).flatten().tolist()) for _ in range(40)}
    assert len(drawn) == 3
    with model.wearing(2):
        assert len({tuple(model(x, y).flatten().tolist()) for _ in range(10)}) == 1


def test_one_dimension_sees_nothing():
    model = MADE((1,), 3, 2, [8], "relu", "raster", 1, True, True)
    y = torch.tensor([0, 0, 1])
    out = model(torch.tensor([[1.0], [5.0], [1.0]]), y)
    assert torch.equal(out[0], out[1]) and not torch.equal(out[0], out[2])


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(cut, "SMALLEST", 1)


def product(order: str, break_it: bool = False) -> None:
    torch.manual_seed(0)
    model = MADE((16,), 2, 0, [24], "relu", order, 1, False, False)
    blocks = blocks_of(model.get_buffer("cut_1"))
    if break_it:
        blocks = [(a, b, c, max(c, d - 1)) for a, b, c, d in blocks]
    mask = model.get_buffer("cut_1").double()
    weight = torch.randn(mask.shape, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(len(mask), dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, mask.shape[1], dtype=torch.float64, requires_grad=True)
    inputs = (x, weight, bias)
    found = cut_linear(x, weight, mask, bias, blocks)
    right = x @ (weight * mask).T + bias
    g = torch.randn_like(right)
    torch.testing.assert_close(found, right)
    for a, b in zip(torch.autograd.grad(found, inputs, g), torch.autograd.grad(right, inputs, g), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("order", ["raster", "reversed", "random"])
def test_blocks_leave_nothing_out(order, small_blocks):
    product(order)


def test_a_block_too_small_is_caught(small_blocks):
    with pytest.raises(AssertionError):
        product("raster", break_it=True)


def test_blocks_skip_what_is_empty(small_blocks):
    model = MADE((64,), 1, 0, [64], "relu", "raster", 1, False, False)
    for i in (0, 1):
        mask = model.get_buffer(f"cut_{i}")
        assert sum((b - a) * (d - c) for a, b, c, d in blocks_of(mask)) < 0.6 * mask.numel()
