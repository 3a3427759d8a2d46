"""Draw the fields a model defines over one- and two-dimensional points."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from gentool.commands.reader import Output, announce, dataset_of, held_out
from gentool.device import Device
from gentool.errors import Unavailable
from gentool.models.base import HasLikelihood
from gentool.plots.fields import density_field, draw_field
from gentool.plots.points import limits
from gentool.training.rng import fork
from gentool.training.runs import load

SHOWN = 2000
"""Data points that set the frame and are drawn."""


def plot(
    *,
    ckpt: str | None,
    which: str | None,
    weights: Literal["ema", "raw"] | None,
    device: Device,
    sampler: Mapping[str, Any],
    dataset: Mapping[str, str | None],
    seed: NonNegativeInt,
    out: str | None,
    draws: PositiveInt,
    resolution: Annotated[int, Field(ge=2, le=1000)],
) -> Path:
    """Draw p(x) over the plane (or line) of the data, beside the data's own density where it is known.

    Writes `density.png` and `density.npz` (`x`, `log_prob`, and `data_log_prob` where it is known).

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run with a likelihood.
        which: best, last or step_… of a run.
        weights: ema or raw; None: EMA where there is one.
        device: where it runs.
        sampler: overrides of the model's sampling knobs.
        dataset: where the run's data is now.
        seed: of the importance samples.
        out: the folder to write to; None: a fresh one.
        draws: importance samples of each log p(x).
        resolution: cells a dimension.

    Returns:
        The folder.

    Raises:
        Unavailable: if the data is no points of one or two dimensions.
    """
    loaded = load(ckpt, which=which, weights=weights, device=device, sampler=sampler, needs=HasLikelihood)
    model, space = loaded.model, loaded.model.space
    assert isinstance(model, HasLikelihood)
    if not space.is_points or space.dims > 2:
        raise Unavailable(
            f"plot draws points of one or two dimensions; the data of {loaded.name} has shape {space.shape}"
        )
    announce(loaded)
    data = dataset_of(loaded, dataset, device.torch)
    points = held_out(data, seed).pick(SHOWN).x
    box = limits(space, points)
    with fork(seed):
        field = density_field(partial(model.log_prob, draws=draws), box, resolution, device.torch)
    truth = None
    if data.density is not None:
        truth = density_field(data.density.log_prob, box, resolution, torch.device("cpu"))
    kind = "" if model.likelihood == "exact" else f" ({model.likelihood}, {draws} draws)"
    print(f"probability inside the frame: {field.mass:.4f}{kind}")
    output = Output()
    output.png("density.png", draw_field(field, points, title="density of the model", truth=truth))
    output.npz(
        "density.npz", x=field.points, log_prob=field.log_prob, data_log_prob=None if truth is None else truth.log_prob
    )
    return output.write("plot", loaded, out)
