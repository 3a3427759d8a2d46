"""Pictures of points: reals in one, two or more dimensions."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gentool.plots.figures import DATA, MODEL, frame, panels, render, scatter_classes
from gentool.plots.grids import Pixels
from gentool.plots.planes import principal_plane
from gentool.space import DataSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Limits = list[tuple[float, float]]
"""The lowest and highest shown value of each dimension."""


def limits(space: DataSpace, points: Tensor | None = None) -> Limits:
    """Return the shown range of each dimension: what the points fill and a tenth more, else 2.5 deviations of the data.

    Args:
        space: facts of the data, of shape (d,).
        points: (n, d), or None.

    Returns:
        (low, high) of each dimension, in units of the data.
    """
    if points is None or not len(points):
        low, high = space.loc - 2.5 * space.scale, space.loc + 2.5 * space.scale
    else:
        low, high = points.float().amin(0).cpu(), points.float().amax(0).cpu()
        margin = torch.maximum(0.1 * (high - low), 0.05 * space.scale.cpu())
        low, high = low - margin, high + margin
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def show_limits(axes: "Axes", box: Limits) -> None:
    """Fix the range of a panel."""
    axes.set_xlim(box[0])
    if len(box) > 1:
        axes.set_ylim(box[1])


def draw_points(
    x: Tensor, space: DataSpace, y: Tensor | None = None, *, title: str, classes: int | None = None
) -> Pixels:
    """Draw points: a histogram in one dimension, a scatter in two, the first two principal components beyond.

    The frame is fixed by the space, so that pictures of one data set compare; points outside it are counted.

    Args:
        x: (n, d) in data space.
        space: facts of the data.
        y: (n,) labels that colour the points, or None.
        title: what is shown.
        classes: labels there are; None: those of the data.

    Returns:
        (height, width, 3) uint8.
    """
    x = x.detach().float().cpu()
    classes = space.classes if classes is None else classes
    figure, (axes,) = panels(1)
    if space.dims == 1:
        box = limits(space)
        axes.hist(x[:, 0].numpy(), bins=60, range=box[0], color=MODEL, alpha=0.8)
        axes.set(xlabel="x", ylabel="count")
        frame(axes, title, equal=False)
        return render(figure)
    if space.dims > 2:
        plane = principal_plane(space.to_model(x))
        scatter_classes(axes, plane.project(space.to_model(x)), y, classes=classes)
        frame(axes, f"{title}\n{plane.describe()}")
        return render(figure)
    box = limits(space)
    scatter_classes(axes, x, y, classes=classes)
    show_limits(axes, box)
    axes.set(xlabel="$x_1$", ylabel="$x_2$")
    low, high = torch.tensor(box).T
    outside = int(((x < low) | (x > high)).any(1).sum())
    frame(axes, title + (f"\n{outside} of {len(x)} outside the frame" if outside else ""))
    return render(figure)


def draw_pairs(before: Tensor, after: Tensor, space: DataSpace, *, title: str) -> Pixels:
    """Draw where each point went: grey before, blue after, a line between; in the first two dimensions.

    Args:
        before: (n, d) in data space.
        after: (n, d) in data space.
        space: facts of the data.
        title: what is shown.

    Returns:
        (height, width, 3) uint8.
    """
    figure, (axes,) = panels(1)
    a, b = (_plane(t).numpy() for t in (before, after))
    axes.plot([a[:, 0], b[:, 0]], [a[:, 1], b[:, 1]], color=DATA, linewidth=0.5, alpha=0.6)
    axes.scatter(a[:, 0], a[:, 1], s=8, color=DATA, linewidths=0, label="input")
    axes.scatter(b[:, 0], b[:, 1], s=8, color=MODEL, linewidths=0, label="reconstruction")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.3), ncols=2, frameon=False, fontsize=9)
    frame(axes, title)
    return render(figure)


def draw_walks(walks: Tensor, blends: Tensor | None, data: Tensor | None, space: DataSpace, *, title: str) -> Pixels:
    """Draw walks through the data as lines of dots; the straight blends beside them as dashes.

    Args:
        walks: (rows, steps, d) in data space.
        blends: (rows, steps, d) in data space, or None.
        data: (n, d) drawn in grey behind, or None.
        space: facts of the data.
        title: what is shown.

    Returns:
        (height, width, 3) uint8.
    """
    figure, (axes,) = panels(1)
    if data is not None:
        points = _plane(data).numpy()
        axes.scatter(points[:, 0], points[:, 1], s=4, color=DATA, alpha=0.4, linewidths=0, label="data")
    for i, walk in enumerate(walks):
        path = _plane(walk).numpy()
        axes.plot(path[:, 0], path[:, 1], "o-", color=f"C{i % 10}", markersize=3, linewidth=1)
        if blends is not None:
            line = _plane(blends[i]).numpy()
            axes.plot(line[:, 0], line[:, 1], "--", color=f"C{i % 10}", linewidth=0.7, alpha=0.7)
    frame(axes, title)
    return render(figure)


def _plane(x: Tensor) -> Tensor:
    """The first two dimensions; a line of points lies on the zero of the second."""
    x = x.detach().float().cpu().flatten(1)
    return x[:, :2] if x.shape[1] > 1 else torch.cat([x, torch.zeros_like(x)], dim=1)
