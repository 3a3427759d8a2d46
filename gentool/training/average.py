"""The exponential moving average (EMA) of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gentool.errors import UsageError
from gentool.models.base import GenerativeModel


class Average:
    """theta_bar <- d theta_bar + (1 - d) theta, with the decay ramped: d = min(decay, (1 + s) / (10 + s)) at step s.

    The ramp lets short runs forget their initialisation. Only `model.averaged()` is followed; buffers are shared.

    Args:
        model: the model whose weights are followed.
        decay: d, in (0, 1).

    Raises:
        UsageError: where the model has nothing to average.
    """

    def __init__(self, model: GenerativeModel, decay: float) -> None:
        self.decay = decay
        self.followed = [p for p in model.averaged() if p.requires_grad]
        if not self.followed:
            raise UsageError(
                f"trainer.ema={decay}: {type(model).__name__} has no weights that gradients move; set null"
            )
        names = {id(p): name for name, p in model.named_parameters()}
        self.names = [names[id(p)] for p in self.followed]
        self.shadow = [p.detach().clone() for p in self.followed]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after training step `step` (1-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.followed], 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside, the model holds the averaged weights; outside, its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, mean in zip(self.followed, self.shadow, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights by parameter name."""
        return dict(zip(self.names, self.shadow, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned."""
        for name, mean in zip(self.names, self.shadow, strict=True):
            mean.copy_(state[name])
