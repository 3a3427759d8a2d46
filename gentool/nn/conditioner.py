"""The networks inside flows that say how each dimension of a vector is moved; they start at zero."""

from collections.abc import Sequence

from pydantic import PositiveInt

from gentool.nn.blocks import Activation
from gentool.nn.masked import MADE, Order
from gentool.nn.mlp import MLP


def conditioner(
    dims: int,
    outputs_per_dim: int,
    classes: int,
    order: Order | None,
    *,
    hidden_features: Sequence[PositiveInt] = (64, 64),
    activation: Activation = "relu",
) -> MADE | MLP:
    """Build the network of a flow's transform; it starts at zero, and runs in fp32 whatever the device.

    Args:
        dims: of a vector x.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none.
        order: in which outputs see x; None: all see all of it.
        hidden_features: units of each hidden layer.
        activation: relu, leaky_relu, elu, gelu, silu, softplus or tanh.

    Returns:
        A MADE, or without an order a network of outputs_per_dim outputs.
    """
    if order is None:
        return MLP(dims, hidden_features, outputs_per_dim, classes, activation, 0.0)
    return MADE((dims,), outputs_per_dim, classes, hidden_features, activation, order, 1, False, False, 0.0)
