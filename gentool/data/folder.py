"""Folders of image files: decoded once, ahead of need, into a cache of bytes on disk that is mapped into memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gentool.batch import Batch
from gentool.data import binarise
from gentool.data.binarise import Binarize
from gentool.data.captions import Caption, captioned, folder_captions, tokenise
from gentool.data.dataset import Dataset, Share, Source, partition
from gentool.data.facts import image_space
from gentool.data.flips import Flip, flipped
from gentool.data.headers import Header, Mode
from gentool.data.listing import Listing, scan, survey
from gentool.data.pixels import Pixels
from gentool.data.places import cache_folder
from gentool.errors import RunError, UsageError

Resize = Literal["crop", "stretch", "none"]
MEASURED = 512
"""Training images that the mean of a folder is measured on."""

Size = Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]


def image_folder(
    *,
    path: str | None = None,
    size: PositiveInt | Size | None = None,
    resize: Resize = "crop",
    mode: Mode | None = None,
    caption: Caption = "auto",
    flip: Flip = "none",
    binarize: Binarize = "none",
    validation: Share = 0.1,
    test: Share = 0.1,
    seed: NonNegativeInt = 0,
    cache: str | None = None,
    workers: PositiveInt = 4,
) -> Dataset:
    """Read images of any size and mode from `DIR/<class>/*.png`, `DIR/train|valid|test/<class>/…` or `DIR/*.png`.

    Args:
        path: the folder.
        size: of an image here: a side or [height, width], 1 or more; None: all files have one size, and keep it.
        resize: crop (scale to cover size, then cut its centre), stretch (scale to size), none (cut the centre).
        mode: grey or rgb; None: all files have one mode, and keep it.
        caption: auto (the condition is the caption in captions.csv (file,caption) or in a .txt beside each image, where
            there are such); None: captions are left out.
        flip: none, or horizontal (half of the training images mirrored left to right, afresh at each visit).
        binarize: none, static (drawn once), dynamic (drawn afresh each visit), threshold (above half).
        validation: fraction of the images held out to choose the best checkpoint, where DIR has no valid folder; 0 =
            none.
        test: fraction of the images held out for the test, where DIR has no test folder; 0 = none.
        seed: of the split and of fixed binarisation.
        cache: folder for decoded images, one byte a channel and pixel; None: this user's cache.
        workers: threads that decode ahead in the first pass, 1 or more.

    Returns:
        The dataset. Its batches come from a memory-mapped file, so memory does not grow with the number of images.

    Raises:
        UsageError: no such folder, no images, an unreadable file, or files of different size or mode where None is set.
        RunError: the disk has no room for the cache.
    """
    if path is None:
        raise UsageError("dataset.path is not set: expected a folder, dataset=image_folder dataset.path=DIR")
    listing = scan(Path(path).expanduser())
    wanted = (size, size) if isinstance(size, int) else None if size is None else (size[0], size[1])
    recipe = hashlib.sha256(repr((listing.digest, wanted, resize, mode)).encode()).hexdigest()[:24]
    folder = (Path(cache).expanduser() if cache else cache_folder() / "image_folder") / recipe
    pixels = Pixels.opened(folder, len(listing.names), workers)
    if pixels is None:
        header = _agreed(listing, survey(listing, workers), wanted, resize, mode)
        shape = (3 if header.mode == "rgb" else 1, header.height, header.width)
        pixels = Pixels.created(folder, len(listing.names), shape, workers)
    pixels.read = _Reader(listing, pixels.shape, resize)
    captions = folder_captions(listing) if caption else None
    return flipped(_dataset(listing, captions, pixels, binarize, validation, test, seed), flip)


class FolderSplit:
    """A split of a folder of images.

    Args:
        pixels: of all the folder's images.
        rows: (examples,) int64, which of them.
        y: (examples,) int64 labels, (examples, length) int64 tokens of captions, or None.
        how: how levels become 0 and 1; dynamic: afresh at each visit, else fixed by (seed, row).
        seed: of fixed binarisation.
        device: where batches go.
    """

    def __init__(
        self, pixels: Pixels, rows: Tensor, y: Tensor | None, how: Binarize, seed: int, device: torch.device
    ) -> None:
        self._pixels = pixels
        self._rows = rows
        self._y = y
        self._how = how
        self._seed = seed
        self._device = device

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._rows)

    def prepare(self, index: Tensor) -> None:
        """Begin to decode the examples at `index` (batch,), and return at once."""
        self._pixels.prepare(self._rows[index])

    def batch(self, index: Tensor, noise: torch.Generator) -> Batch:
        """Return the examples at `index`, drawn afresh from `noise` where binarisation is dynamic."""
        rows = self._rows.index_select(0, index)
        x = self._pixels.take(rows)
        if self._how == "dynamic":
            x = binarise.bernoulli(x, binarise.fresh_words(len(x), x[0].numel(), noise), 256)
        elif self._how != "none":
            x = binarise.settled(x, rows, 256, self._how, self._seed)
        y = None if self._y is None else self._y.index_select(0, index)
        if self._device.type == "cpu":
            return Batch(x, y, index)
        return Batch(self._moved(x), None if y is None else self._moved(y), self._moved(index))

    def to(self, device: torch.device) -> "FolderSplit":
        """Return the split with its batches on `device`; the images stay on disk."""
        return FolderSplit(self._pixels, self._rows, self._y, self._how, self._seed, device)

    def _moved(self, part: Tensor) -> Tensor:
        pinned = part.pin_memory() if self._device.type == "cuda" else part
        return pinned.to(self._device, non_blocking=True)


@dataclass(frozen=True)
class _Reader:
    """Decodes one file to the agreed shape."""

    listing: Listing
    shape: tuple[int, ...]
    resize: Resize

    def __call__(self, row: int) -> Any:
        """Return (channels, height, width) uint8."""
        from PIL import Image, ImageOps

        path = self.listing.path(row)
        try:
            with Image.open(path) as file:
                image = _eight_bits(ImageOps.exif_transpose(file), "RGB" if self.shape[0] == 3 else "L")
            array = np.asarray(_fitted(image, self.shape[1], self.shape[2], self.resize))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise RunError(f"{path}: cannot be decoded ({error}); remove or replace it") from error
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _dataset(
    listing: Listing,
    captions: list[str] | None,
    pixels: Pixels,
    binarize: Binarize,
    validation: float,
    test: float,
    seed: int,
) -> Dataset:
    parts = _split(listing, validation, test, seed)
    labels = None if listing.labels is None else torch.from_numpy(listing.labels)
    classes, words = listing.classes, tuple[str, ...]()
    if captions is not None:
        labels, words = tokenise(captions)
        classes = ()
    splits: list[Source] = []
    for i, rows in enumerate(parts):
        how: Binarize = "static" if binarize == "dynamic" and i else binarize
        y = None if labels is None else labels[rows]
        splits.append(FolderSplit(pixels, rows, y, how, seed, torch.device("cpu")))
    y = None if labels is None else labels[parts[0]]
    levels = 256 if binarize == "none" else 2
    noise = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(parts[0]), generator=noise)[:MEASURED].sort().values
    try:
        x = splits[0].batch(some, noise).x
    except RunError as error:  # nothing has begun yet
        raise UsageError(str(error)) from error
    space = image_space(
        x,
        y,
        stored_levels=levels,
        levels=levels,
        classes=len(classes),
        examples=len(parts[0]),
        class_names=classes,
    )
    data = Dataset(space, splits[0], splits[1], splits[2], density=None)
    return data if not words or y is None else captioned(data, words, y)


def _split(listing: Listing, validation: float, test: float, seed: int) -> list[Tensor]:
    """Return the rows of training, validation and test; what has no folder is cut from the training images."""
    if listing.splits is None:
        return partition(len(listing.names), [validation, test], seed)
    own = [torch.from_numpy(np.flatnonzero(listing.splits == i)) for i in range(3)]
    shares = [0.0 if len(own[1]) else validation, 0.0 if len(own[2]) else test]
    cut = partition(len(own[0]), shares, seed)
    return [own[0][cut[0]], *(own[i] if len(own[i]) else own[0][cut[i]] for i in (1, 2))]


def _agreed(
    listing: Listing, headers: Mapping[Header, int], size: tuple[int, int] | None, resize: Resize, mode: Mode | None
) -> Header:
    """Return the size and mode all images will have, or name the first file that does not fit."""
    agreed, first = next(iter(headers.items()))
    for header, row in headers.items():
        path, sides = listing.path(row), f"{header.height} x {header.width} pixels"
        if size is None and header[:2] != agreed[:2]:
            expected = f"where {listing.path(first)} has {agreed.height} x {agreed.width}; set dataset.size"
            raise UsageError(f"{path}: {sides}, {expected}")
        if size is not None and resize == "none" and (header.height < size[0] or header.width < size[1]):
            raise UsageError(f"{path}: {sides}; dataset.resize=none needs {size[0]} x {size[1]} or more")
        if mode is None and header.mode != agreed.mode:
            raise UsageError(f"{path}: {header.mode}, where {listing.path(first)} is {agreed.mode}; set dataset.mode")
    return Header(*(size or agreed[:2]), mode or agreed.mode)


def _eight_bits(image: Any, mode: str) -> Any:
    """Return the image in `mode`; 16-bit grey keeps its high byte, where Pillow's own conversion would clip it."""
    from PIL import Image

    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    return image.convert(mode)


def _fitted(image: Any, height: int, width: int, resize: Resize) -> Any:
    from PIL import Image

    if image.size == (width, height):
        return image
    if resize == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if resize == "crop":
        ratio = max(width / image.width, height / image.height)
        sides = (max(width, round(image.width * ratio)), max(height, round(image.height * ratio)))
        image = image.resize(sides, Image.Resampling.LANCZOS, reducing_gap=3.0)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
