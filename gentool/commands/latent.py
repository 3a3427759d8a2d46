"""Look at a latent space."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gentool.commands.reader import CHUNK, Output, announce, dataset_of, held_out, in_chunks
from gentool.device import Device
from gentool.errors import UsageError
from gentool.models.base import Encodes, GenerativeModel
from gentool.plots.latent import are_shares, draw_codes, draw_manifold, draw_owners
from gentool.plots.planes import Plane, drawn_grid, principal_plane, quantile_grid
from gentool.probability.gaussians import kl_of_points
from gentool.training.rng import fork
from gentool.training.runs import load

PRIOR_DRAWS = 20_000
"""Draws whose quantiles the grid of a latent space of one or two dimensions is laid out by, whatever the prior."""


def latent(
    *,
    ckpt: str | None,
    which: str | None,
    weights: Literal["ema", "raw"] | None,
    device: Device,
    sampler: Mapping[str, Any],
    dataset: Mapping[str, str | None],
    seed: NonNegativeInt,
    out: str | None,
    n: PositiveInt | None,
    side: Annotated[int, Field(ge=2)],
    y: NonNegativeInt | None,
) -> Path:
    """Scatter the codes of the test split by class, and decode a grid of latent points.

    Prints the mean and deviation of the codes, and KL(N(mean, covariance) || N(0, I)); a VAE's are posterior means.
    Writes `latent.png`, `manifold.png` and `latent.npz` (`z`, `y`, and the plane's `mean` and `axes`); of points whose
    codes are shares of components `components.png`.

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run that encodes.
        which: best, last or step_… of a run.
        weights: ema or raw; None: EMA where there is one.
        device: where it runs.
        sampler: overrides of the model's sampling knobs.
        dataset: where the run's data is now.
        seed: of the data's noise.
        out: the folder to write to; None: a fresh one.
        n: test examples encoded; None: all.
        side: decoded points on a side of the grid.
        y: the class a conditional model decodes; None: 0.

    Returns:
        The folder.

    Raises:
        UsageError: if n, or y, does not fit the data.
    """
    loaded = load(ckpt, which=which, weights=weights, device=device, sampler=sampler, needs=Encodes)
    model, space = loaded.model, loaded.model.space
    assert isinstance(model, Encodes)
    if y is not None and (not model.conditional or y >= space.classes):
        classes = f"expected 0..{space.classes - 1}" if model.conditional else "the model is not conditional on labels"
        raise UsageError(f"y={y}: {classes}")
    announce(loaded)
    examples = held_out(dataset_of(loaded, dataset, device.torch), seed, n=n)
    codes, labels, shown = [], [], []
    with torch.no_grad(), fork(seed):
        for block in examples.blocks(CHUNK, with_labels=True):
            codes.append(model.encode(block.x, block.y if model.conditional else None).cpu())
            labels += [block.y.cpu()] if block.y is not None and space.condition == "labels" else []
            shown += [block.x.cpu()] if space.is_points else []
        z = torch.cat(codes)
        plane = principal_plane(z) if z[0].numel() > 2 else None
        decoded, title = _manifold(model, z, plane, side, y or 0)
    output = Output()
    classes_of = torch.cat(labels) if labels else None
    heading = f"codes of {examples.n} {examples.split} examples, {loaded.name}"
    output.png("latent.png", draw_codes(z.flatten(1), classes_of, plane, classes=space.classes, title=heading))
    output.png("manifold.png", draw_manifold(decoded, space, columns=side, title=title))
    if shown and are_shares(z):
        output.png(
            "components.png", draw_owners(torch.cat(shown), z, space, title=f"which component made x: {heading}")
        )
    of_plane = {} if plane is None else {"mean": plane.mean, "axes": plane.axes}
    output.npz("latent.npz", z=z, y=classes_of, **of_plane)
    print(f"{examples.n} {examples.split} examples, codes of {z[0].numel()} dimensions: {spread(z.flatten(1))}")
    if plane is not None:
        print(f"drawn in the {plane.describe()}")
    return output.write("latent", loaded, out)


def spread(z: Tensor) -> str:
    """Say where codes (n, d) lie, and how far a Gaussian of their moments is from N(0, I)."""
    said = []
    for name, values in (("mean", z.mean(0)), ("deviation", z.std(0, correction=0))):
        each = ", ".join(f"{value:.2f}" for value in values)
        said.append(f"{name} {each if len(values) <= 2 else f'{values.min():.2f} to {values.max():.2f}'}")
    return "; ".join([*said, f"KL(N(mean, covariance) || N(0, I)) {kl_of_points(z):.2f} nats"])


def _manifold(model: GenerativeModel, z: Tensor, plane: Plane | None, side: int, y: int) -> tuple[Tensor, str]:
    """Decode a grid of latent points, and say which they are."""
    assert isinstance(model, Encodes)
    shape = z.shape[1:]
    if plane is not None:
        points = plane.lift(quantile_grid(side, side) * plane.deviations)
        title = "decoded grid of normal quantiles in the plane of the codes'\nfirst two principal components"
        title += f" ({plane.share:.0%} of their variance)"
    else:
        draws = model.sample_latent(PRIOR_DRAWS).flatten(1).cpu()
        points = drawn_grid(draws, side, side if shape.numel() == 2 else 1)
        title = "decoded quantiles of the prior" + (", $z_1$ to the right, $z_2$ upwards" if shape.numel() == 2 else "")
    device = next(model.parameters()).device
    labels = None
    if model.conditional:
        labels = torch.full((len(points),), y, device=device)
        title += f", class {y}"
    return in_chunks(model.decode, points.reshape(-1, *shape).to(device), labels), title
