"""A table where an encoder would be: a Gaussian over the latent of every training example, and no network."""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from gentool.probability.ascent import PAIRS, ascend
from gentool.probability.posterior import Posterior
from gentool.space import DataSpace


class PerExample(nn.Module):
    """mu_i and log sigma_i² of each training example i, in a buffer of examples * 2 * latent_dim numbers.

    They are no parameters that an optimiser moves: only the rows of a batch move, by natural-gradient steps of their
    own, so nothing is paid for the rows that are not there and no running mean drags them along.

    Args:
        space: the data's facts; its `examples` are the rows.
        outputs: numbers a row: the means, then the log variances.
        classes: of the labels given; a row belongs to an example, and so to its label.
        steps: natural-gradient steps a visit of a row.
        rate: of those steps at the start of training; it falls to a tenth, so that the noise of single steps averages
            out.

    Reference: Stochastic Variational Inference, Matthew Hoffman, David Blei, Chong Wang and John Paisley, 2013,
        https://arxiv.org/abs/1206.7051
    """

    def __init__(
        self,
        space: DataSpace,
        outputs: int,
        classes: int,
        *,
        steps: PositiveInt,
        rate: Annotated[float, Field(gt=0, le=1)],
    ) -> None:
        super().__init__()
        self.outputs, self.steps, self.rate = outputs, steps, rate
        self.rows: Tensor
        self.register_buffer("rows", torch.zeros(space.examples, outputs))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return where an example that is in no row starts from: a standard normal.

        Args:
            x: (batch, …).
            y: (batch,) labels, or None.

        Returns:
            (batch, outputs) zeros.
        """
        return self.rows.new_zeros(len(x), self.outputs)

    def visit(self, index: Tensor, log_joint: Callable[[Tensor], Tensor], progress: float, weight: float) -> Posterior:
        """Let the rows of a batch climb their bound, and keep what they reach.

        Args:
            index: (batch,) rows.
            log_joint: maps z (draws, batch, latent_dim) to log p(x, z) (draws, batch).
            progress: share of the training done, 0 to 1.
            weight: of the entropy; see `ascend`.

        Returns:
            The rows, without a graph.
        """
        q = Posterior(*self.rows[index].chunk(2, 1))
        rates = [self.rate * (1 - 0.9 * progress)] * self.steps

        def noise() -> Tensor:
            return torch.randn(PAIRS, *q.mu.shape, device=q.mu.device)

        found = ascend(log_joint, q, rates=rates, noise=noise, weight=weight)
        self._keep(index, torch.cat(found, 1))
        return found

    @torch.no_grad()
    def _keep(self, index: Tensor, rows: Tensor) -> None:
        """Put (batch, outputs) rows where they belong; several processes give one another what they changed."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            change = torch.zeros_like(self.rows)
            change[index] = rows - self.rows[index]
            torch.distributed.all_reduce(change)
            self.rows += change
        else:
            self.rows[index] = rows
