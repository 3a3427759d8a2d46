"""Show what a model makes of what it is given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gentool.commands.reader import CHUNK, Output, announce, dataset_of, held_out
from gentool.device import Device
from gentool.errors import UsageError
from gentool.models.base import Reconstructs
from gentool.plots.grids import annotate, make_grid
from gentool.plots.points import draw_pairs
from gentool.space import DataSpace
from gentool.training.rng import fork
from gentool.training.runs import load

Corruption = Literal["none", "gaussian", "salt_pepper", "mask"]


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
    if corrupt in ("salt_pepper", "mask") and not space.is_image:
        raise UsageError(f"corrupt={corrupt} is for images; this data has shape {space.shape}: corrupt=gaussian")
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


def corrupted(x: Tensor, space: DataSpace, corrupt: Corruption, level: float) -> Tensor:
    """Damage examples; they stay inside the space.

    Args:
        x: (n, *space.shape), in data space.
        space: facts of the data.
        corrupt: gaussian adds noise of `level` times the range of the levels (of reals: their deviation); salt_pepper
            turns that share of the pixels black or white; mask blackens a square of that share of the image.
        level: in [0, 1].

    Returns:
        (n, *space.shape), of the dtype of x.
    """
    if corrupt == "gaussian":
        spread = space.scale.to(x.device) if space.levels is None else float(space.levels - 1)
        return space.quantise(x.float() + level * spread * torch.randn(x.shape, device=x.device))
    white = 0 if space.levels is None else space.levels - 1
    if corrupt == "salt_pepper":
        chance = torch.rand(len(x), 1, *x.shape[2:], device=x.device).expand_as(x)
        salted = torch.where(chance < level / 2, torch.full_like(x, white), x)
        return torch.where((chance >= level / 2) & (chance < level), torch.zeros_like(x), salted)
    if corrupt == "mask":
        _, height, width = space.shape
        high, wide = (round(side * level**0.5) for side in (height, width))
        top, left = (height - high) // 2, (width - wide) // 2
        x = x.clone()
        x[..., top : top + high, left : left + wide] = 0
    return x


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
