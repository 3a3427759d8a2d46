"""Denoisers: any image and any point, each example alone, labels or none, zero to begin with; and their group norm."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gentool.errors import UsageError
from gentool.nn import Network
from gentool.nn.denoiser import ResidualMLP, mlp
from gentool.nn.dit import DiT, dit
from gentool.nn.fit import fitting
from gentool.nn.group_norm import GroupNorm, group_norm
from gentool.nn.unet import Attention, UNet, unet
from tests.spaces import space

OPTIONS = {
    mlp: {"hidden_features": [8, 12], "octaves": 2},
    unet: {"hidden_channels": [4, 6, 8], "blocks": 1, "patch": 1, "attention": 4},
    dit: {"width": 16, "depth": 2, "heads": 2, "patch": 1, "octaves": 2},
}
SHAPES = [(2,), (1,), (1, 28, 28), (3, 16, 16), (1, 8, 8), (3, 13, 17), (1, 1, 1), (2, 5, 1)]


def made(shape, classes=0, outputs=1, stirred=True, build=None, **options):
    """A denoiser, by default the one that fits the shape; stirred, its zeros are zero no more."""
    torch.manual_seed(0)
    build = build or fitting("denoiser", space(shape))
    network = build(space(shape), outputs, classes, **{**OPTIONS[build], **options})
    if stirred:
        with torch.no_grad():
            for p in network.parameters():
                p += 0.1 * torch.randn_like(p)
    return network


def inputs(shape, n=3, classes=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    y = torch.arange(n) % (classes + 1) if classes else None
    return torch.randn(n, *shape, generator=g, dtype=dtype), torch.rand(n, generator=g, dtype=dtype), y


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("classes", "outputs", "patch"), [(0, 1, 1), (3, 2, 2)])
@pytest.mark.parametrize("build", [mlp, unet, dit])
def test_any_shape_goes_in_and_comes_out(shape, classes, outputs, patch, build):
    if build is unet and len(shape) == 1:
        return
    options = {} if build is mlp else {"patch": patch}
    out = made(shape, classes, outputs, build=build, **options)(*inputs(shape, classes=classes))
    assert out.shape == ((3, *shape) if outputs == 1 else (3, outputs, *shape))
    assert torch.isfinite(out).all()


def test_what_nobody_chose_fits_the_data():
    assert type(made((2,))) is ResidualMLP  # no Network: its sharpest edges are finer than bfloat16
    assert type(made((1, 8, 8)).body) is UNet
    assert type(made((1, 8, 8), build=mlp).body) is ResidualMLP
    assert type(made((2,), build=dit)) is DiT


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="denoiser=unet needs images"):
        made((2,), build=unet)
    with pytest.raises(UsageError, match="multiple"):
        made((2,), build=dit, heads=3)
    with pytest.raises(UsageError, match="hidden_channels"):
        made((1, 8, 8), hidden_channels=[])
    with pytest.raises(UsageError, match="hidden_features"):
        made((2,), hidden_features=[])


@pytest.mark.parametrize("build", [None, dit])
@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)])
def test_it_gives_zeros_to_begin_with(shape, build):
    assert not made(shape, stirred=False, build=build)(*inputs(shape)).any()


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)])
def test_blocks_of_dit_are_the_identity_to_begin_with(shape):
    network = made(shape, stirred=False, build=dit)
    body = network.body if isinstance(network, Network) else network
    h, c = torch.randn(3, 4, 16), torch.randn(3, 16)
    for block in body.blocks:
        assert torch.equal(block(h, c), h)


def test_dit_knows_where_its_tokens_stand():
    x, t, _ = inputs((1, 8, 8), 1)
    network = made((1, 8, 8), build=dit).eval()
    assert not torch.allclose(network(x.flip(-1), t).flip(-1), network(x, t), atol=1e-3)
    x, t, _ = inputs((2,), 1)
    network = made((2,), build=dit).eval()
    assert not torch.allclose(network(x.flip(-1), t).flip(-1), network(x, t), atol=1e-3)


@pytest.mark.parametrize("build", [None, dit])
@pytest.mark.parametrize("shape", [(2,), (3, 13, 17)])
def test_each_example_is_alone(shape, build):
    options = {} if len(shape) == 1 else {"patch": 2}
    network = made(shape, 3, build=build, **options).double().eval()
    x, t, y = inputs(shape, 5, 3, torch.float64)
    one = torch.cat([network(x[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(network(x, t, y), one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("build", [None, dit])
@pytest.mark.parametrize("shape", [(2,), (1, 9, 9)])
def test_gradients_reach_everything(shape, build):
    network = made(shape, 3, build=build)
    x, t, y = inputs(shape, 4, 3)
    network(x.requires_grad_(), t.requires_grad_(), y).square().sum().backward()
    for name, p in [*network.named_parameters(), ("x", x), ("t", t)]:
        assert p.grad is not None and p.grad.any(), f"nothing reaches {name}"


@pytest.mark.parametrize("build", [None, dit])
@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)])
def test_noise_and_labels_change_the_output(shape, build):
    network = made(shape, 3, build=build)
    x, t, _ = inputs(shape, 1)
    by_label = [network(x, t, torch.tensor([c])) for c in range(4)]  # 3: none is given
    assert all(not torch.allclose(a, b) for i, a in enumerate(by_label) for b in by_label[:i])
    assert not torch.allclose(network(x, t + 0.01, torch.tensor([0])), by_label[0])


def test_places_look_at_each_other_only_where_they_are_few():
    def count(network):
        return sum(isinstance(m, Attention) for m in network.modules())

    assert count(made((1, 8, 8), attention=0)) == 0
    assert count(made((1, 8, 8), attention=4)) == 4  # 4x4 and 2x2, down and up
    assert count(made((1, 8, 8), attention=8)) == 6


def test_attention_is_torchs():
    torch.manual_seed(0)
    layer = Attention(64)
    nn.init.normal_(layer.out.weight)
    x = torch.randn(2, 64, 3, 5)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).unflatten(1, (3, 2, 32)).transpose(-1, -2).unbind(1)
    seen = functional.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(2, 64, 3, 5)
    torch.testing.assert_close(layer(x), x + layer.out(seen), rtol=1e-4, atol=1e-4)


def test_dropout_only_while_training():
    network = made((1, 8, 8), dropout=0.5)
    x, t, y = inputs((1, 8, 8))
    assert not torch.equal(network(x, t, y), network(x, t, y))
    network.eval()
    assert torch.equal(network(x, t, y), network(x, t, y))


@pytest.mark.parametrize("channels_last", [False, True])
def test_bfloat16_and_channels_last_compute_the_same(channels_last):
    network = made((1, 12, 12), hidden_channels=[16, 32])
    x, t, y = inputs((1, 12, 12))
    exact = network(x, t, y)
    assert isinstance(network, Network)
    torch.testing.assert_close(network.place("fp32", channels_last, False)(x, t, y), exact, rtol=1e-4, atol=1e-4)
    rounded = network.place("bf16", channels_last, False)(x, t, y)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).square().mean() < 1e-3 * exact.square().mean()


@pytest.mark.parametrize("shared", [False, True])
def test_group_norm_is_torchs(shared):
    torch.manual_seed(0)
    n = 1 if shared else 3
    x, g = (torch.randn(3, 12, 5, 4, dtype=torch.float64) + 1 for _ in range(2))
    scale, shift = (torch.randn(n, 12, dtype=torch.float64) for _ in range(2))
    mine = [v.clone().requires_grad_() for v in (x, scale, shift)]
    theirs = [v.clone().requires_grad_() for v in (x, scale, shift)]
    a = group_norm(mine[0], 4, mine[1], mine[2])
    b = functional.group_norm(theirs[0], 4) * theirs[1][..., None, None] + theirs[2][..., None, None]
    torch.testing.assert_close(a, b)
    a.backward(g)
    b.backward(g)
    for mine_too, theirs_too in zip(mine, theirs, strict=True):
        torch.testing.assert_close(mine_too.grad, theirs_too.grad)


def test_group_norm_keeps_the_memory_format_and_the_dtype():
    x = torch.randn(2, 8, 4, 4).to(torch.bfloat16, memory_format=torch.channels_last)
    out = GroupNorm(8, 0)(x)
    assert out.dtype == torch.bfloat16 and out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (32, 8), (24, 2), (12, 1), (1, 1), (48, 4)])
def test_groups_divide_the_channels(channels, groups):
    assert GroupNorm(channels, 0).groups == groups
