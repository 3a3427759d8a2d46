"""What validation measures of a model on a split; it knows no family."""

import torch
from torch import Tensor

from gentool.models.base import GenerativeModel, Pass
from gentool.training import rng


def validate(model: GenerativeModel, data: Pass, seed: int) -> dict[str, Tensor]:
    """Measure a model on a split: the mean objective as `model/loss`, and what the model itself reports.

    Args:
        model: in eval mode.
        data: one ordered pass.
        seed: of the noise, the same for both, so that they are of the same draws.

    Returns:
        Tensors by name; empty where the model has no objective and reports nothing.
    """
    total, count = torch.zeros((), dtype=torch.float64), 0
    with rng.fork(seed, 1):
        for batch in data():
            objective = model.objective(batch)
            if objective is None:
                break
            total += objective.double().sum().cpu()
            count += len(objective)
    with rng.fork(seed, 1):
        reported = {name if "/" in name else f"model/{name}": value for name, value in model.report(data).items()}
    return ({"model/loss": total / count} if count else {}) | reported
