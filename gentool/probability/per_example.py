"""A table where an encoder would be: a Gaussian over the latent of every training example, and no network."""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from gentool.probability.ascent import PAIRS, ascend
from gentool.probability.posterior import Posterior
from gentool.space import DataSpace

GUESSES = 64
"""Rows tried as the start of a new example: gradients alone lead from N(0, 1) to the nearest hill, not the highest."""


class PerExample(nn.Module):
    """mu_i and log sigma_i² of each training example i, in a buffer of examples * 2 * latent_dim numbers.

    They are no parameters that an optimiser moves: only the rows of a batch move, by natural-gradient steps of their
    own, so nothing is paid for the rows that are not there and no running mean drags them along.

    Args:
        space: the data's facts; its `examples` are the rows.
        outputs: numbers a row: the means, then the log variances.
        classes: of the labels given; a row belongs to an example, and so to its label.
        steps: inner steps per visit of a row, 1 or more; each costs four draws through the decoder.
        rate: size of those steps at the start of training, in (0, 1]; it falls to a tenth, so that the noise of single
            steps averages out.

    Reference: Stochastic Variational Inference, Matthew Hoffman, David Blei, Chong Wang and John Paisley, 2013,
        https://arxiv.org/abs/1206.7051
    """

    def __init__(
        self,
        space: DataSpace,
        outputs: int,
        classes: int,
        *,
        steps: PositiveInt = 2,
        rate: Annotated[float, Field(gt=0, le=1)] = 0.3,
    ) -> None:
        super().__init__()
        self.outputs, self.steps, self.rate = outputs, steps, rate
        self.rows: Tensor
        self.register_buffer("rows", torch.zeros(space.examples, outputs))

    @torch.no_grad()
    def guess(self, n: int, log_joint: Callable[[Tensor], Tensor]) -> Posterior:
        """Return where examples that are in no row start from: each at that one of some rows which explains it best.

        Args:
            n: number of examples.
            log_joint: maps z (draws, n, latent_dim) to log p(x, z) (draws, n).

        Returns:
            q of each, mu and log_var (n, latent_dim).
        """
        some = self.rows[torch.linspace(0, len(self.rows) - 1, min(GUESSES, len(self.rows))).long()]
        codes = some.chunk(2, 1)[0].unsqueeze(1).expand(-1, n, -1)
        return Posterior(*some[log_joint(codes).argmax(0)].chunk(2, 1))

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
