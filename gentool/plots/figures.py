"""Figures by matplotlib without pyplot: no global state, no window, the same style everywhere."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gentool.plots.grids import Pixels

DPI = 100
DATA = "#9aa0a6"
MODEL = "#1f5fbf"


def new_figure(width: int, height: int) -> "Figure":
    """Return an empty figure of a size in pixels, drawn by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panels(columns: int, *, size: int = 480) -> "tuple[Figure, list[Axes]]":
    """Return a figure with `columns` square panels of about `size` pixels side by side."""
    figure = new_figure(size * columns + 100, size + 20)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])


def render(figure: "Figure") -> "Pixels":
    """Draw a figure.

    Args:
        figure: at its final size.

    Returns:
        (height, width, 3) uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def scatter_classes(axes: "Axes", xy: Tensor, y: Tensor | None, *, classes: int, size: float | None = None) -> None:
    """Scatter points coloured by class, with a legend beside the panel (a colour bar beyond 20 classes).

    Args:
        axes: the panel.
        xy: (n, 2).
        y: (n,) class labels, or None for one colour.
        classes: number of classes of the data.
        size: area of a marker in square points; None: by the number of points.
    """
    from matplotlib import colormaps

    points = xy.detach().cpu().numpy()
    size = size or float(np.clip(6000 / max(len(points), 1), 3, 24))
    if y is None or classes < 1:
        axes.scatter(points[:, 0], points[:, 1], s=size, c=MODEL, alpha=0.6, linewidths=0)
        return
    labels = y.cpu().numpy()
    if classes > 20:
        shown = axes.scatter(points[:, 0], points[:, 1], s=size, c=labels, cmap="turbo", alpha=0.7, linewidths=0)
        axes.figure.colorbar(shown, ax=axes, label="class")
        return
    colours = colormaps["tab10" if classes <= 10 else "tab20"]
    # One call in the given order: class after class would bury the first classes under the last.
    axes.scatter(points[:, 0], points[:, 1], s=size, c=colours(labels), alpha=0.7, linewidths=0)
    for label in np.unique(labels):
        axes.scatter([], [], s=28, color=colours(int(label)), label=str(label))
    axes.legend(title="class", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def frame(axes: "Axes", title: str, *, equal: bool = True) -> None:
    """Give a panel its title, quiet spines and, where both axes share a unit, one scale."""
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if equal:
        axes.set_aspect("equal", adjustable="box")
