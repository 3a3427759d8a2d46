"""A causal transformer over the dimensions of x: each output sees the dimensions before its own, and none after."""

from contextlib import nullcontext
from math import sqrt
from typing import Annotated, NamedTuple

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from gentool.errors import UsageError
from gentool.nn.network import Network
from gentool.nn.sequence import Sequence
from gentool.nn.transformer_cache import BlockCache
from gentool.space import DataSpace

STD = 0.02
"""Standard deviation of the weights at the start, as GPT-2's."""

Share = Annotated[float, Field(ge=0, lt=1)]


def transformer(
    space: DataSpace,
    outputs_per_dim: int,
    classes: int,
    *,
    layers: PositiveInt = 4,
    heads: PositiveInt = 4,
    features: PositiveInt = 128,
    dropout: Share = 0.0,
) -> Network:
    """Build a causal transformer: pixels in raster order, channels innermost; text and points from first to last.

    Args:
        space: the data's facts.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none.
        layers: blocks of attention and a perceptron, 1 or more.
        heads: attention heads of each block, a divisor of features.
        features: width of the residual stream.
        dropout: fraction zeroed in training, in [0, 1); 0.2 where the data is seen often.

    Returns:
        A network with forward(x (batch, *space.shape), y (batch,) or None) -> (batch, outputs_per_dim, *space.shape).

    Raises:
        UsageError: the heads do not divide the features.
    """
    if features % heads:
        raise UsageError(f"model.network.heads={heads} does not divide model.network.features={features}")
    return Network(Transformer(space, outputs_per_dim, classes, layers, heads, features, dropout))


class Cache(NamedTuple):
    """What a transformer keeps between steps of sampling.

    Attributes:
        n: number of samples.
        labels: (n, features) what the class adds to every input, or zero.
        blocks: keys and values of each, filled up to the step.
    """

    n: int
    labels: Tensor
    blocks: list[BlockCache]


class Transformer(nn.Module):
    """h_i = embed(x_{i-1}) + position_i + label(y), through blocks of causal attention; output_i = head(norm(h_i)).

    Args:
        space: the data's facts; see `nn.sequence.Sequence`.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes; 0 for none.
        layers: number of blocks.
        heads: of each attention.
        features: width of the residual stream.
        dropout: share set to zero in training.

    Attributes:
        takes_tokens: whether forward wants int64 levels instead of model space.
        order: (dims,) int64, the flat index of the dimension drawn at each step.

    Reference: Language Models are Unsupervised Multitask Learners, Radford et al., 2019,
        https://openai.com/index/better-language-models/; Attention Is All You Need, Vaswani et al., 2017,
        https://arxiv.org/abs/1706.03762
    """

    def __init__(
        self,
        space: DataSpace,
        outputs_per_dim: int,
        classes: int,
        layers: int,
        heads: int,
        features: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.sequence = Sequence(space, features, classes, STD)
        self.takes_tokens = self.sequence.takes_tokens
        self.position = nn.Parameter(STD * torch.randn(space.dims, features))
        # The sum of 2 L branches keeps the variance of one.
        self._blocks = [Block(features, heads, dropout, STD / sqrt(2 * layers)) for _ in range(layers)]
        self.blocks = nn.ModuleList(self._blocks)
        self.norm = nn.LayerNorm(features)
        self.head = _linear(features, outputs_per_dim, STD)
        self.dropout = nn.Dropout(dropout)

    @property
    def order(self) -> Tensor:
        """The flat index of the dimension drawn at each step, (dims,) int64."""
        return self.sequence.order

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return what every dimension's distribution is made of.

        Args:
            x: (batch, *space.shape), int64 levels, or floats in model space where `takes_tokens` is false.
            y: (batch,) labels, or None.

        Returns:
            (batch, outputs_per_dim, *space.shape).
        """
        h = self.dropout(self.sequence.inputs(x, y) + self.position)
        for block in self.blocks:
            h = block(h)
        return self.sequence.outputs(self.head(self.norm(h)))

    def begin(self, n: int, y: Tensor | None, device: torch.device) -> Cache:
        """Return an empty cache for n samples of labels y (n,) or None."""
        dims = len(self.position)
        return Cache(n, self.sequence.labels(y), [BlockCache(block, n, dims) for block in self._blocks])

    def step(self, state: Cache, i: int, x_prev: Tensor | None) -> Tensor:
        """Return the outputs of step i, given what was drawn at step i - 1.

        Args:
            state: the cache; gains this step's keys and values.
            i: position in the order, one after the last call's.
            x_prev: (n,) as in `forward`; None at i = 0.

        Returns:
            (n, outputs_per_dim).
        """
        h = (self.sequence.input(x_prev, state.labels) + self.position[i]).expand(state.n, -1)
        for block in state.blocks:
            h = block.step(h, i)
        out: Tensor = self.head(self.norm(h))
        return out


class Block(nn.Module):
    """h + mix(attention(norm(h))), then h + contract(gelu(expand(norm(h)))): pre-norm, so depth trains without warm-up.

    Args:
        features: width.
        heads: of the attention.
        dropout: share of each branch set to zero in training.
        std: standard deviation of the weights that end a branch.
    """

    def __init__(self, features: int, heads: int, dropout: float, std: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(features)
        self.read = _linear(features, 3 * features, STD)
        self.mix = _linear(features, features, std)
        self.norm_2 = nn.LayerNorm(features)
        self.expand = _linear(features, 4 * features, STD)
        self.contract = _linear(4 * features, features, std)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        """Map (batch, length, features) to the same; position i sees 0..i."""
        n, length, _ = h.shape
        q, k, v = self.read(self.norm(h)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        h = h + self.dropout(self.mix(_causal(q, k, v).transpose(1, 2).flatten(2)))
        out: Tensor = h + self.dropout(self._perceptron(h))
        return out

    def _perceptron(self, h: Tensor) -> Tensor:
        out: Tensor = self.contract(functional.gelu(self.expand(self.norm_2(h))))
        return out


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q kᵀ / sqrt(d)) v over the positions up to each query's own; all are (batch, heads, length, d)."""
    is_slow = q.device.type == "cpu" and q.dtype == torch.bfloat16  # its backward pass takes three times fp32's time
    with torch.autocast("cpu", enabled=False) if is_slow else nullcontext():
        q, k, v = (t.float() if is_slow else t for t in (q, k, v))
        out: Tensor = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out


def _linear(inputs: int, outputs: int, std: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer
