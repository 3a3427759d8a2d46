"""What validation measures of a model on a split; it knows no family."""

import torch
from torch import Tensor

from gentool.errors import UsageError, nearest
from gentool.models.base import GenerativeModel, HasLikelihood, Pass
from gentool.nn.network import exact
from gentool.probability.densities import GaussianMixture
from gentool.probability.modes import SAMPLES, modes_captured, separated
from gentool.training import rng


def validate(model: GenerativeModel, data: Pass, seed: int, density: object = None) -> dict[str, Tensor]:
    """Measure a model on a split: the mean objective as `model/loss`, what the model itself reports, and its modes.

    Args:
        model: in eval mode.
        data: one ordered pass.
        seed: of the noise, the same for both, so that they are of the same draws.
        density: what the data was drawn from, where it is known.

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
    return ({"model/loss": total / count} if count else {}) | reported | _modes(model, seed, density)


def _modes(model: GenerativeModel, seed: int, density: object) -> dict[str, Tensor]:
    """The modes of a known mixture that samples capture: the alarm of a model whose likelihood cannot tell."""
    if isinstance(model, HasLikelihood) or not isinstance(density, GaussianMixture) or not separated(density):
        return {}
    with rng.fork(seed, 4):
        modes = modes_captured(model.sample(SAMPLES), density)
    captured, high_quality, reverse_kl = torch.tensor(modes)
    return {"model/modes": captured, "model/high_quality": high_quality, "model/reverse_kl": reverse_kl}


def check_monitor(
    monitor: str | None, model: GenerativeModel, data: Pass | None, seed: int, density: object = None
) -> None:
    """Refuse, before there is a folder, a `trainer.monitor` that validation will not measure: one batch tells.

    Args:
        monitor: the metric's name, or None.
        model: in any mode; left as it is.
        data: one pass over the validation split; None where it is empty.
        seed: of the noise.
        density: what the data was drawn from, where it is known.

    Raises:
        UsageError: naming the nearest metric.
    """
    if monitor is None:
        return
    if data is None:
        raise UsageError(f"trainer.monitor={monitor}: the validation split is empty")
    first, mode = next(iter(data())), model.training
    with torch.no_grad(), exact(model):
        measured = validate(model.eval(), lambda: iter([first]), seed, density)
    model.train(mode)
    if monitor not in measured:
        raise UsageError(f"trainer.monitor={monitor}: validation logs no such metric; {nearest(monitor, measured)}")
