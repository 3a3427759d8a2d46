"""Draw what a model defines over one- and two-dimensional points: its density, energy, discriminator, score."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gentool.commands.reader import Output, announce, dataset_of, held_out
from gentool.data.dataset import Dataset
from gentool.device import Device
from gentool.errors import Unavailable
from gentool.models.base import GenerativeModel, HasFields, HasLikelihood
from gentool.plots.fields import density_field, draw_field
from gentool.plots.landscapes import Landscape, draw_landscape, file_name, landscape
from gentool.plots.points import Limits, limits
from gentool.plots.regular import regular_points
from gentool.probability.kernel_density import kernel_density
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
    """Draw the fields of a model over the plane (or line) of the data.

    Writes `density.png` of a model with a likelihood, beside the data's own density where it is known, and
    `density.npz` (`x`, `log_prob`, `data_log_prob`). Of a model with fields, `<field>.png` and `<field>.npz` each: `x`,
    `value` and `gradient`, or `vector`; on the line also `p` and `q`, the densities of data and samples.

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run with a likelihood or fields.
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
    loaded = load(ckpt, which=which, weights=weights, device=device, sampler=sampler, needs=(HasLikelihood, HasFields))
    model, space = loaded.model, loaded.model.space
    if not space.is_points or space.dims > 2:
        raise Unavailable(
            f"plot draws points of one or two dimensions; the data of {loaded.name} has shape {space.shape}"
        )
    announce(loaded)
    data = dataset_of(loaded, dataset, device.torch)
    points = held_out(data, seed).pick(SHOWN).x
    box = limits(space, points)
    output = Output()
    if isinstance(model, HasLikelihood):
        try:
            _density(output, model, data, points, box, device, seed=seed, draws=draws, resolution=resolution)
        except Unavailable as error:
            if not isinstance(model, HasFields):
                raise
            print(f"no density: {error}")
    if isinstance(model, HasFields):
        p, q = _densities(model, data, points, box, seed, resolution) if space.dims == 1 else (None, None)
        for name, field in model.fields().items():
            _field(output, name, landscape(field, box, resolution, device.torch), points, p, q)
    return output.write("plot", loaded, out)


def _density(
    output: Output,
    model: HasLikelihood,
    data: Dataset,
    points: Tensor,
    box: Limits,
    device: Device,
    *,
    seed: int,
    draws: int,
    resolution: int,
) -> None:
    """Add the density of the model beside the data's."""
    with fork(seed):
        field = density_field(partial(model.log_prob, draws=draws), box, resolution, device.torch)
    truth = None
    if data.density is not None:
        truth = density_field(data.density.log_prob, box, resolution, torch.device("cpu"))
    kind = "" if model.likelihood == "exact" else f" ({model.likelihood}, {draws} draws)"
    print(f"probability inside the frame: {field.mass:.4f}{kind}")
    output.png("density.png", draw_field(field, points, title="density of the model", truth=truth))
    output.npz(
        "density.npz", x=field.points, log_prob=field.log_prob, data_log_prob=None if truth is None else truth.log_prob
    )


def _densities(
    model: GenerativeModel, data: Dataset, points: Tensor, box: Limits, seed: int, resolution: int
) -> tuple[Tensor, Tensor]:
    """Return the densities on the line: the data's, where it is not known by its points, and that of samples."""
    line = regular_points(box, resolution)
    with fork(seed), torch.no_grad():
        q = kernel_density(model.sample(SHOWN), line).exp()
    log_p = kernel_density(points, line) if data.density is None else data.density.log_prob(line)
    return log_p.exp(), q


def _field(output: Output, name: str, land: Landscape, points: Tensor, p: Tensor | None, q: Tensor | None) -> None:
    """Add one field; a discriminator on the line stands beside the best there is, p / (p + q)."""
    densities, best = {}, None
    if p is not None and q is not None:
        densities = {"p, the data": p, "q, the samples": q}
        best = ("p / (p + q)", p / (p + q).clamp(min=1e-30)) if name == "discriminator" else None
    drawn = draw_landscape(land, points, title=name, densities=densities, reference=best)
    output.png(f"{file_name(name)}.png", drawn)
    value, arrows = (None, land.arrows) if land.is_vector else (land.value, None)
    slope = None if land.is_vector else land.arrows
    output.npz(f"{file_name(name)}.npz", x=land.points, value=value, gradient=slope, vector=arrows, p=p, q=q)
