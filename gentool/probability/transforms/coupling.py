"""Affine couplings: one half of the dimensions says how the other is scaled and shifted."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gentool.probability.transforms.base import Transform

_tanh_backward = torch.ops.aten.tanh_backward

MakeNetwork = Callable[[Sequence[int], int, int], nn.Module]
"""(shape of what it sees, outputs on axis 1, classes) -> a network with forward(x, y) -> (batch, outputs, …)."""


@runtime_checkable
class Derives(Protocol):
    """A network that goes back through itself, so that a whole run of couplings is one node of the graph.

    Attributes:
        derives: whether it does.
    """

    derives: bool

    def weights(self) -> list[Tensor]:
        """Return its parameters."""
        ...

    def trace(self, x: Tensor) -> tuple[Tensor, Any]:
        """Return the outputs of x, and what `pull` needs to know."""
        ...

    def pull(self, seen: Any, gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the gradients by x, and by each of `weights()`, of the gradient by the outputs."""
        ...


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
        self._derives = all(isinstance(network, Derives) and network.derives for network in self.networks)

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the couplings in order; in training by one node of the graph, whose nodes are half of a small step."""
        if self._derives and self.training and torch.is_grad_enabled():
            networks = cast(list[Derives], self.networks)
            z, log_det = _Run.apply(self, x, *(weight for network in networks for weight in network.weights()))
            return z, log_det
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


class _Run(torch.autograd.Function):
    """`AffineCouplings.forward_and_log_det`, of networks that derive; with their derivatives, to be taken once."""

    @staticmethod
    def forward(ctx: Any, couplings: AffineCouplings, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        halves = list(torch.split(x, couplings.sizes, 1))
        ctx.save_for_backward(*parameters)
        ctx.couplings, ctx.kept = couplings, []
        for i, network in enumerate(cast(list[Derives], couplings.networks)):
            moved = (i + 1) % 2
            outputs, seen = network.trace(halves[i % 2])
            shift, raw = outputs.chunk(2, 1)
            slope = raw.tanh()
            scale = (couplings.bound * slope).exp_()
            ctx.kept.append((network, seen, halves[moved], slope, scale))
            halves[moved] = torch.addcmul(shift, halves[moved], scale)
        slopes = torch.cat([slope for *_, slope, _ in ctx.kept], 1)
        return torch.cat(halves, 1), couplings.bound * slopes.sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_z: Tensor, by_log_det: Tensor) -> tuple[Tensor | None, ...]:
        """With s = bound tanh(raw): d/db = exp(s) d/dz, and d/ds = d/dlog_det + b exp(s) d/dz."""
        assert ctx.saved_tensors, "torch raises here where a weight has changed since"
        by_halves = list(torch.split(by_z, ctx.couplings.sizes, 1))
        by_log_det = by_log_det.unsqueeze(1)
        by_parameters: list[Tensor] = []
        for i, (network, seen, before, slope, scale) in reversed(list(enumerate(ctx.kept))):
            moved = (i + 1) % 2
            by_shift, by_before = by_halves[moved], by_halves[moved] * scale
            by_log_scale = torch.addcmul(by_log_det, by_before, before)
            by_raw = _tanh_backward(by_log_scale * ctx.couplings.bound, slope)
            by_seen, own = network.pull(seen, torch.cat([by_shift, by_raw], 1))
            by_halves[moved], by_halves[i % 2] = by_before, by_halves[i % 2] + by_seen
            by_parameters[:0] = own
        return None, torch.cat(by_halves, 1), *by_parameters
