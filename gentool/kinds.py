"""The kind of data: what a recipe is chosen by where none is written for the dataset itself.

A kind is found before anything is built, by a glance at the composed dataset config and at most one file's header.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from gentool.data import headers

KINDS = ("points", "table", "small", "grey", "colour", "large", "text")
"""points: vectors of reals to 3 dimensions; table: more; small, large: images by size; grey, colour; text."""

MAX_POINT_DIMS = 3
SMALL_SIDE = 16
"""Images with a side shorter than this are small."""
LARGE_SIDE = 48
"""Images with no side shorter than this are large."""


def kind_of(dataset_config: Mapping[str, Any]) -> str | None:
    """Find the kind of data that a dataset config describes, before the dataset is built.

    Args:
        dataset_config: the composed config of a dataset: `_target_` and its options, resolved; an option that is
            absent has its default.

    Returns:
        One of `KINDS`; None where a file is missing or unreadable, or where the dataset is not one of ours.
    """
    package, _, name = str(dataset_config.get("_target_", "")).rpartition(".")
    glance = _GLANCES.get(name) if package.startswith("gentool.") else None
    try:
        return glance(dataset_config) if glance else None
    except Exception:  # whatever is wrong with the file or an option, the dataset's own reader says it better
        return None


def kind_of_space(shape: Sequence[int], levels: int | None, vocabulary: Sequence[str]) -> str:
    """Return the kind of a space of data that is built: `kind_of` agrees with it.

    Args:
        shape: of one x.
        levels: number of integer levels; None for reals.
        vocabulary: the symbols of text, empty otherwise.

    Returns:
        One of `KINDS`.
    """
    if vocabulary:
        return "text"
    if len(shape) == 3:
        return _image(shape[1], shape[2], shape[0])
    return _vector(prod(shape)) if levels is None else "table"


def _vector(dims: int) -> str:
    return "points" if dims <= MAX_POINT_DIMS else "table"


def _image(height: int, width: int, channels: int) -> str:
    side = min(height, width)
    if side < SMALL_SIDE:
        return "small"
    if side >= LARGE_SIDE:
        return "large"
    return "grey" if channels == 1 else "colour"


def _file(config: Mapping[str, Any]) -> Path:
    return Path(config["path"]).expanduser()


def _array(config: Mapping[str, Any]) -> str | None:
    file, label = _file(config), config.get("label")
    match headers.file_format(file):
        case "csv":
            columns = headers.csv_columns(file).names
        case "parquet":
            columns = headers.parquet_columns(file)
        case None:
            return None
        case _:
            shape = headers.array_shape(file)
            return _vector(1 if len(shape) == 1 else shape[1])
    return _vector(len(columns) - (label is not None))


def _image_array(config: Mapping[str, Any]) -> str | None:
    shape, channels = headers.array_shape(_file(config)), config.get("channels")
    if len(shape) == 3:
        return _image(shape[1], shape[2], 1)
    if len(shape) != 4:
        return None
    axis = headers.channel_axis(shape, channels)
    if axis is None:
        return None
    height, width, depth = (shape[2], shape[3], shape[1]) if axis == "first" else shape[1:]
    return _image(height, width, depth)


def _image_folder(config: Mapping[str, Any]) -> str | None:
    size, mode = config.get("size"), config.get("mode")
    sides: Sequence[int] | None = [size, size] if isinstance(size, int) else size
    if sides is None or mode is None:
        image = headers.first_image(str(_file(config)))
        if image is None:
            return None
        header = headers.read_header(image)
        sides, mode = sides or header[:2], mode or header.mode
    return _image(sides[0], sides[1], 1 if mode == "grey" else 3)


def _shapes(config: Mapping[str, Any]) -> str:
    side = int(config.get("size", 32))
    return _image(side, side, 3)


def _always(kind: str) -> Callable[[Mapping[str, Any]], str | None]:
    return lambda config: kind


_TOYS = ("ring", "grid", "moons", "checkerboard", "two_gaussians", "mixture", "heights")
_GLANCES: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
    **dict.fromkeys(_TOYS, _always("points")),  # numbers, or points of the plane
    "digits": _always("small"),
    **dict.fromkeys(("mnist", "fashion_mnist", "kmnist", "emnist"), _always("grey")),
    **dict.fromkeys(("cifar10", "svhn"), _always("colour")),
    "text": _always("text"),
    "array": _array,
    "image_array": _image_array,
    "image_folder": _image_folder,
    "shapes": _shapes,
}
