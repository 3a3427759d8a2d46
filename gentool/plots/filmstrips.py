"""What chains pass through, side by side: moments from left to right."""

from torch import Tensor

from gentool.plots.figures import MODEL, frame, panels, render, scatter_classes
from gentool.plots.grids import Pixels, annotate, make_grid
from gentool.plots.planes import principal_plane
from gentool.plots.points import limits, show_limits
from gentool.space import DataSpace

COLUMNS, ROWS = 8, 6
"""Moments, and images whose way is shown."""


def draw_filmstrip(moments: Tensor, space: DataSpace, y: Tensor | None, *, title: str) -> Pixels:
    """Draw some moments of chains: of images a row each, of points a panel for all.

    Args:
        moments: (frames, n, *space.shape) in data space, from the start to the end.
        space: facts of the data.
        y: (n,) labels that name the rows, or None.
        title: what is shown.

    Returns:
        (height, width, 3) uint8.
    """
    chosen = moments[[round(i * (len(moments) - 1) / (COLUMNS - 1)) for i in range(COLUMNS)]]
    if space.is_points:
        return _panels(chosen.detach().float().cpu(), space, title)
    rows = chosen[:, :ROWS].transpose(0, 1)
    strip = make_grid(rows.flatten(0, 1), space, columns=COLUMNS)
    named = () if y is None else [str(label) for label in y[:ROWS].tolist()]
    return annotate(strip, title=title, rows=named)


def _panels(chosen: Tensor, space: DataSpace, title: str) -> Pixels:
    figure, axes = panels(len(chosen), size=200)
    plane = principal_plane(space.to_model(chosen[-1])) if space.dims > 2 else None
    box = limits(space) if space.dims <= 2 else None
    for panel, x in zip(axes, chosen, strict=True):
        if space.dims == 1 and box is not None:
            panel.hist(x[:, 0].numpy(), bins=60, range=box[0], color=MODEL, alpha=0.8)
        else:
            xy = x if plane is None else plane.project(space.to_model(x))
            scatter_classes(panel, xy, None, classes=0, size=3)
        if box is not None:
            show_limits(panel, box)
        panel.set(xticks=[], yticks=[])
        frame(panel, "", equal=space.dims > 1)
    figure.suptitle(title, fontsize=10)
    return render(figure)
