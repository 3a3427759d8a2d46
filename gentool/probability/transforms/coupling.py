"""Affine couplings: one half of the dimensions says how the other is scaled and shifted."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gentool.probability.transforms.base import Transform

MakeNetwork = Callable[[Sequence[int], int, int], nn.Module]
"""(shape of what it sees, outputs on axis 1, classes) -> a network with forward(x, y) -> (batch, outputs, …)."""


class AffineCouplings(Transform):
    """Couplings that take turns: (a, b) -> (a, b exp(s(a)) + t(a)), then the same of a by b, and so on.

    s = bound tanh(·), so that neither direction can overflow; log |det| is the sum of all s. The halves of axis 1 are
    split once and joined once, however many couplings there are; a single dimension more goes to the first half.

    Args:
        shape: of one x; axis 0 (features, or channels) is what is halved, at least 2.
        count: how many couplings; the second half moves first.
        classes: of the labels that networks see; 0 for none.
        bound: largest |s|, > 0.
        network: makes the network of each coupling: (shape, outputs, classes) -> Module; t and s are its outputs.

    Reference: Density estimation using Real NVP, Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2016,
        https://arxiv.org/abs/1605.08803
    """

    def __init__(self, shape: Sequence[int], count: int, classes: int, bound: float, network: MakeNetwork) -> None:
        super().__init__()
        channels, *rest = shape
        self.sizes = [channels - channels // 2, channels // 2]
        self.bound = bound
        self.networks = nn.ModuleList(
            network((self.sizes[i % 2], *rest), 2 * self.sizes[(i + 1) % 2], classes) for i in range(count)
        )

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the couplings in order."""
        halves = list(torch.split(x, self.sizes, 1))
        log_scales = []
        for i, network in enumerate(self.networks):
            seen, moved = i % 2, (i + 1) % 2
            shift, log_scale = self._affine(network, halves[seen], y)
            halves[moved] = torch.addcmul(shift, halves[moved], log_scale.exp())
            log_scales.append(log_scale.flatten(1))
        return torch.cat(halves, 1), torch.cat(log_scales, 1).sum(1)

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo the couplings, the last first."""
        halves = list(torch.split(z, self.sizes, 1))
        log_scales = []
        for i, network in reversed(list(enumerate(self.networks))):
            seen, moved = i % 2, (i + 1) % 2
            shift, log_scale = self._affine(network, halves[seen], y)
            halves[moved] = (halves[moved] - shift) * (-log_scale).exp()
            log_scales.append(log_scale.flatten(1))
        return torch.cat(halves, 1), -torch.cat(log_scales, 1).sum(1)

    def _affine(self, network: Callable[..., Any], seen: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        shift, raw = network(seen, y).chunk(2, 1)
        return shift, self.bound * raw.tanh()
