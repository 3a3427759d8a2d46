"""Draw samples of a model."""

from collections.abc import Callable, Mapping
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from gentool.commands.prompts import Task, image_task, prompt_task
from gentool.commands.reader import Output, announce
from gentool.device import Device
from gentool.errors import Unavailable, UsageError
from gentool.models.base import Completes, GenerativeModel
from gentool.plots.grids import single
from gentool.plots.pictures import SHOWN, draw_examples
from gentool.space import DataSpace
from gentool.training.rng import fork
from gentool.training.runs import load


def sample(
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
    y: NonNegativeInt | list[NonNegativeInt] | None,
    batch_size: PositiveInt,
    images: bool,
    prompt: str | None,
    complete: str | None,
) -> Path:
    """Draw n samples: `samples.png`, `samples.npz` and, where asked for, `images/*.png` or `samples.txt`.

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run.
        which: best, last or step_… of a run.
        weights: ema or raw; None: EMA where there is one.
        device: where it runs.
        sampler: overrides of the model's sampling knobs.
        dataset: where the run's data is now; only `complete` reads it.
        seed: of the samples.
        out: the folder to write to; None: a fresh one.
        n: number of samples.
        y: a class, or classes that are repeated in turn; None: by their training frequency.
        batch_size: samples drawn at once.
        images: whether each sample becomes a file.
        prompt: what a text begins with.
        complete: what is known of test images: top, left, or a mask file.

    Returns:
        The folder.

    Raises:
        UsageError: if an option does not fit the model.
    """
    loaded = load(
        ckpt,
        which=which,
        weights=weights,
        device=device,
        sampler=sampler,
        needs=Completes if prompt is not None or complete is not None else None,
    )
    model, space = loaded.model, loaded.model.space
    if images and not space.is_image:
        raise UsageError(f"images=true: samples of shape {space.shape} are no images; see samples.npz")
    if prompt is not None and complete is not None:
        raise UsageError("prompt and complete exclude each other: a prompt is for text, complete for images")
    labels = _labels(model, n, y, seed)
    announce(loaded)
    output = Output()
    if prompt is None and complete is None:
        x = _draw_all(model, labels, n, y, batch_size, seed, output, loaded.name)
    else:
        if prompt is not None:
            task = prompt_task(space, prompt, n, device.torch)
        else:
            task = image_task(loaded, dataset, device.torch, str(complete), n, seed)
            labels = task.y if y is None or labels is None else labels[: len(task.x)]
        x = _complete_all(model, task, labels, batch_size, seed, output)
    space.check(x)
    if images:
        for i, image in enumerate(x):
            output.png(f"images/{i:0{len(str(n - 1))}d}.png", single(image, space))
    if space.vocabulary:
        output.text("samples.txt", _text(x, space))
    print(f"{len(x)} samples, seed {seed}" + ("" if y is None else f", y={y}"))
    return output.write("sample", loaded, out)


def _labels(model: GenerativeModel, n: int, y: int | list[int] | None, seed: int) -> Tensor | None:
    """Return (n,) labels of a conditional model: the ones asked for in turn, else drawn by frequency."""
    if not model.conditional:
        if y is not None:
            raise Unavailable(f"y={y}: this {type(model).__name__} is not conditional on labels (model.conditional)")
        return None
    if y is None:
        with fork(seed):
            return model.draw_labels(n)
    wanted = [y] if isinstance(y, int) else y
    for label in wanted:
        if label >= model.space.classes:
            raise UsageError(f"y={label}: this data has the classes 0..{model.space.classes - 1}")
    if not wanted:
        raise UsageError("y=[]: expected a class or several")
    device = next(model.parameters()).device
    return torch.tensor([wanted[i % len(wanted)] for i in range(n)], device=device)


def _drawn(
    draw: Callable[[int, Tensor | None], Tensor],
    n: int,
    y: Tensor | None,
    batch_size: int,
    seed: int,
    *,
    of: int | None = None,
) -> Tensor:
    """Draw batch after batch, each under a random state of its own, so a picture shows the samples of the file.

    Args:
        draw: `sample` or `picture` of a model.
        n: how many of the first are wanted.
        y: (of,) labels, or None.
        batch_size: samples drawn at once.
        seed: of the samples.
        of: how many there are in all, which fixes the size of the last batch; None: n.

    Returns:
        (n, *space.shape).
    """
    drawn: list[Tensor] = []
    total = of or n
    for start in range(0, n, batch_size):
        size = min(batch_size, total - start)
        with fork(seed, start), torch.no_grad():
            drawn.append(draw(size, None if y is None else y[start : start + size]))
    return torch.cat(drawn)[:n]


def _draw_all(
    model: GenerativeModel,
    labels: Tensor | None,
    n: int,
    y: int | list[int] | None,
    batch_size: int,
    seed: int,
    output: Output,
    name: str,
) -> Tensor:
    """Draw the samples and their picture, and return the samples."""
    space = model.space
    x = _drawn(model.sample, n, labels, batch_size, seed)
    output.npz("samples.npz", x=x, y=labels)
    # Points keep their noise: the mean of p(x | z) would show a thinner cloud than the model's.
    shown = x if space.is_points else _drawn(model.picture, min(n, SHOWN), labels, batch_size, seed, of=n)
    columns = len(y) if isinstance(y, list) and 1 < len(y) <= n else None
    output.png("samples.png", draw_examples(shown, space, labels, title=f"{n} samples of {name}", columns=columns))
    return x


def _complete_all(
    model: GenerativeModel, task: Task, labels: Tensor | None, batch_size: int, seed: int, output: Output
) -> Tensor:
    """Fill in what is unknown, set what was known beside it, and return the whole."""
    assert isinstance(model, Completes)
    drawn: list[Tensor] = []
    for start in range(0, len(task.x), batch_size):
        part = slice(start, start + batch_size)
        with fork(seed, start), torch.no_grad():
            drawn.append(model.complete(task.x[part], task.known[part], None if labels is None else labels[part]))
    x = torch.cat(drawn)
    output.npz("samples.npz", x=x, y=labels, known=task.known)
    space = model.space
    shown = torch.stack([task.shown(), x.float().cpu()], dim=1).flatten(0, 1) if space.is_image else x
    columns = _pairs(len(x)) if space.is_image else None
    output.png("samples.png", draw_examples(shown, space, title="completed", columns=columns))
    return x


def _pairs(n: int) -> int:
    """Columns of a grid of n pairs, each pair side by side."""
    return 2 * max(1, round(sqrt(n / 2)))


def _text(x: Tensor, space: DataSpace) -> str:
    """Return texts one below the other, each under a numbered line."""
    lines = ["".join(space.vocabulary[int(symbol)] for symbol in row) for row in x.cpu()]
    return "".join(f"=== sample {i} ===\n{line}\n" for i, line in enumerate(lines))
