"""What batch norm holds in evaluation, measured afresh: a mean over batches instead of a trail of old weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@torch.no_grad()
def settle(network: nn.Module, run: Callable[[], object], times: int) -> None:
    """Set each batch norm's running mean and variance to their average over some forward passes.

    Args:
        network: holds the layers; left in the mode it was in.
        run: does one forward pass of it, on inputs of its own.
        times: how many.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not layers or layers[0].weight.is_meta:  # a checkpoint's sizes are looked at before its values are
        return
    mode, momenta = network.training, [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for the mean over all passes
    network.train()
    for _ in range(times):
        run()
    network.train(mode)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation: looking at it moves none of its statistics.

    Args:
        network: left in the mode it was in.
    """
    mode = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(mode)
