"""Networks fit any image, keep the variance of what they see, and keep their precision to themselves."""

import copy

import pytest
import torch
from torch import nn

from gentool.errors import UsageError
from gentool.nn import Network, decoder, encoder
from gentool.nn.blocks import activation, gain
from gentool.nn.conv import ConvDecoder, ConvEncoder
from gentool.nn.mlp import MLP
from tests.spaces import space

OPTIONS = {"kind": "conv", "hidden_features": [8], "hidden_channels": [4, 6], "activation": "relu"}
SHAPES = [(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 13, 17), (1, 1, 1), (2, 5, 1)]


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [0, 3])
def test_any_image_goes_in_and_comes_out(kind, shape, classes):
    where = space(shape, 256)
    options = {**OPTIONS, "kind": kind}
    y = torch.tensor([0, 2]) if classes else None
    features = encoder(where, 5, classes, **options)(torch.randn(2, *shape), y)
    assert features.shape == (2, 5)
    assert decoder(where, 5, 2, classes, **options)(features, y).shape == (2, 2, *shape)


@pytest.mark.parametrize("stages", [[4], [4, 5, 6, 7, 8]])
def test_any_number_of_stages(stages):
    where = space((3, 13, 17), 256)
    options = {**OPTIONS, "hidden_channels": stages, "hidden_features": []}
    features = encoder(where, 5, 0, **options)(torch.randn(2, 3, 13, 17), None)
    assert decoder(where, 5, 1, 0, **options)(features, None).shape == (2, 1, 3, 13, 17)


@pytest.mark.parametrize(
    ("shape", "kind"), [((1, 28, 28), ConvEncoder), ((3, 16, 40), ConvEncoder), ((1, 8, 8), MLP), ((2,), MLP)]
)
def test_auto_fits_the_data(shape, kind):
    built = encoder(space(shape), 2, 0, **{**OPTIONS, "kind": "auto"})
    assert type(built.body) is kind


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="kind=conv needs images"):
        encoder(space((2,)), 2, 0, **OPTIONS)
    with pytest.raises(UsageError, match="hidden_channels"):
        decoder(space((1, 8, 8)), 2, 1, 0, **{**OPTIONS, "hidden_channels": []})


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_labels_change_the_output(kind):
    where, options = space((1, 8, 8), 256), {**OPTIONS, "kind": kind}
    x, z = torch.randn(1, 1, 8, 8), torch.randn(1, 3)
    for network, inputs in ((encoder(where, 4, 2, **options), x), (decoder(where, 3, 1, 2, **options), z)):
        a, b = network(inputs, torch.tensor([0])), network(inputs, torch.tensor([1]))
        assert not torch.allclose(a, b)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "silu"])
def test_activations_keep_the_second_moment(name):
    """A layer at this gain, then the activation, maps unit second moment to about that, however deep."""
    torch.manual_seed(0)
    layers = [m for _ in range(12) for m in (nn.Linear(256, 256, bias=False), activation(name))]
    x = torch.randn(128, 256)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=gain(name) / 16)
    with torch.no_grad():
        assert 0.3 < nn.Sequential(*layers)(x).square().mean().item() < 3


@pytest.mark.parametrize("make", ["conv", "upsample"])
def test_convolutions_keep_the_second_moment(make):
    torch.manual_seed(0)
    if make == "conv":
        body = ConvEncoder((3, 64, 64), [64, 64], [], 4, 0, "relu").stages
        x = torch.randn(4, 3, 64, 64)
    else:
        body = ConvDecoder(4, [], [64, 64], (1, 64, 64), 0, "relu").stages[:-1]
        x = torch.randn(4, 64, 16, 16) * 2**0.5  # its first module is an activation
    with torch.no_grad():
        y = body(x)[..., 4:-4, 4:-4]  # away from the zeros at the border
    assert 0.5 < y.square().mean().item() < 2


class Spy(nn.Module):
    """Remembers how it was run."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 3)

    def forward(self, x):
        out = self.layer(x)
        self.dtype, self.is_channels_last = out.dtype, x.is_contiguous(memory_format=torch.channels_last)
        return out


def test_precision_ends_where_the_network_ends():
    network = Network(Spy()).place(precision="bf16", channels_last=True, compile=False)
    x = torch.randn(2, 2, 6, 6)
    out = network(x)
    assert out.dtype == torch.float32
    assert network.body.dtype == torch.bfloat16
    assert network.body.is_channels_last
    assert network.body.layer.weight.dtype == torch.float32
    out.sum().backward()
    assert network.body.layer.weight.grad.dtype == torch.float32
    network.place(precision="fp32", channels_last=False, compile=False)
    network(x)
    assert network.body.dtype == torch.float32
    assert not network.body.is_channels_last


def test_double_precision_passes_through():
    network = encoder(space((2,)), 3, 0, **{**OPTIONS, "kind": "mlp"}).double()
    assert network(torch.randn(2, 2, dtype=torch.float64), None).dtype == torch.float64


def test_placing_changes_no_name_and_no_value():
    network = decoder(space((1, 8, 8), 256), 3, 1, 0, **OPTIONS)
    z = torch.randn(2, 3)
    before, names = network(z, None), list(network.state_dict())
    network.place(precision="fp32", channels_last=True, compile=True)
    assert list(network.state_dict()) == names
    assert network.body._compiled_call_impl is not None
    copy.deepcopy(network)
    network.place(precision="fp32", channels_last=True, compile=False)
    torch.testing.assert_close(network(z, None), before)
