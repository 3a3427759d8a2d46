"""Fields over the space of one- and two-dimensional points: a model's density beside the data's, energies, critics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.models.base import GenerativeModel, HasFields, HasLikelihood
from gentool.nn.network import exact
from gentool.plots.figures import DATA, MODEL, frame, panels, render
from gentool.plots.grids import Pixels
from gentool.plots.landscapes import draw_landscape, file_name, landscape
from gentool.plots.points import Limits, limits, show_limits
from gentool.plots.regular import CHUNK, regular_points
from gentool.space import DataSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWS = 64
"""Importance samples of each log p(x) while training: a picture every so often must not slow the run."""

RESOLUTION = 80
"""Cells a dimension while training."""


@dataclass(frozen=True)
class Field:
    """log p(x) at the middles of the cells of a regular grid.

    Attributes:
        box: the range of each dimension.
        points: (resolution ** d, d), the first dimension fastest.
        log_prob: (resolution ** d,) nats.
        resolution: cells a dimension.
    """

    box: Limits
    points: Tensor
    log_prob: Tensor
    resolution: int

    @property
    def mass(self) -> float:
        """The probability inside the box, by the midpoint rule."""
        cell = 1.0
        for low, high in self.box:
            cell *= (high - low) / self.resolution
        return float(self.log_prob.double().exp().sum() * cell)


def density_field(log_prob: Callable[[Tensor], Tensor], box: Limits, resolution: int, device: torch.device) -> Field:
    """Evaluate a log density on a regular grid.

    Args:
        log_prob: maps (n, d) in data space to (n,) nats.
        box: the range of each dimension; d is 1 or 2.
        resolution: cells a dimension.
        device: where `log_prob` wants its points.

    Returns:
        The field, on the CPU.
    """
    points = regular_points(box, resolution)
    with torch.no_grad():
        values = [log_prob(chunk.to(device)).float().cpu() for chunk in torch.split(points, CHUNK)]
    return Field(box, points, torch.cat(values), resolution)


def draw_field(field: Field, points: Tensor | None, *, title: str, truth: Field | None = None) -> Pixels:
    """Draw a density with data points over it, and the true density beside it where it is known.

    Both panels share one colour scale.

    Args:
        field: the model's.
        points: (n, d) of the data, or None.
        title: of the model's panel.
        truth: the data's own density on the same grid, or None.

    Returns:
        (height, width, 3) uint8.
    """
    shown = [(title, field)] + ([("density of the data", truth)] if truth is not None else [])
    if len(field.box) == 1:
        return _draw_curves(shown, points, field.box)
    figure, axes = panels(len(shown))
    top = max(float(f.log_prob.double().exp().max()) for _, f in shown[-1:] + shown[:1])
    for panel, (name, each) in zip(axes, shown, strict=True):
        density = each.log_prob.double().exp().reshape(each.resolution, each.resolution)
        (left, right), (low, high) = each.box
        image = panel.imshow(density.numpy(), origin="lower", extent=(left, right, low, high), cmap="magma",
                             vmin=0, vmax=top, interpolation="bilinear")  # fmt: skip
        _dots(panel, points)
        show_limits(panel, each.box)
        panel.set(xlabel="$x_1$", ylabel="$x_2$")
        frame(panel, f"{name}, mass in the frame {each.mass:.3f}")
    figure.colorbar(image, ax=axes, label="p(x)", shrink=0.8)
    return render(figure)


def _dots(panel: "Axes", points: Tensor | None) -> None:
    if points is not None:
        shown = points[:300].detach().float().cpu().numpy()
        panel.scatter(shown[:, 0], shown[:, 1], s=3, c="#7fd6ff", alpha=0.6, linewidths=0)


def _draw_curves(shown: list[tuple[str, Field]], points: Tensor | None, box: Limits) -> Pixels:
    figure, (axes,) = panels(1)
    if points is not None:
        axes.hist(points[:, 0].float().cpu().numpy(), bins=60, range=box[0], density=True, color=DATA, alpha=0.5,
                  label="data")  # fmt: skip
    for (name, each), colour in zip(shown, (MODEL, "black"), strict=False):
        axes.plot(each.points[:, 0].numpy(), each.log_prob.exp().numpy(), color=colour, linewidth=1.5, label=name)
    show_limits(axes, box)
    axes.set(xlabel="x", ylabel="p(x)")
    axes.legend(frameon=False, fontsize=9)
    frame(axes, f"mass in the frame {shown[0][1].mass:.3f}", equal=False)
    return render(figure)


class Examples(Protocol):
    """One split of a dataset."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def batch(self, index: Tensor, noise: torch.Generator) -> Batch:
        """Return the examples at `index`."""
        ...


class Points(Protocol):
    """A dataset whose field can be drawn."""

    @property
    def space(self) -> DataSpace:
        """Facts of the data."""
        ...

    @property
    def train(self) -> Examples:
        """The training split."""
        ...


def draw_fields(model: GenerativeModel, data: Points) -> dict[str, Pixels]:
    """Draw what a model defines over the space of its data, as the loop does while training.

    Args:
        model: in eval mode.
        data: what it is trained on.

    Returns:
        (height, width, 3) uint8 by tag: `field_<name>` of a model with fields, else `field`, the density of one with a
        likelihood; empty where there is neither, or the data is no points of one or two dimensions.
    """
    if not data.space.is_points or data.space.dims > 2 or not isinstance(model, HasLikelihood | HasFields):
        return {}
    shown = torch.arange(min(len(data.train), 1000))
    points = data.train.batch(shown, torch.Generator()).x
    box = limits(data.space, points)
    if isinstance(model, HasFields):  # cheap, where a likelihood by an ODE or a bound would take minutes
        with exact(model):
            lands = {name: landscape(f, box, RESOLUTION, points.device) for name, f in model.fields().items()}
        return {f"field_{file_name(name)}": draw_landscape(land, points, title=name) for name, land in lands.items()}
    log_prob = partial(model.log_prob, draws=DRAWS)
    field = density_field(log_prob, box, RESOLUTION, points.device)
    return {"field": draw_field(field, points, title="density of the model")}
