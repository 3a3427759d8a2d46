"""How far a variational posterior is from the true one, and how much of that is the encoder's fault."""

from pydantic import PositiveInt
from torch import Tensor

from gentool.batch import Batch
from gentool.errors import Unavailable
from gentool.metrics.evaluation import Draws, Evaluation, Result
from gentool.metrics.likelihood import mean_and_error
from gentool.models.base import Infers

ELBO_DRAWS = 10
"""Draws of each ELBO; the same noise before and after, so most of it is in no difference."""


def elbos(evaluation: Evaluation, steps: int) -> Tensor:
    """Return the ELBO of every example, after so many gradient steps of its own posterior; computed once.

    Args:
        evaluation: the model and its examples.
        steps: of each posterior; 0 takes the model's as it is.

    Returns:
        (n,) float64 nats, on the CPU.

    Raises:
        Unavailable: if the model has no posterior that can be moved.
    """
    model = evaluation.model
    if not isinstance(model, Infers):
        raise Unavailable(f"{type(model).__name__} does not implement Infers (elbo)")

    def step(block: Batch) -> Tensor:
        return model.elbo(block.x, block.y, draws=ELBO_DRAWS, steps=steps)

    key = ("elbos", steps)
    if key not in evaluation.kept:
        what = f"ELBOs of {evaluation.n:,} examples after {steps} steps of each posterior"
        evaluation.kept[key] = evaluation.walk(step, evaluation.blocks(), evaluation.n, what, ELBO_DRAWS)
    found: Tensor = evaluation.kept[key]
    return found


class AmortisationGap:
    """ELBO of the best Gaussian of each example, by gradient steps, minus the ELBO of the one the encoder gives; nats.

    Args:
        steps: natural-gradient steps of each example's mu and log_var.

    Reference: Inference Suboptimality in Variational Autoencoders, Chris Cremer, Xuechen Li and David Duvenaud, 2018,
        https://arxiv.org/abs/1801.03558
    """

    def __init__(self, *, steps: PositiveInt) -> None:
        self.steps = steps

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        gap = elbos(evaluation, self.steps) - elbos(evaluation, 0)
        return Result(*mean_and_error(gap), {"kind": "bound", "draws": ELBO_DRAWS, "steps": self.steps})


class ApproximationGap:
    """log p(x), by importance sampling, minus the ELBO of the best Gaussian of each example; nats.

    It is the KL that no Gaussian takes away; with the amortisation gap it makes up log p(x) - ELBO.

    Args:
        steps: natural-gradient steps of each example's mu and log_var.
        draws: importance samples of each log p(x); too few make the gap too small.

    Reference: Inference Suboptimality in Variational Autoencoders, Chris Cremer, Xuechen Li and David Duvenaud, 2018,
        https://arxiv.org/abs/1801.03558
    """

    def __init__(self, *, steps: PositiveInt, draws: Draws) -> None:
        self.steps, self.draws = steps, draws

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        draws = evaluation.draws(self.draws)
        gap = evaluation.log_prob(draws) - elbos(evaluation, self.steps)
        return Result(*mean_and_error(gap), {"kind": "importance", "draws": draws, "steps": self.steps})
