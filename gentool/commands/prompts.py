"""What `sample` is told before it draws: a part of test images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gentool.commands.reader import dataset_of, held_out
from gentool.errors import UsageError, nearest
from gentool.space import DataSpace
from gentool.training.runs import Loaded


@dataclass(frozen=True)
class Task:
    """Examples of which a part is known.

    Attributes:
        x: (n, *space.shape), in data space.
        known: (n, *space.shape) bool, True where x is given.
        y: (n,) labels of a conditional model, or None.
        middle: a level to show the unknown part in.
    """

    x: Tensor
    known: Tensor
    y: Tensor | None
    middle: float

    def shown(self) -> Tensor:
        """Return x on the CPU as floats, grey where it is unknown."""
        return torch.where(self.known, self.x.float(), self.middle).cpu()


def image_task(
    loaded: Loaded, dataset: Mapping[str, str | None], device: torch.device, complete: str, n: int, seed: int
) -> Task:
    """Return n test images of which a part is known.

    Args:
        loaded: the model.
        dataset: where the run's data is now.
        device: where the images shall be.
        complete: top, left (the known half), or a picture of the image's size, white where known.
        n: number of images; fewer where the split has fewer.
        seed: of the choice of images.

    Returns:
        Images, with labels where the model is conditional.

    Raises:
        UsageError: if the data is no images, or the mask is not there or of another size.
    """
    space = loaded.model.space
    if not space.is_image:
        raise UsageError(f"complete={complete}: the model's data is no images; for text there is prompt=")
    mask = _mask(complete, space)
    batch = held_out(dataset_of(loaded, dataset, device), seed).pick(n)
    known = mask.to(device).expand(len(batch.x), *space.shape)
    middle = float(space.loc.mean()) if space.levels is None else (space.levels - 1) / 2
    return Task(batch.x, known, batch.y if loaded.model.conditional else None, middle)


def _mask(complete: str, space: DataSpace) -> Tensor:
    """Return (*space.shape) bool, True where the image is known."""
    channels, height, width = space.shape
    known = torch.zeros(height, width, dtype=torch.bool)
    if complete == "top":
        known[: height // 2] = True
    elif complete == "left":
        known[:, : width // 2] = True
    else:
        known = torch.from_numpy(_read_mask(complete, height, width))
    return known.expand(channels, height, width)


def _read_mask(path: str, height: int, width: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    from PIL import Image, UnidentifiedImageError

    if not Path(path).is_file():
        raise UsageError(f"complete={path}: expected top, left or a picture file; {nearest(path, ['top', 'left'])}")
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
    except (UnidentifiedImageError, OSError) as error:
        raise UsageError(f"complete={path} is no picture") from error
    if pixels.shape != (height, width):
        raise UsageError(f"complete={path} is {pixels.shape[1]} x {pixels.shape[0]}; the images are {width} x {height}")
    return pixels >= 128
