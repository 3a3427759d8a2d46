"""A block of a transformer at one position after another: keys and values stay, in as few calls as there are."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from gentool.nn.transformer import Block

FEW = 2**13  # numbers up to which torch's own GELU is the faster one on CPUs


class BlockCache:
    """What a block computes at a position, of what it computed at those before.

    A sample alone pays for calls rather than for sums, so no module is called: their weights are taken out once.

    Args:
        block: whose weights are taken, as they are now.
        n: number of samples.
        dims: positions at most.
    """

    def __init__(self, block: "Block", n: int, dims: int) -> None:
        features = block.mix.in_features
        self.shape = (n, 3, block.heads, features // block.heads)
        room = block.read.weight.new_empty(n, 2, block.heads, dims, self.shape[-1])
        self.keys, self.values = room.unbind(1)
        self.places = room.unbind(3)
        self.norm, self.norm_2 = _normal(block.norm), _normal(block.norm_2)
        self.read, self.mix = _affine(block.read), _affine(block.mix)
        self.expand, self.contract = _affine(block.expand), _affine(block.contract)

    def step(self, h: Tensor, i: int) -> Tensor:
        """Map (n, features) of position i, one after the last call's, to what `Block.forward` gives there."""
        bias, weight = self.read
        q, kv = torch.addmm(bias, torch.layer_norm(h, *self.norm), weight).view(self.shape).split_with_sizes((1, 2), 1)
        self.places[i].copy_(kv)
        keys, values = self.keys.narrow(2, 0, i + 1), self.values.narrow(2, 0, i + 1)
        attended = functional.scaled_dot_product_attention(q.transpose(1, 2), keys, values).view(h.shape)
        bias, weight = self.mix
        h = (h + bias).addmm_(attended, weight)
        bias, weight = self.expand
        wide = _gelu(torch.addmm(bias, torch.layer_norm(h, *self.norm_2), weight))
        bias, weight = self.contract
        return h.add_(bias).addmm_(wide, weight)


def _gelu(h: Tensor) -> Tensor:
    """Return what `functional.gelu` does, without oneDNN where to set up its kernel takes longer than to run it."""
    onednn: Any = torch.backends.mkldnn  # whose type does not say that it can be set
    if h.numel() > FEW or not onednn.enabled:
        return functional.gelu(h)
    onednn.enabled = False
    try:
        return functional.gelu(h)
    finally:
        onednn.enabled = True


def _affine(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    return layer.bias, layer.weight.t()


def _normal(layer: nn.LayerNorm) -> tuple[tuple[int, ...], Tensor, Tensor, float]:
    return layer.normalized_shape, layer.weight, layer.bias, layer.eps
