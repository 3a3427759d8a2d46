"""A recurrent network over the dimensions of x: its state is all that later dimensions see of those before."""

from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from gentool.nn.network import Network
from gentool.nn.sequence import Sequence
from gentool.nn.transformer import Share
from gentool.space import DataSpace

Kind = Literal["lstm", "gru"]
_KINDS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


def recurrent(
    space: DataSpace,
    outputs_per_dim: int,
    classes: int,
    *,
    kind: Kind = "lstm",
    layers: PositiveInt = 1,
    embedding_features: PositiveInt = 128,
    hidden_features: PositiveInt = 512,
    dropout: Share = 0.0,
) -> Network:
    """Build a recurrent network: pixels in raster order, channels innermost; text and points from first to last.

    Args:
        space: the data's facts.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none.
        kind: lstm or gru.
        layers: recurrent layers, each reading the one below, 1 or more.
        embedding_features: width of a symbol's embedding.
        hidden_features: width of each layer's state.
        dropout: fraction zeroed in training before and after the layers, in [0, 1); 0.5 where the data is seen often.

    Returns:
        A network with forward(x (batch, *space.shape), y (batch,) or None) -> (batch, outputs_per_dim, *space.shape).
    """
    return Network(
        Recurrent(space, outputs_per_dim, classes, kind, layers, embedding_features, hidden_features, dropout)
    )


@dataclass
class Memory:
    """What a recurrent network keeps between steps of sampling.

    Attributes:
        n: number of samples.
        labels: (n, embedding_features) what the class adds to every input, or zero.
        state: of all layers, as torch's cells give it; None before the first step.
    """

    n: int
    labels: Tensor
    state: Any


class Recurrent(nn.Module):
    """s_i = cell(s_{i-1}, embed(x_{i-1}) + label(y)), output_i = head(s_i), from s_{-1} = 0.

    Args:
        space: the data's facts; see `nn.sequence.Sequence`.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes; 0 for none.
        kind: lstm or gru.
        layers: recurrent layers.
        embedding_features: width of the input.
        hidden_features: width of the state.
        dropout: share set to zero in training.

    Attributes:
        takes_tokens: whether forward wants int64 levels instead of model space.
        order: (dims,) int64, the flat index of the dimension drawn at each step.

    Reference: Generating Sequences With Recurrent Neural Networks, Alex Graves, 2013, https://arxiv.org/abs/1308.0850;
        Long Short-Term Memory, Sepp Hochreiter and Jürgen Schmidhuber, 1997,
        https://doi.org/10.1162/neco.1997.9.8.1735
    """

    def __init__(
        self,
        space: DataSpace,
        outputs_per_dim: int,
        classes: int,
        kind: Kind,
        layers: int,
        embedding_features: int,
        hidden_features: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.sequence = Sequence(space, embedding_features, classes, 1.0)
        self.takes_tokens = self.sequence.takes_tokens
        between = dropout if layers > 1 else 0.0
        self.cells = _KINDS[kind](embedding_features, hidden_features, layers, batch_first=True, dropout=between)
        self.head = nn.Linear(hidden_features, outputs_per_dim)
        self.dropout = nn.Dropout(dropout)
        if kind == "lstm":  # forget gates that start open: what a cell holds lasts, and gradients reach far back
            for name, bias in self.cells.named_parameters():
                if name.startswith("bias_ih"):
                    nn.init.ones_(bias.data[hidden_features : 2 * hidden_features])
        nn.init.normal_(self.head.weight, std=0.1 / sqrt(hidden_features))
        nn.init.zeros_(self.head.bias)

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
        states, _ = self.cells(self.dropout(self.sequence.inputs(x, y)))
        return self.sequence.outputs(self.head(self.dropout(states)))

    def begin(self, n: int, y: Tensor | None, device: torch.device) -> Memory:
        """Return the state before the first of n samples' dimensions, of labels y (n,) or None."""
        return Memory(n, self.sequence.labels(y), None)

    def step(self, state: Memory, i: int, x_prev: Tensor | None) -> Tensor:
        """Return the outputs of step i, given what was drawn at step i - 1.

        Args:
            state: changed in place.
            i: position in the order, one after the last call's.
            x_prev: (n,) as in `forward`; None at i = 0.

        Returns:
            (n, outputs_per_dim).
        """
        seen = self.sequence.input(x_prev, state.labels).expand(state.n, -1)
        out, state.state = self.cells(seen.unsqueeze(1), state.state)
        logits: Tensor = self.head(out[:, 0])
        return logits
