"""Score a file: log p of each of its examples."""

import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import NonNegativeInt
from torch import Tensor

from gentool.batch import Batch
from gentool.commands.reader import Output, announce
from gentool.data.binarise import Binarize, settled
from gentool.data.text import read_text
from gentool.device import Device
from gentool.errors import UsageError
from gentool.metrics.evaluation import BLOCK, Draws, Evaluation
from gentool.metrics.likelihood import bits_per_dim, mean_and_error
from gentool.models.base import HasLikelihood
from gentool.space import DataSpace
from gentool.training.rng import derive
from gentool.training.runs import load

GREY = 256
"""Levels of the images that files hold."""


def score(
    *,
    ckpt: str | None,
    which: str | None,
    weights: Literal["ema", "raw"] | None,
    device: Device,
    sampler: Mapping[str, Any],
    seed: NonNegativeInt,
    out: str | None,
    data: str | None,
    draws: Draws,
) -> Path:
    """Write log p of each example of a file to `log_prob.npz` (`log_prob`, nats; `kind`).

    Args:
        ckpt: a checkpoint or a run; None: the newest finished run with a likelihood.
        which: best, last or step_… of a run.
        weights: ema or raw; None: EMA where there is one.
        device: where it runs.
        sampler: overrides of the model's sampling knobs.
        seed: of the importance samples, and of dynamic binarisation.
        out: the folder to write to; None: a fresh one.
        data: a .npz with x and optionally y, or a .npy; of a model of text also a text.
        draws: of log p(x) of each example, whatever the kind of the likelihood, or by it.

    Returns:
        The folder.

    Raises:
        UsageError: if the file is not there, or holds no examples of the model's space.
    """
    if data is None:
        raise UsageError("data: missing; expected a file, .npz with x (and y) or .npy")
    loaded = load(ckpt, which=which, weights=weights, device=device, sampler=sampler, needs=HasLikelihood)
    model, space = loaded.model, loaded.model.space
    assert isinstance(model, HasLikelihood)
    path = Path(data).expanduser()
    if space.vocabulary and path.suffix not in (".npz", ".npy"):
        x, y = windows(read_text(path), space, data), None
    else:
        x, y = read_examples(path)
        x = into_space(x, space, loaded.config["dataset"].get("binarize", "none"), seed, data)
    y = y if model.conditional else None
    if y is not None and (len(y) != len(x) or int(y.min()) < 0 or int(y.max()) >= space.classes):
        raise UsageError(f"data={data}: y: expected {len(x)} labels in 0..{space.classes - 1}")
    announce(loaded)
    ours = Evaluation(model, partial(_blocks, x, y, device.torch), len(x), seed=seed)
    count = ours.draws(draws)
    log_prob = ours.log_prob_of(ours.blocks(), len(x), count)
    mean, error = mean_and_error(log_prob)
    print(f"{len(x)} examples, {model.likelihood} likelihood" + _draws(model.likelihood, count))
    print(f"log p(x), nats: mean {mean:.4f}" + ("" if error is None else f" ± {error:.4f}"), end="")
    print(f", min {log_prob.min():.4f} (row {int(log_prob.argmin())}), max {log_prob.max():.4f}", end="")
    print(f" (row {int(log_prob.argmax())})")
    if space.vocabulary:
        print(f"nats a token: {-mean / space.dims:.4f}")
    elif space.levels is not None:
        print(f"bits a dimension: {bits_per_dim(-mean, space.dims):.4f}")
    output = Output()
    output.npz("log_prob.npz", log_prob=log_prob, kind=model.likelihood)
    return output.write("score", loaded, out)


def _draws(kind: str, draws: int) -> str:
    return "" if kind == "exact" else f", {draws} draws"


def _blocks(x: Tensor, y: Tensor | None, device: torch.device) -> Iterator[Batch]:
    for rows in torch.split(torch.arange(len(x)), BLOCK):
        yield Batch(x[rows].to(device), None if y is None else y[rows].to(device), rows)


def windows(content: str, space: DataSpace, data: str) -> Tensor:
    """Cut a text into the windows that a model sees.

    Args:
        content: the text.
        space: of the model.
        data: the file, for the message.

    Returns:
        (n, tokens), end to end from the first symbol; what fills no window is left over, and said.

    Raises:
        UsageError: if the text holds a symbol that the model does not know, or fills no window.
    """
    try:
        tokens = space.tokens(content)
    except ValueError as error:
        raise UsageError(f"data={data}: {error}") from error
    whole = len(tokens) // space.dims
    if not whole:
        raise UsageError(f"data={data}: {len(tokens)} tokens; the model's windows have {space.dims}")
    if rest := len(tokens) % space.dims:
        print(f"the last {rest} tokens of {data} fill no window of {space.dims}, and are not scored")
    return tokens[: whole * space.dims].view(whole, space.dims)


def read_examples(path: Path) -> tuple[Tensor, Tensor | None]:
    """Read x, and y where it is there, from a .npy or .npz file; nothing in it is ever run.

    Args:
        path: of the file.

    Returns:
        x (n, …) float32 or int64, and y (n,) int64 or None.

    Raises:
        UsageError: if it is missing, damaged, empty, or holds no numbers named x.
    """
    if not path.is_file():
        raise UsageError(f"data={path}: no such file; expected .npz with x (and y) or .npy")
    try:
        found = np.load(path, allow_pickle=False)
        arrays = (
            {"x": found} if isinstance(found, np.ndarray) else {k: found[k] for k in found.files if k in ("x", "y")}
        )
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"data={path} is no .npz or .npy file of numbers, or is damaged") from error
    if "x" not in arrays:
        raise UsageError(f"data={path}: no array 'x' in it; it holds {', '.join(found.files) or 'nothing'}")
    x = arrays["x"]
    if x.dtype.kind not in "biuf" or x.ndim == 0 or not len(x):
        raise UsageError(f"data={path}: x has type {x.dtype} and shape {x.shape}; expected numbers, (examples, …)")
    numbers = torch.from_numpy(x.astype(np.float32 if x.dtype.kind == "f" else np.int64))
    return numbers, torch.from_numpy(arrays["y"].astype(np.int64)) if "y" in arrays else None


def into_space(x: Tensor, space: DataSpace, binarize: Binarize, seed: int, data: str) -> Tensor:
    """Bring what a file holds into a model's space, as the run's own dataset did with its files.

    Images may be (n, height, width) or (n, height, width, channels); grey levels of a run that binarised are binarised.

    Args:
        x: numbers as they were read.
        space: of the model.
        binarize: what the run's dataset did.
        seed: of dynamic and static binarisation.
        data: the file, for the message.

    Returns:
        (n, *space.shape), of the space's dtype.

    Raises:
        UsageError: if the examples are not in the space.
    """
    if space.is_image and tuple(x.shape[1:]) != space.shape:
        channels, height, width = space.shape
        if x.shape[1:] == (height, width) and channels == 1:
            x = x[:, None]
        elif x.shape[1:] == (height, width, channels):
            x = x.permute(0, 3, 1, 2)
    if space.levels == 2 and binarize != "none" and tuple(x.shape[1:]) == space.shape and _is_grey(x):
        x = settled(x.to(torch.uint8).contiguous(), torch.arange(len(x)), GREY, binarize, derive(seed))
        print(f"grey levels 0..{GREY - 1} of {data} binarised as the run did: {binarize}")
    try:
        space.check(x)
    except ValueError as error:
        raise UsageError(f"data={data}: {error}") from error
    return x.to(space.dtype)


def _is_grey(x: Tensor) -> bool:
    """Whether these are grey levels 0..255, and not zeros and ones already."""
    return not x.is_floating_point() and int(x.min()) >= 0 and 1 < int(x.max()) <= 255
