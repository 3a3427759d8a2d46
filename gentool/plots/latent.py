"""Pictures of a latent space: where the data lies in it, and what its points decode to."""

import torch
from torch import Tensor

from gentool.plots.figures import DATA, MODEL, frame, new_figure, panels, render, scatter_classes
from gentool.plots.grids import Pixels, annotate, make_grid
from gentool.plots.planes import Plane
from gentool.plots.points import draw_points
from gentool.space import DataSpace


def draw_codes(codes: Tensor, y: Tensor | None, plane: Plane | None, *, classes: int, title: str) -> Pixels:
    """Scatter codes coloured by class: as they are in two dimensions, in their principal plane beyond.

    Args:
        codes: (n, d).
        y: (n,) labels, or None.
        plane: where to project codes of more than two dimensions; None in one or two.
        classes: number of classes.
        title: what is shown.

    Returns:
        (height, width, 3) uint8.
    """
    codes = codes.detach().float().cpu()
    if codes.shape[1] == 1:
        return _draw_line_of_codes(codes[:, 0], y, title)
    figure = new_figure(760, 680)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    scatter_classes(axes, codes if plane is None else plane.project(codes), y, classes=classes)
    if plane is None:
        axes.set(xlabel="$z_1$", ylabel="$z_2$")
        frame(axes, title)
    else:
        axes.set(xlabel="first component", ylabel="second component")
        frame(axes, f"{title}\n{plane.describe()}")
    return render(figure)


def _draw_line_of_codes(z: Tensor, y: Tensor | None, title: str) -> Pixels:
    figure, (axes,) = panels(1)
    groups = [(None, z)] if y is None else [(k, z[y.cpu() == k]) for k in sorted(set(y.tolist()))]
    box = (float(z.min()), float(z.max()))
    for label, codes in groups:
        axes.hist(codes.numpy(), bins=60, range=box, histtype="step", label=None if label is None else str(label))
    if y is not None:
        axes.legend(title="class", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    axes.set(xlabel="$z$", ylabel="count")
    frame(axes, title, equal=False)
    return render(figure)


def are_shares(codes: Tensor) -> bool:
    """Whether each code (n, k), k > 1, is of shares: not negative, and 1 in all."""
    if codes.dim() != 2 or codes.shape[1] < 2:
        return False
    return bool((codes >= 0).all() and (codes.sum(1) - 1).abs().max() < 1e-4)


def draw_owners(x: Tensor, shares: Tensor, space: DataSpace, *, title: str) -> Pixels:
    """Draw points coloured by the component that has the largest share in each, and count those that are undecided.

    Args:
        x: (n, d) in data space.
        shares: (n, k) of each component in each point.
        space: facts of the data.
        title: what is shown.

    Returns:
        (height, width, 3) uint8.
    """
    largest, owner = shares.max(1)
    undecided = int((largest < 0.9).sum())
    title += f"\nlargest share below 0.9: {undecided} of {len(x)}"
    return draw_points(x, space, owner, title=title, classes=shares.shape[1])


def draw_manifold(decoded: Tensor, space: DataSpace, *, columns: int, title: str) -> Pixels:
    """Draw what a grid of latent points decodes to: a grid of images, or the bent mesh for points.

    Args:
        decoded: (rows * columns, *space.shape), read row by row from the top.
        space: facts of the data.
        columns: points a row.
        title: which points they are.

    Returns:
        (height, width, 3) uint8.
    """
    if not space.is_points:
        return annotate(make_grid(decoded, space, columns=columns, padding=1), title=title)
    figure, (axes,) = panels(1)
    mesh = decoded.detach().float().cpu().reshape(-1, columns, space.dims)
    if space.dims == 1:
        mesh = torch.cat([mesh, torch.zeros_like(mesh)], dim=-1)
    for lines, colour in ((mesh, MODEL), (mesh.transpose(0, 1), DATA)):
        for line in lines:
            axes.plot(line[:, 0].numpy(), line[:, 1].numpy(), color=colour, linewidth=0.8)
    frame(axes, title)
    return render(figure)
