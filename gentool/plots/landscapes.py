"""A function over the plane or the line as a map with arrows on top: an energy, a critic, a score."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gentool.plots.figures import DATA, MODEL, frame, panels, render
from gentool.plots.grids import Pixels
from gentool.plots.points import Limits, show_limits
from gentool.plots.regular import CHUNK, regular_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ARROWS = 20
"""Arrows along each side of a map."""

EXTREMES = 0.02
"""Share of the cells at either end whose values the colours do not tell apart: an energy may explode in a corner."""


@dataclass(frozen=True)
class Landscape:
    """A function at the middles of the cells of a regular grid.

    Attributes:
        box: the range of each dimension.
        resolution: cells a dimension.
        points: (resolution ** d, d), the first dimension fastest.
        value: (resolution ** d,) the function, or the length of its vectors.
        arrows: (resolution ** d, d) its vectors, or the gradient of its numbers; None where there is no gradient.
        is_vector: whether the function returns vectors.
    """

    box: Limits
    resolution: int
    points: Tensor
    value: Tensor
    arrows: Tensor | None
    is_vector: bool


def landscape(function: Callable[[Tensor], Tensor], box: Limits, resolution: int, device: torch.device) -> Landscape:
    """Evaluate a function, and the gradient of one that gives numbers, on a regular grid.

    Args:
        function: maps (n, d) in data space to (n,) numbers or (n, d) vectors.
        box: the range of each dimension; d is 1 or 2.
        resolution: cells a dimension.
        device: where the function wants its points.

    Returns:
        The landscape, on the CPU; no graph hangs on it.
    """
    points = regular_points(box, resolution)
    values, arrows = zip(*(_measured(function, part.to(device)) for part in torch.split(points, CHUNK)), strict=True)
    value = torch.cat(values)
    if value.dim() == 2:
        return Landscape(box, resolution, points, value.norm(dim=1), value, True)
    slopes = [a for a in arrows if a is not None]
    return Landscape(box, resolution, points, value, torch.cat(slopes) if slopes else None, False)


def _measured(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor | None]:
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        value = function(x)
        slope = None
        if value.dim() == 1 and value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach().float().cpu(), None if slope is None else slope.float().cpu()


def file_name(name: str) -> str:
    """Return a field's name as part of a file's: "score at sigma 0.5" -> "score_at_sigma_0.5"."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_")


def draw_landscape(
    land: Landscape,
    points: Tensor | None,
    *,
    title: str,
    densities: Mapping[str, Tensor] | None = None,
    reference: tuple[str, Tensor] | None = None,
) -> Pixels:
    """Draw a landscape: in two dimensions a map under arrows, in one a curve beside its derivative.

    Args:
        land: the field.
        points: (n, d) of the data, or None.
        title: what is shown.
        densities: one dimension: densities (resolution,) to draw faintly behind, by name.
        reference: one dimension: name and values (resolution,) of what the curve should be.

    Returns:
        (height, width, 3) uint8.
    """
    if len(land.box) == 1:
        return _draw_curve(land, points, title, densities or {}, reference)
    figure, (axes,) = panels(1)
    (left, right), (low, high) = land.box
    bottom, top = land.value.quantile(torch.tensor([EXTREMES, 1 - EXTREMES])).tolist()
    image = axes.imshow(land.value.reshape(land.resolution, -1).numpy(), origin="lower", cmap="viridis",
                        extent=(left, right, low, high), vmin=bottom, vmax=top, interpolation="bilinear")  # fmt: skip
    if points is not None:
        shown = points[:300].detach().float().cpu().numpy()
        axes.scatter(shown[:, 0], shown[:, 1], s=3, c="white", alpha=0.5, linewidths=0)
    longest = _quiver(axes, land) if land.arrows is not None else None
    show_limits(axes, land.box)
    axes.set(xlabel="$x_1$", ylabel="$x_2$")
    what = "arrows" if land.is_vector else "its gradient"
    frame(axes, title + ("" if longest is None else f"\n{what}: the longest arrow is {longest:.3g} long"))
    figure.colorbar(image, ax=axes, label="length" if land.is_vector else None, shrink=0.8, extend="both")
    return render(figure)


def _quiver(axes: "Axes", land: Landscape) -> float:
    """Draw some of the arrows, in one scale: all but the largest few have their true relation; return the longest."""
    assert land.arrows is not None
    step = ceil(land.resolution / ARROWS)
    side = torch.arange(step // 2, land.resolution, step)
    rows = (side[:, None] * land.resolution + side).flatten()
    at, arrows = land.points[rows], land.arrows[rows]
    length = arrows.norm(dim=1, keepdim=True)
    longest = float(length.quantile(0.98).clamp(min=1e-30))
    arrows = arrows * (longest / length.clamp(min=longest))
    cell = max((high - low) / len(side) for low, high in land.box)
    axes.quiver(at[:, 0].numpy(), at[:, 1].numpy(), arrows[:, 0].numpy(), arrows[:, 1].numpy(), color="white",
                angles="xy", scale_units="xy", scale=longest / (1.2 * cell), width=0.003)  # fmt: skip
    return longest


def _draw_curve(
    land: Landscape,
    points: Tensor | None,
    title: str,
    densities: Mapping[str, Tensor],
    reference: tuple[str, Tensor] | None,
) -> Pixels:
    """Draw the curve over the densities, and its derivative beside it."""
    x = land.points[:, 0].numpy()
    shown = land.arrows[:, 0] if land.is_vector and land.arrows is not None else land.value
    with_slope = land.arrows is not None and not land.is_vector
    figure, axes = panels(2 if with_slope else 1)
    behind = axes[0].twinx()
    if points is not None and not densities:
        behind.hist(points[:, 0].float().cpu().numpy(), bins=60, range=land.box[0], density=True, color=DATA, alpha=0.4)
    for (name, density), colour in zip(densities.items(), (DATA, "#d9822b"), strict=False):
        behind.fill_between(x, density.numpy(), color=colour, alpha=0.35, linewidth=0, label=name)
    behind.set(ylabel="density", ylim=(0, None))
    axes[0].set_zorder(behind.get_zorder() + 1)
    axes[0].patch.set_visible(False)
    axes[0].plot(x, shown.numpy(), color=MODEL, linewidth=1.8, label=title)
    if reference is not None:
        axes[0].plot(x, reference[1].numpy(), "--", color="black", linewidth=1.2, label=reference[0])
    for panel in axes:
        show_limits(panel, land.box)
        panel.set(xlabel="x")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    frame(axes[0], title, equal=False)
    if with_slope and land.arrows is not None:
        axes[1].plot(x, land.arrows[:, 0].numpy(), color=MODEL, linewidth=1.8)
        axes[1].axhline(0, color=DATA, linewidth=0.8)
        frame(axes[1], f"its derivative, at most {float(land.arrows.abs().max()):.3g}", equal=False)
    return render(figure)
