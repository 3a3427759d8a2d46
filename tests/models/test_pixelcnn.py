"""What a gated PixelCNN sees, and how its colours hang together."""

from functools import partial

import numpy as np
import pytest
import torch

from gentool.cli import main
from gentool.errors import UsageError
from gentool.metrics import classifier
from gentool.models.autoregressive import Autoregressive
from gentool.nn.pixelcnn import pixelcnn
from gentool.training.rng import fork
from tests.spaces import space

SAMPLER = {"temperature": 1.0, "top_k": None, "top_p": None, "mean": True}
SIZES = {"channels": 4, "blocks": 4, "window": 3, "first_window": 3, "head_channels": 6, "embedding": 0}
GREY = space((1, 6, 5), levels=17, classes=2)
COLOUR = space((3, 4, 3), levels=256)


def body(where=GREY, outputs=1, classes=0, **sizes):
    with fork(3):
        return pixelcnn(where, outputs, classes, **{**SIZES, **sizes}).body.double()


def receptive_field(network, where, dim):
    """The dimensions on which the output of one depends, by the gradient at several random images."""
    seen = torch.zeros(where.dims, dtype=torch.bool)
    for seed in range(3):
        with fork(seed):
            x = torch.randn(1, *where.shape, dtype=torch.double, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(x, None).flatten(2)[0, :, dim].sum(), x, allow_unused=True)
        if gradient is not None:
            seen |= gradient.flatten() != 0
    return set(seen.nonzero().flatten().tolist())


@pytest.mark.parametrize("where", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_earlier_dimension_is_seen_and_no_other(where):
    """No blind spot: the receptive field is exactly what comes before, wherever the pixel lies."""
    network = body(where)
    order = network.order.tolist()
    assert order[: where.shape[0]] == [c * where.shape[1] * where.shape[2] for c in range(where.shape[0])]
    for place, dim in enumerate(order):
        if where is COLOUR and place % 5:
            continue
        assert receptive_field(network, where, dim) == set(order[:place]), f"at place {place}"


def test_masked_convolutions_alone_would_have_a_blind_spot():
    """The law can fail: without what the vertical stack hands down, pixels above on the right are not seen."""
    network = body()
    for block in network.blocks:
        torch.nn.init.zeros_(block.down.weight)
    order = network.order.tolist()
    assert receptive_field(network, GREY, order[17]) < set(order[:17])


def test_default_sizes_reach_over_a_whole_digit():
    """A pixel of the last row sees the first: half a window a layer."""
    where = space((1, 28, 28), levels=2)
    network = body(where, channels=2, blocks=13, window=5, first_window=7)
    seen = receptive_field(network, where, 27 * 28 + 14)
    assert seen == set(range(27 * 28 + 14))


def test_colours_are_linear_in_the_earlier_colours_of_their_pixel():
    network = body(COLOUR, outputs=2)
    with fork(0):
        x = torch.randn(3, *COLOUR.shape, dtype=torch.double)
    base = x.clone()
    moved = []
    for step in (0.0, 1.0, 2.0):
        x = base.clone()
        x[:, 0, 2, 1] += step
        moved.append(network(x)[:, :, 1, 2, 1])
    torch.testing.assert_close(moved[2] - moved[1], moved[1] - moved[0])
    assert not torch.allclose(moved[1], moved[0])


def test_labels_change_every_block():
    network = body(classes=2)
    with fork(0):
        x = torch.randn(2, *GREY.shape, dtype=torch.double)
    zero, one = (network(x, torch.full((2,), c)) for c in (0, 1))
    assert not torch.allclose(zero, one)
    for block in network.blocks:
        assert block.label is not None and block.label.weight.shape == (16, 2)


@pytest.mark.parametrize("name", ["categorical", "logistic_mixture"])
def test_likelihoods_of_levels(name):
    model = Autoregressive(
        GREY, network=partial(pixelcnn, **SIZES), likelihood=name, components=3, conditional=True, sampler=SAMPLER
    )
    with fork(0):
        x = model.sample(4, torch.tensor([0, 1, 0, 1]))
        assert model.picture(2).shape == (2, *GREY.shape)
    GREY.check(x)
    assert (model.log_prob(x) < 0).all()


def test_refusals_give_the_reason():
    with pytest.raises(UsageError, match="needs images"):
        pixelcnn(space((2,)), 1, 0, **SIZES)
    with pytest.raises(UsageError, match="one channel"):
        pixelcnn(COLOUR, 1, 0, **{**SIZES, "embedding": 2})
    with pytest.raises(UsageError, match="does not fit"):
        Autoregressive(
            GREY,
            network=partial(pixelcnn, **SIZES),
            likelihood="bernoulli",
            components=1,
            conditional=False,
            sampler=SAMPLER,
        )


@pytest.mark.slow
def test_digits_of_which_half_is_known_stay_of_their_class(tmp_path, monkeypatch):
    """The bundled classifier takes what a whole run completes for the class it was."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", "model=pixelcnn", "dataset=digits", "model.conditional=true", "device=cpu", "out=run"]) == 0
    assert main(["sample", "ckpt=run", "n=100", "complete=top", "device=cpu", "out=completed"]) == 0
    with np.load("completed/samples.npz") as found:
        x, y = torch.from_numpy(found["x"]), torch.from_numpy(found["y"])
    assert (classifier.bundled(8)(x / 16).argmax(1) == y).float().mean() > 0.8
