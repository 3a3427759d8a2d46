"""Walk between points of a latent space."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gentool.batch import Batch
from gentool.commands.reader import Output, announce, dataset_of, held_out, in_chunks
from gentool.device import Device
from gentool.errors import UsageError
from gentool.models.base import Decodes, Encodes, GenerativeModel
from gentool.plots.grids import Pixels, annotate, make_grid
from gentool.plots.planes import lerp, slerp
from gentool.plots.points import draw_walks
from gentool.space import DataSpace
from gentool.training.rng import fork
from gentool.training.runs import Loaded, load

CANDIDATES = 1000
"""Held-out examples among which pairs are sought, and over which the activity of a latent dimension is measured."""

REACH = 3.0
"""How far `between=axes` walks to both sides, in standard deviations of the prior."""

PATHS = {"lerp": lerp, "slerp": slerp}


@dataclass(frozen=True)
class Walk:
    """Walks from left to right.

    Attributes:
        x: (rows, steps, *space.shape) float, decoded.
        blend: the same in data space, straight from end to end; None where the ends are no data.
        rows: a name for each walk.
        columns: a name for each step.
        title: what is shown.
        data: examples to draw behind points, or None.
    """

    x: Tensor
    blend: Tensor | None
    rows: list[str]
    columns: list[str]
    title: str
    data: Tensor | None = None


def interpolate(
    *,
    ckpt: str | None,
    which: str | None,
    weights: Literal["ema", "raw"] | None,
    device: Device,
    sampler: Mapping[str, Any],
    dataset: Mapping[str, str | None],
    seed: NonNegativeInt,
    out: str | None,
    between: Literal["data", "prior", "axes"],
    y: tuple[NonNegativeInt, NonNegativeInt] | None,
    path: Literal["lerp", "slerp"],
    steps: Annotated[int, Field(ge=2)],
    rows: PositiveInt,
    milliseconds: PositiveInt,
) -> Path:
    """Walk between points of a latent space: `interpolation.png`, one row a walk, and `interpolation.gif`.

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run with a latent space.
        which: best, last or step_… of a run.
        weights: ema or raw; None: EMA where there is one.
        device: where it runs.
        sampler: overrides of the model's sampling knobs.
        dataset: where the run's data is now.
        seed: of the choice of points.
        out: the folder to write to; None: a fresh one.
        between: two test examples, two draws of the prior, or the two sides of one latent dimension.
        y: the classes of the two examples of each walk; None: any two that differ, or share it where the model sees it.
        path: straight, or along the great arc.
        steps: points a walk, its ends included.
        rows: number of walks.
        milliseconds: how long a frame of the GIF stands.

    Returns:
        The folder.

    Raises:
        UsageError: if an option does not fit the model or its data.
    """
    loaded = load(ckpt, which=which, weights=weights, device=device, sampler=sampler,
                  needs=Encodes if between == "data" else Decodes)  # fmt: skip
    _check_classes(y, between, loaded.model)
    announce(loaded)
    with torch.no_grad(), fork(seed):
        if between == "data":
            walk = _between_data(loaded, _held_out(loaded, dataset, device, seed), y, path, steps, rows)
        elif between == "prior":
            walk = _between_draws(loaded.model, path, steps, rows)
        else:
            known = _held_out(loaded, dataset, device, seed) if isinstance(loaded.model, Encodes) else None
            walk = _along_axes(loaded.model, known, steps, rows)
    print(f"{walk.title}: " + ", ".join(walk.rows))
    output = Output()
    output.png("interpolation.png", _picture(walk, loaded.model.space))
    output.gif("interpolation.gif", _frames(walk, loaded.model.space), milliseconds)
    return output.write("interpolate", loaded, out)


def _held_out(loaded: Loaded, dataset: Mapping[str, str | None], device: Device, seed: int) -> Batch:
    return held_out(dataset_of(loaded, dataset, device.torch), seed).pick(CANDIDATES)


def _check_classes(y: tuple[int, int] | None, between: str, model: GenerativeModel) -> None:
    """Refuse classes of a walk's ends that there cannot be."""
    if y is None:
        return
    first, second = y
    if between != "data":
        raise UsageError(f"y=[{first},{second}]: of test examples, and between={between} has none; between=data")
    if max(y) >= model.space.classes:
        has = f"the classes 0..{model.space.classes - 1}" if model.space.classes else "no classes"
        raise UsageError(f"y=[{first},{second}]: this data has {has}")
    if model.conditional and first != second:
        raise UsageError(f"y=[{first},{second}]: the model sees the class, so both ends share it; y=[{first},{first}]")


def pairs(n: int, rows: int, fits: Callable[[int, int], bool]) -> Tensor:
    """Pair examples, each used once and with the first that fits.

    Args:
        n: number of examples.
        rows: pairs wanted; fewer come back where fewer fit.
        fits: whether a walk may lead from one example to the other.

    Returns:
        (rows, 2) int64.
    """
    free = dict.fromkeys(range(n))
    found: list[tuple[int, int]] = []
    for first in range(n):
        if first in free and len(found) < rows:
            second = next((other for other in free if other != first and fits(first, other)), None)
            if second is not None:
                found.append((first, second))
                del free[first], free[second]
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2)


def _between_data(
    loaded: Loaded, batch: Batch, classes: tuple[int, int] | None, path: str, steps: int, rows: int
) -> Walk:
    model = loaded.model
    assert isinstance(model, Encodes)
    y = batch.y if model.conditional else None
    has_labels = batch.y is not None and model.space.condition == "labels"  # else it may be captions
    classes_of: list[int] | None = batch.y.tolist() if batch.y is not None and has_labels else None

    def fits(i: int, j: int) -> bool:
        if classes_of is None:
            return True
        if classes is not None:
            return [classes_of[i], classes_of[j]] == list(classes)
        # A label cannot be walked: where the decoder sees it, both ends share it, and the walk is through style.
        return bool(classes_of[i] == classes_of[j]) == model.conditional

    ends = pairs(len(batch.x), rows, fits).to(batch.x.device)
    if not len(ends):
        raise UsageError("between=data: the data has no two examples to walk between; between=prior needs none")
    t = torch.linspace(0, 1, steps, device=batch.x.device)
    first, second = ends.T
    labels = None if y is None else y[first]
    a, b = (model.encode(batch.x[i], None if y is None else y[i]) for i in (first, second))
    walk = _decoded(model, PATHS[path](a, b, t), labels)
    blend = lerp(batch.x[first].float(), batch.x[second].float(), t)
    names = [f"{i}" for i in range(len(ends))] if classes_of is None else [
        f"{classes_of[i]} to {classes_of[j]}" for i, j in ends.tolist()
    ]  # fmt: skip
    blends = "the blend of their pixels" if model.space.is_image else "blends dashed"
    title = f"{path} between codes of held-out examples, {blends}"
    return Walk(walk, blend, names, [f"{float(step):.2g}" for step in t], title, batch.x)


def _between_draws(model: GenerativeModel, path: str, steps: int, rows: int) -> Walk:
    assert isinstance(model, Decodes)
    a, b = model.sample_latent(rows), model.sample_latent(rows)
    t = torch.linspace(0, 1, steps, device=a.device)
    labels = model.draw_labels(rows) if model.conditional else None
    names = [str(i) for i in range(rows)] if labels is None else [f"{i}, class {int(y)}" for i, y in enumerate(labels)]
    walk = _decoded(model, PATHS[path](a, b, t), labels)
    return Walk(walk, None, names, [f"{float(step):.2g}" for step in t], f"{path} between draws of the prior")


def _along_axes(model: GenerativeModel, batch: Batch | None, steps: int, rows: int) -> Walk:
    """Walk along single dimensions through the code of an example; the most active dimensions first.

    A dimension's activity is the variance of its code over the data, in units of the prior's (Burda et al., 2015).
    """
    assert isinstance(model, Decodes)
    prior = model.sample_latent(10 * CANDIDATES).flatten(1)
    loc, scale = prior.mean(0), prior.std(0).clamp(min=1e-12)
    shape = model.sample_latent(1).shape[1:]
    start, y = loc, model.draw_labels(1) if model.conditional else None
    activity = None
    if batch is not None and isinstance(model, Encodes):
        labels = batch.y if model.conditional else None
        codes = in_chunks(model.encode, batch.x, labels).flatten(1)
        start, y = codes[0], None if labels is None else labels[:1]
        activity = (codes / scale).var(0) if len(codes) > 1 else None
    order = torch.arange(len(loc)) if activity is None else activity.argsort(descending=True).cpu()
    order = order[:rows]
    t = torch.linspace(-REACH, REACH, steps, device=loc.device)
    z = start.repeat(len(order), steps, 1)
    for row, axis in enumerate(order.tolist()):
        z[row, :, axis] = loc[axis] + t * scale[axis]
    names = [f"z{i}" + ("" if activity is None else f" ({activity[i]:.2f})") for i in order.tolist()]
    title = "one latent dimension at a time, in standard deviations of the prior"
    title += "" if activity is None else "\n(in brackets its activity: the variance of its code over the data)"
    walk = _decoded(model, z.reshape(len(order), steps, *shape), None if y is None else y.expand(len(order)))
    return Walk(walk, None, names, [f"{float(step):+.1f}" for step in t], title)


def _decoded(model: Decodes, z: Tensor, y: Tensor | None) -> Tensor:
    """Decode (rows, steps, …) codes, row i under label i."""
    rows, steps = z.shape[:2]
    labels = None if y is None else y.repeat_interleave(steps)
    decoded = in_chunks(model.decode, z.flatten(0, 1), labels)
    return decoded.reshape(rows, steps, *decoded.shape[1:])


def _picture(walk: Walk, space: DataSpace) -> Pixels:
    if space.is_points:
        return draw_walks(walk.x, walk.blend, walk.data, space, title=walk.title)
    steps = walk.x.shape[1]
    if walk.blend is None:
        return annotate(
            make_grid(walk.x.flatten(0, 1), space, columns=steps),
            title=walk.title,
            rows=walk.rows,
            columns=walk.columns,
        )
    both = torch.stack([walk.x, walk.blend], dim=1).flatten(0, 2)
    names = [text for name in walk.rows for text in (f"{name}: codes", "pixels")]
    return annotate(make_grid(both, space, columns=steps), title=walk.title, rows=names, columns=walk.columns)


def _frames(walk: Walk, space: DataSpace) -> list[Pixels]:
    """Return a frame for each step, there and back; the walks in a row, their blends below."""
    rows, steps = walk.x.shape[:2]
    forth = []
    for i in range(steps):
        blend = None if walk.blend is None else walk.blend[:, i]
        if space.is_points:
            dots = None if blend is None else blend[:, None]
            forth.append(draw_walks(walk.x[:, i : i + 1], dots, walk.data, space, title=walk.title))
        else:
            shown = walk.x[:, i] if blend is None else torch.cat([walk.x[:, i], blend])
            forth.append(make_grid(shown, space, columns=rows))
    return forth + forth[-2:0:-1]
