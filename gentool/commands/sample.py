"""Draw samples of a model."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod, sqrt
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from gentool.commands.chains import moments_of, moving_picture, remarks
from gentool.commands.prompts import Task, image_task
from gentool.commands.reader import Output, announce
from gentool.commands.texts import beginning, written_on
from gentool.device import Device
from gentool.errors import Unavailable, UsageError
from gentool.models.base import Completes, GenerativeModel
from gentool.plots.filmstrips import draw_filmstrip
from gentool.plots.grids import single
from gentool.plots.pictures import SHOWN, draw_examples
from gentool.space import DataSpace
from gentool.training.console import number
from gentool.training.rng import fork
from gentool.training.runs import load

LINES = 12
"""Lines of the first text that are printed; the file holds all."""


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
    length: PositiveInt | None,
    complete: str | None,
) -> Path:
    """Draw n samples: `samples.png`, `samples.npz`, of text `samples.txt`, and where asked for `images/*.png`.

    Where samples are the ends of chains, also `samples.gif` and `samples_chain.png`: what they pass through.

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
        length: tokens of each text; None: as many as the model sees at once.
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
        needs=None if [prompt, length, complete] == [None] * 3 else Completes,
    )
    model, space = loaded.model, loaded.model.space
    if images and not space.is_image:
        raise UsageError(f"images=true: samples of shape {space.shape} are no images; see samples.npz")
    is_written = prompt is not None or length is not None
    if is_written and complete is not None:
        raise UsageError("prompt and length are for text, complete is for images: they exclude each other")
    labels = _labels(model, n, y, seed)
    task, draw = None, partial(_samples, model, labels)
    if complete is not None:
        task = image_task(loaded, dataset, device.torch, complete, n, seed)
        n, labels = len(task.x), task.y if y is None or labels is None else labels[: len(task.x)]
        draw = partial(_completed, model, task, labels)
    elif is_written:
        begun, tokens = beginning(space, prompt, length, n)
        draw = partial(_written, model, begun.to(device.torch), tokens)
    announce(loaded)
    started = time.perf_counter()
    x = _in_batches(draw, n, batch_size, seed)
    seconds = time.perf_counter() - started
    output = Output()
    output.npz("samples.npz", x=x, y=labels, known=None if task is None else task.known)
    if task is not None:
        pairs = torch.stack([task.shown(), x.float().cpu()], dim=1).flatten(0, 1)
        output.png(
            "samples.png", draw_examples(pairs, space, title="completed", columns=2 * max(1, round(sqrt(n / 2))))
        )
    else:
        # Points keep their noise: the mean of p(x | z) would show a thinner cloud than the model's.
        means = partial(_samples, model, labels, drawn=model.picture)
        shown = _in_batches(means, n, batch_size, seed, first=SHOWN) if space.is_image else x
        columns = len(y) if isinstance(y, list) and 1 < len(y) <= n else None
        title = f"{n} samples of {loaded.name}"
        output.png("samples.png", draw_examples(shown, space, labels, title=title, columns=columns))
        first = None if labels is None else labels[:batch_size]
        if (moments := moments_of(model, min(n, batch_size), first, seed)) is not None:
            output.gif("samples.gif", moving_picture(moments, space, first), 150)
            strip = draw_filmstrip(moments, space, first, title=f"from the start of the chains to {title}")
            output.png("samples_chain.png", strip)
    if images:
        for i, image in enumerate(x):
            output.png(f"images/{i:0{len(str(n - 1))}d}.png", single(image, space))
    if space.vocabulary:
        texts = space.texts(x)
        output.text("samples.txt", _numbered(texts))
        print("\n".join(texts[0].splitlines()[:LINES]))
    for line in remarks(model):
        print(line)
    print(f"{n} samples, seed {seed}" + ("" if y is None else f", y={y}") + f": {_rate(x, space, seconds)}")
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


def _in_batches(
    draw: Callable[[slice], Tensor], n: int, batch_size: int, seed: int, *, first: int | None = None
) -> Tensor:
    """Draw batch after batch, each under a random state of its own, so a picture shows the samples of the file.

    Args:
        draw: makes the examples of a slice of 0..n-1.
        n: how many there are in all.
        batch_size: examples drawn at once.
        seed: of the examples.
        first: how many of the first are wanted; None: all.

    Returns:
        (n, …), or (first, …).
    """
    drawn: list[Tensor] = []
    wanted = min(first or n, n)
    for start in range(0, wanted, batch_size):
        with fork(seed, start), torch.no_grad():
            drawn.append(draw(slice(start, min(start + batch_size, n))))
    return torch.cat(drawn)[:wanted]


def _samples(
    model: GenerativeModel,
    labels: Tensor | None,
    part: slice,
    drawn: Callable[[int, Tensor | None], Tensor] | None = None,
) -> Tensor:
    """Draw samples, or what else `drawn` draws of the model."""
    x = (drawn or model.sample)(part.stop - part.start, None if labels is None else labels[part])
    if drawn is None:
        model.space.check(x)
    return x


def _completed(model: GenerativeModel, task: Task, labels: Tensor | None, part: slice) -> Tensor:
    """Fill in what is unknown, beside what was known."""
    assert isinstance(model, Completes)
    x = model.complete(task.x[part], task.known[part], None if labels is None else labels[part])
    model.space.check(x)
    return x


def _written(model: GenerativeModel, begun: Tensor, tokens: int, part: slice) -> Tensor:
    """Write texts on."""
    assert isinstance(model, Completes)
    return written_on(model, model.space, begun[part], tokens)


def _rate(x: Tensor, space: DataSpace, seconds: float) -> str:
    """Say how fast the samples were drawn; of text in tokens, of images in pixels too."""
    each, unit = (x.shape[1], "tokens") if space.vocabulary else (prod(space.shape[1:]), "pixels")
    rate = len(x) / max(seconds, 1e-9)
    inner = f", {number(round(rate * each))} {unit}/s" if space.vocabulary or space.is_image else ""
    return f"{number(rate)} samples/s{inner}"


def _numbered(texts: Sequence[str]) -> str:
    """Return texts one below the other, each under a numbered line."""
    return "".join(f"=== sample {i} ===\n{text}\n" for i, text in enumerate(texts))
