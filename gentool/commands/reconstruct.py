"""Show what a model makes of what it is given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gentool.commands.reader import CHUNK, Output, announce, dataset_of, held_out
from gentool.device import Device
from gentool.models.base import Reconstructs
from gentool.plots.grids import annotate, make_grid
from gentool.plots.points import draw_pairs
from gentool.probability.corruption import Corruption, check_corruption, corrupted
from gentool.space import DataSpace
from gentool.training.rng import fork
from gentool.training.runs import load


def reconstruct(
    *,
    ckpt: str | None,
    which: str | None,
    weights: Literal["ema", "raw"] | None,
    device: Device,
    sampler: Mapping[str, Any],
    dataset: Mapping[str, str | None],
    seed: NonNegativeInt,
    out: str | None,
    n: PositiveInt,
    corrupt: Corruption,
    level: Annotated[float, Field(ge=0, le=1)],
) -> Path:
    """Reconstruct the test split: print the error, and draw n inputs above what became of them.

    Writes `reconstruction.png` and `reconstruction.npz`.

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run that reconstructs.
        which: best, last or step_… of a run.
        weights: ema or raw; None: EMA where there is one.
        device: where it runs.
        sampler: overrides of the model's sampling knobs.
        dataset: where the run's data is now.
        seed: of the corruption and of the choice of what is shown.
        out: the folder to write to; None: a fresh one.
        n: examples shown.
        corrupt: what is done to the inputs first.
        level: how much.

    Returns:
        The folder.

    Raises:
        UsageError: if the corruption does not fit the data.
    """
    loaded = load(ckpt, which=which, weights=weights, device=device, sampler=sampler, needs=Reconstructs)
    model, space = loaded.model, loaded.model.space
    assert isinstance(model, Reconstructs)
    check_corruption(space, "corrupt", corrupt)
    announce(loaded)
    examples = held_out(dataset_of(loaded, dataset, device.torch), seed)
    errors = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for i, block in enumerate(examples.blocks(CHUNK, with_labels=model.conditional)):
            with fork(seed, i):
                given = corrupted(block.x, space, corrupt, level)
                made = model.reconstruct(given, block.y)
            errors += torch.stack([squared_error(x, block.x, space).sum() for x in (made, given)]).cpu()
        shown = examples.pick(n)
        with fork(seed):
            given = corrupted(shown.x, space, corrupt, level)
            made = model.reconstruct(given, shown.y if model.conditional else None)
    error, before = (errors / examples.n).tolist()
    unit = "pixel, levels scaled to [0, 1]" if space.levels is not None else "dimension, in units of the data"
    print(f"mean squared error per {unit}: {error:.6g} ({examples.split} split, {examples.n} examples)")
    if corrupt != "none":
        print(f"of the inputs under corrupt={corrupt} level={level:g}: {before:.6g}")
    output = Output()
    output.png("reconstruction.png", _picture(shown.x, given, made, space, corrupt, level, error))
    output.npz("reconstruction.npz", x=shown.x, given=given, reconstruction=made, mean_squared_error=error)
    return output.write("reconstruct", loaded, out)


def squared_error(a: Tensor, b: Tensor, space: DataSpace) -> Tensor:
    """Return the mean over dimensions of (a - b)²; levels are scaled to [0, 1] first.

    Args:
        a: (n, *space.shape), in data space.
        b: (n, *space.shape), in data space.
        space: facts of the data.

    Returns:
        (n,) float64.
    """
    unit = 1.0 if space.levels is None else 1.0 / (space.levels - 1)
    return ((a.double() - b.double()) * unit).square().flatten(1).mean(1)


def _picture(
    x: Tensor, given: Tensor, made: Tensor, space: DataSpace, corrupt: Corruption, level: float, error: float
) -> Any:
    title = f"reconstructions, mean squared error {error:.4g}"
    if space.is_points:
        return draw_pairs(given, made, space, title=title)
    rows = [x, made] if corrupt == "none" else [x, given, made]
    names = ["input", "reconstruction"] if corrupt == "none" else ["original", f"{corrupt} {level:g}", "reconstruction"]
    grid = make_grid(torch.cat([row.float() for row in rows]), space, columns=len(x))
    return annotate(grid, title=title, rows=names)
