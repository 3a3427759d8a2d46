"""Captions of examples: where they come from, and how they become tokens."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gentool.data.dataset import Dataset
from gentool.data.listing import Listing
from gentool.errors import UsageError
from gentool.space import caption_words

Caption = Literal["auto"] | None
"""auto: the condition is the caption, where the data has captions; None: captions are left out."""

FILE = "captions.csv"
KEPT = 1024
"""Captions of the training split that a space keeps, evenly spaced: what is drawn where nobody asks for one."""


def tokenise(texts: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Number the words of captions.

    Args:
        texts: one caption an example.

    Returns:
        Tokens (examples, length) int64 of the longest caption's length, 0 where a caption has ended; and the words in
        alphabetical order, after the empty word of the padding.
    """
    split = {text: caption_words(text) for text in texts}
    words = ("", *sorted({word for each in split.values() for word in each}))
    number = {word: i for i, word in enumerate(words)}
    length = max(1, *(len(each) for each in split.values()))
    rows = {text: [number[word] for word in each] + [0] * (length - len(each)) for text, each in split.items()}
    return torch.tensor([rows[text] for text in texts], dtype=torch.int64), words


def captioned(data: Dataset, words: tuple[str, ...], tokens: Tensor) -> Dataset:
    """Say that the labels of a dataset's batches are tokens of captions.

    Args:
        data: whose splits have tokens (batch, length) for y.
        words: that the tokens number.
        tokens: (examples, length) of the training split.

    Returns:
        The dataset, its space with the words and some captions, and without classes.
    """
    some = tokens[:: -(-len(tokens) // KEPT)].clone()
    return replace(data, space=replace(data.space, words=words, captions=some))


def array_captions(captions: Any, examples: int, path: str | None) -> list[str]:
    """Return the captions that an array holds.

    Args:
        captions: what claims to be (examples,) strings.
        examples: how many there should be.
        path: the file, for the message.

    Returns:
        The captions.

    Raises:
        UsageError: it holds something else.
    """
    if captions.dtype.kind != "U" or captions.shape != (examples,):
        raise UsageError(
            f"{path}: caption has shape {captions.shape} and type {captions.dtype}; expected ({examples},) strings"
        )
    return [str(caption) for caption in captions]


def folder_captions(listing: Listing) -> list[str] | None:
    """Read the captions of a folder of images: `captions.csv` (file,caption), or a `.txt` beside each image.

    Args:
        listing: of the images.

    Returns:
        One caption an image, in the listing's order; None where the folder has no captions.

    Raises:
        UsageError: an image has none; the first is named.
    """
    paths = [listing.path(row) for row in range(len(listing.names))]
    table = listing.root / FILE
    if table.is_file():
        told = _table(table)
        names = [path.relative_to(listing.root).as_posix() for path in paths]
        missing = next((name for name in names if name not in told), None)
        if missing is not None:
            raise UsageError(f"{table}: {missing} has no caption there; dataset.caption=null leaves captions out")
        return [told[name] for name in names]
    beside = {path.stem for path in paths[0].parent.glob("*.txt")}
    if not beside & {path.stem for path in paths if path.parent == paths[0].parent}:
        return None
    return [_text(path) for path in paths]


def _table(file: Path) -> dict[str, str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            if not {"file", "caption"} <= set(rows.fieldnames or []):
                raise UsageError(f"{file}: the first line is {', '.join(rows.fieldnames or [])}; expected file,caption")
            return {Path(row["file"]).as_posix(): row["caption"] or "" for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, TypeError) as error:
        raise UsageError(f"{file}: not a table in UTF-8 text ({error})") from error


def _text(image: Path) -> str:
    file = image.with_suffix(".txt")
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        hint = "dataset.caption=null leaves captions out"
        raise UsageError(f"{file}: the caption of {image.name}: {reason}; {hint}") from error
