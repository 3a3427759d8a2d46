"""Samples that were made elsewhere: a folder of pictures or a file of arrays, brought into a dataset's space."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gentool.commands.score import into_space, read_examples
from gentool.data.headers import SUFFIXES
from gentool.errors import UsageError
from gentool.space import DataSpace


def read_samples(samples: str, space: DataSpace, seed: int) -> Tensor:
    """Read samples of a dataset that some other program made.

    Args:
        samples: a folder of pictures, or a .npz with x or a .npy as `gentool sample` writes it.
        space: of the dataset.
        seed: of the binarisation of grey levels, where the data is binary.

    Returns:
        (n, *space.shape) in data space.

    Raises:
        UsageError: if there are none, or they do not fit the data.
    """
    path = Path(samples).expanduser()
    if path.is_dir():
        return _pictures(path, samples, space)
    try:
        x, _ = read_examples(path)
        return into_space(x, space, "threshold", seed, samples)
    except UsageError as error:
        raise UsageError(str(error).replace("data=", "samples=", 1)) from error


def _pictures(folder: Path, samples: str, space: DataSpace) -> Tensor:
    if not space.is_image or space.levels is None or space.shape[0] not in (1, 3):
        raise UsageError(f"samples={samples}: pictures are samples of grey or colour images; expected a .npz or .npy")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UsageError(f"samples={samples}: no pictures there ({', '.join(SUFFIXES)})")
    x = np.stack([_picture(file, space) for file in files])
    return space.quantise(torch.from_numpy(x).float() * ((space.levels - 1) / 255))


def _picture(path: Path, space: DataSpace) -> Any:
    """Return (channels, height, width) uint8."""
    from PIL import Image

    channels, height, width = space.shape
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("L" if channels == 1 else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: cannot be decoded ({error})") from error
    if pixels.shape[:2] != (height, width):
        found = " x ".join(map(str, pixels.shape[:2]))
        raise UsageError(f"{path}: {found} pixels, where the data has {height} x {width}")
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
