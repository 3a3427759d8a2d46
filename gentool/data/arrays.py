"""Data of the user's own in numpy files: points, and images."""

import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeInt

from gentool.data.binarise import Binarize
from gentool.data.captions import Caption, array_captions, captioned, tokenise
from gentool.data.dataset import Dataset, Rows, Share, Table, image_dataset, point_dataset
from gentool.data.facts import check_labels
from gentool.data.flips import Flip, flipped
from gentool.data.headers import channel_axis, file_format
from gentool.data.tables import Label, NumberTable, read_csv, read_parquet
from gentool.errors import UsageError


def array(
    *,
    path: str | None = None,
    label: Label | None = None,
    caption: Caption = "auto",
    validation: Share = 0.1,
    test: Share = 0.1,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Read points, or a table, from a `.npz`, `.npy`, `.csv` or `.parquet` file.

    A `.npz` holds `x` (n, d) and optionally `y` (n,), integers or words, and `caption` (n,), strings; a `.csv` or
    `.parquet` columns of numbers.

    Args:
        path: the file.
        label: the column of a `.csv` or `.parquet` that holds labels, integers or words, by its name or number.
        caption: auto (the condition is the `caption` array of a `.npz`, where it has one); None: captions are left out.
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
        seed: of the split.

    Returns:
        The dataset; x is float32, and (n,) is read as (n, 1).

    Raises:
        UsageError: the file is absent, unreadable, empty or of another shape, or a value is not finite.
    """
    table, captions = _read(path, label)
    x = table.x[:, None] if table.x.ndim == 1 else table.x
    if x.ndim != 2 or x.dtype.kind not in "fiub":
        raise UsageError(f"{path}: x has shape {x.shape} and type {x.dtype}; expected (n, d) numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is named below
        points = np.ascontiguousarray(x, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(points))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise UsageError(f"{path}: x[{row}, {column}] = {x[row, column]} is not a finite float32")
    told = _condition(table.y, captions if caption else None, len(x), path, table.class_names)
    data = point_dataset(
        Table(torch.from_numpy(points), told.y),
        told.classes,
        class_names=told.class_names,
        has_ties=True,
        validation=validation,
        test_share=test,
        seed=seed,
    )
    return told.completed(data)


def _read(path: str | None, label: Label | None) -> tuple[NumberTable, Any]:
    """Return the table of a file, and its captions or None."""
    file = _existing(path, "array")
    kind = file_format(file)
    if kind == "csv":
        return read_csv(file, label), None
    if kind == "parquet":
        return read_parquet(file, label), None
    if label is not None:
        raise UsageError(f"dataset.label={label}: only a .csv or .parquet has columns; {path} is another file")
    x, y, captions = read_arrays(path, "array")
    return NumberTable(x, y, ()), captions


def image_array(
    *,
    path: str | None = None,
    levels: Annotated[int, Field(ge=2, le=256)] | None = None,
    channels: Literal["first", "last"] | None = None,
    caption: Caption = "auto",
    flip: Flip = "none",
    binarize: Binarize = "none",
    validation: Share = 0.1,
    test: Share = 0.1,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Read images from a `.npz` with `x` uint8 (n, H, W), (n, H, W, C) or (n, C, H, W) and optionally `y`, or a `.npy`.

    Args:
        path: the file.
        levels: grey levels, 2 to 256: x in 0..levels-1; None: 2 where x holds only 0 and 1, else 256.
        channels: which axis holds C, first or last; None: the one of length 1 to 4.
        caption: auto (the condition is the `caption` array of a `.npz`, where it has one); None: captions are left out.
        flip: none, or horizontal (half of the training images mirrored left to right, afresh at each visit).
        binarize: none, static (drawn once), dynamic (drawn afresh each visit), threshold (above half).
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
        seed: of the split and of fixed binarisation.

    Returns:
        The dataset.

    Raises:
        UsageError: the file is absent, unreadable, empty or of another shape or type, or a value is out of range.
    """
    x, y, captions = read_arrays(path, "image_array")
    if x.dtype not in (np.uint8, np.bool_):
        raise UsageError(f"{path}: x has type {x.dtype}; expected uint8 (dataset=array reads real numbers)")
    images = np.ascontiguousarray(_channels_first(x, channels, path).astype(np.uint8, copy=False))
    del x  # as large as the images, which may be a copy
    highest = int(images.max())
    if levels is None:
        levels = 256 if highest > 1 else 2
    if highest >= levels:
        row = int(np.argmax((images >= levels).reshape(len(images), -1).any(1)))
        raise UsageError(
            f"{path}: image {row} holds {images[row].max()}; expected 0..{levels - 1} (dataset.levels={levels})"
        )
    told = _condition(y, captions if caption else None, len(images), path)
    data = image_dataset(
        Table(torch.from_numpy(images), told.y),
        None,
        levels=levels,
        classes=told.classes,
        class_names=told.class_names,
        binarize=binarize,
        validation=validation,
        test_share=test,
        seed=seed,
    )
    return flipped(told.completed(data), flip)


def read_arrays(path: str | None, dataset: str) -> tuple[Any, Any, Any]:
    """Read `x`, and `y` and `caption` where there are such, of a numpy file.

    Args:
        path: a `.npz` or `.npy` file.
        dataset: name of the dataset, for the message.

    Returns:
        x with at least one row, y or None, and caption or None.

    Raises:
        UsageError: there is no such file, or it holds no such arrays.
    """
    file = _existing(path, dataset)
    if file_format(file) not in ("npz", "npy"):
        others = ", .csv or .parquet" if dataset == "array" else ""
        wanted = f".npz, .npy{others}" if others else ".npz or .npy"
        raise UsageError(f"{path}: not a readable {wanted} file")
    try:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            x, y, captions = content, None, None
        else:
            with content:
                names = content.files
                if "x" not in names:
                    raise UsageError(f"{path}: holds {', '.join(names) or 'nothing'}; expected an array named x")
                x, y, captions = content["x"], *(content[k] if k in names else None for k in ("y", "caption"))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, zipfile.error, MemoryError) as error:
        # numpy's own words on an array of objects are about pickles, and to load one would run what it holds
        reason = "it holds Python objects, where numbers are expected" if "pickle" in str(error) else error
        raise UsageError(f"{path}: not a readable .npz or .npy file ({reason})") from error
    if x.ndim == 0 or not x.size:
        raise UsageError(f"{path}: x has shape {x.shape}; expected at least one example")
    return x, y, captions


def _existing(path: str | None, dataset: str) -> Path:
    if path is None:
        raise UsageError(f"dataset.path is not set: expected a file, dataset={dataset} dataset.path=FILE.npz")
    file = Path(path).expanduser()
    if not file.is_file():
        what = "is a folder; expected a file" if file.is_dir() else "there is no such file"
        raise UsageError(f"dataset.path={path}: {what}")
    return file


class _Condition(NamedTuple):
    """What the examples of a file are told by: labels, tokens of captions, or nothing."""

    y: torch.Tensor | None
    classes: int
    class_names: tuple[str, ...]
    words: tuple[str, ...]

    def completed(self, data: Dataset) -> Dataset:
        """Return the dataset built of x and y, its space with the words where y is captions."""
        if not self.words:
            return data
        assert isinstance(data.train, Rows) and data.train.y is not None
        return captioned(data, self.words, data.train.y)


def _condition(y: Any, captions: Any, examples: int, path: str | None, class_names: tuple[str, ...] = ()) -> _Condition:
    """Return captions where there are any, else labels."""
    if captions is None:
        return _Condition(*_labels(y, examples, path, class_names), ())
    tokens, words = tokenise(array_captions(captions, examples, path))
    return _Condition(tokens, 0, (), words)


def _labels(
    y: Any, examples: int, path: str | None, class_names: tuple[str, ...] = ()
) -> tuple[torch.Tensor | None, int, tuple[str, ...]]:
    """Return labels, the number of classes and their names; words are numbered in alphabetical order."""
    if y is None:
        return None, 0, ()
    if y.dtype.kind == "U" and y.shape == (examples,):
        words, y = np.unique(y, return_inverse=True)
        class_names = tuple(words.tolist())
    if y.dtype.kind not in "iu" or y.shape != (examples,):
        raise UsageError(f"{path}: y has shape {y.shape} and type {y.dtype}; expected ({examples},) integers or words")
    labels = torch.from_numpy(y.astype(np.int64))
    classes = int(labels.max()) + 1
    if classes > examples:  # else a stray label would make millions of classes
        row = int(labels.argmax())
        raise UsageError(
            f"{path}: label {classes - 1} of example {row}; expected 0..classes-1, and no more classes than examples"
        )
    check_labels(labels, examples, classes, str(path))
    return labels, classes, class_names


def _channels_first(x: Any, channels: str | None, path: str | None) -> Any:
    """Return (n, C, H, W)."""
    if x.ndim == 3:
        return x[:, None]
    if x.ndim != 4:
        raise UsageError(f"{path}: x has shape {x.shape}; expected (n, H, W), (n, H, W, C) or (n, C, H, W)")
    chosen = channel_axis(x.shape, channels)
    if chosen is None:
        is_ambiguous = not channels and channel_axis(x.shape, "first")
        wanted = "set dataset.channels=first or last" if is_ambiguous else "expected 1 to 4 channels"
        raise UsageError(f"{path}: x has shape {x.shape}, which axis holds the channels is not clear: {wanted}")
    return x if chosen == "first" else x.transpose(0, 3, 1, 2)
