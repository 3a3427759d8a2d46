"""The envelope of every neural network: precision, memory format and compilation end where the network ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self

import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16"]


class Network(nn.Module):
    """A body of layers whose outputs are never narrower than fp32, whatever the precision inside it.

    Losses, densities and everything else in `models/` and `probability/` stay in fp32; only the body's own forward
    and backward run in `precision`.

    Args:
        body: tensors in, one tensor out; a `None` among its inputs (no labels) is handed through.
        twice: whether it is differentiated twice (a penalty on its gradient, an energy), so never compiled.
    """

    def __init__(self, body: nn.Module, twice: bool = False) -> None:
        super().__init__()
        self.body = body
        self.twice = twice
        self.precision: Precision = "fp32"
        self.channels_last = False

    def place(self, precision: Precision, channels_last: bool, compile: bool) -> Self:
        """Say how the body runs; call it after the module is on its device, as often as wished.

        Args:
            precision: fp32, or bf16 by autocast (the parameters stay fp32).
            channels_last: keep images and their weights in NHWC order.
            compile: run the body through `torch.compile`, in place, so that no name in `state_dict` changes.

        Returns:
            self.
        """
        self.precision = precision
        self.channels_last = channels_last
        self.body.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        if compile and not self.twice:
            self.body.compile()
        else:
            self.body._compiled_call_impl = None  # how nn.Module.compile() is undone
        return self

    def forward(self, *inputs: Tensor | None) -> Tensor:
        """Run the body.

        Args:
            *inputs: (batch, …) each; images as (batch, channels, height, width).

        Returns:
            What the body returns, as fp32 where it ran in bf16.
        """
        if self.channels_last:
            inputs = tuple(_channels_last(x) for x in inputs)
        if self.precision == "fp32":
            out: Tensor = self.body(*inputs)
            return out
        device = next(x.device.type for x in inputs if x is not None)
        with torch.autocast(device, dtype=torch.bfloat16):
            out = self.body(*inputs)
        return out.float()


def _channels_last(x: Tensor | None) -> Tensor | None:
    return x.contiguous(memory_format=torch.channels_last) if x is not None and x.dim() == 4 else x


@contextmanager
def exact(model: nn.Module) -> Iterator[None]:
    """Run every network of a model in fp32 inside the body: what is measured is measured in full precision.

    Args:
        model: holds networks.
    """
    networks = [module for module in model.modules() if isinstance(module, Network)]
    before = [network.precision for network in networks]
    for network in networks:
        network.precision = "fp32"
    try:
        yield
    finally:
        for network, precision in zip(networks, before, strict=True):
            network.precision = precision
