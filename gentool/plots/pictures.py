"""One picture of examples, whatever the space."""

from torch import Tensor

from gentool.plots.grids import Pixels, make_grid
from gentool.plots.points import draw_points
from gentool.plots.texts import SHOWN as TEXTS
from gentool.plots.texts import draw_texts
from gentool.space import DataSpace

SHOWN = 400
"""The largest number of images in one grid."""


def draw_examples(
    x: Tensor, space: DataSpace, y: Tensor | None = None, *, title: str, columns: int | None = None
) -> Pixels:
    """Draw examples: a scatter of points, a grid of images (the first 400), a page of texts, strips of anything else.

    Args:
        x: (n, *space.shape) in data space, integers or means.
        space: facts of the data.
        y: (n,) labels that colour points, or None.
        title: of a scatter; a grid has none.
        columns: images a row; None: as `make_grid` chooses.

    Returns:
        (height, width) or (height, width, 3) uint8.
    """
    if space.is_points:
        return draw_points(x, space, y, title=title)
    if space.vocabulary:
        return draw_texts(space.texts(x[:TEXTS]))
    return make_grid(x[:SHOWN], space, columns=columns or (None if space.is_image else 1))
