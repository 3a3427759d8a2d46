"""What files say of themselves before they are read: shapes of arrays, columns of tables, sizes of images.

Only the standard library is imported here (Pillow inside the function that needs it), so that a glance is cheap.
"""

import ast
import csv
import os
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

from gentool.errors import UsageError

Mode = Literal["grey", "rgb"]
Format = Literal["npz", "npy", "parquet", "csv"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
CSV_SUFFIXES = (".csv", ".tsv", ".txt")
MAX_CHANNELS = 4

_MAGIC: dict[bytes, Format] = {b"PK\x03\x04": "npz", b"PK\x05\x06": "npz", b"\x93NUM": "npy", b"PAR1": "parquet"}
_MAX_NPY_HEADER = 1 << 16  # bytes; numpy's own limit is 10,000
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}  # of JPEG and PNG files that are not truncated
_TURNED = ("JPEG", "MPO", "TIFF", "WEBP")  # what cameras write; Pillow would decode a PNG to look for it
_ORIENTATION = 0x0112  # EXIF: 5 to 8 swap the sides


class Header(NamedTuple):
    """What an image file says of itself.

    Attributes:
        height: in pixels, upright.
        width: in pixels, upright.
        mode: grey, or rgb for all that has colour.
    """

    height: int
    width: int
    mode: Mode


class Columns(NamedTuple):
    """What the first line of a text table says.

    Attributes:
        names: of the columns; their numbers from 0 where the file has no line of names.
        delimiter: what separates them.
        has_names: whether the first line holds names.
    """

    names: tuple[str, ...]
    delimiter: str
    has_names: bool


def file_format(file: Path) -> Format | None:
    """Tell the format of a table by its first bytes, of text by its suffix; None: none that is known.

    Args:
        file: an existing file.

    Returns:
        The format.
    """
    with file.open("rb") as stream:
        magic = stream.read(4)
    known = _MAGIC.get(magic)
    return known or ("csv" if file.suffix.lower() in CSV_SUFFIXES else None)


def array_shape(file: Path, name: str = "x") -> tuple[int, ...]:
    """Read the shape of an array from the header of a `.npy` file, or of the member `name` of a `.npz`.

    Args:
        file: the file.
        name: of the array in a `.npz`.

    Returns:
        Its shape.

    Raises:
        KeyError: the archive has no such array.
        ValueError: it is not a numpy file.
    """
    if file_format(file) == "npz":
        with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
            return _npy_shape(member)
    with file.open("rb") as stream:
        return _npy_shape(stream)


def _npy_shape(stream: IO[bytes]) -> tuple[int, ...]:
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY":
        raise ValueError("not a numpy array")
    length_format = "<H" if start[6] == 1 else "<I"
    (length,) = struct.unpack(length_format, stream.read(struct.calcsize(length_format)))
    if length > _MAX_NPY_HEADER:
        raise ValueError(f"a header of {length} bytes")
    return tuple(int(side) for side in ast.literal_eval(stream.read(length).decode("latin1"))["shape"])


def channel_axis(shape: Sequence[int], channels: str | None) -> Literal["first", "last"] | None:
    """Say which axis of images (n, C, H, W) or (n, H, W, C) holds the channels.

    Args:
        shape: of four axes.
        channels: first or last, as the user says; None: the one of length 1 to 4, where only one is.

    Returns:
        first or last; None where it is not clear, or not as the user says.
    """
    found: list[Literal["first", "last"]] = []
    if 1 <= shape[1] <= MAX_CHANNELS:
        found.append("first")
    if 1 <= shape[3] <= MAX_CHANNELS:
        found.append("last")
    if channels is None:
        return found[0] if len(found) == 1 else None
    return next((axis for axis in found if axis == channels), None)


def csv_columns(file: Path) -> Columns:
    """Read the first line of a text table.

    Args:
        file: UTF-8, separated by whichever of comma, semicolon and tab its first line has most of.

    Returns:
        The columns. The first line holds names where one of its fields is not a number.

    Raises:
        ValueError: the file is empty or not UTF-8.
    """
    with file.open(encoding="utf-8-sig", newline="") as stream:
        line = stream.readline()
    delimiter = max(",;\t", key=line.count)
    fields = [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
    if not fields:
        raise ValueError("is empty")
    if all(is_number(field) for field in fields):
        return Columns(tuple(map(str, range(len(fields)))), delimiter, has_names=False)
    return Columns(tuple(fields), delimiter, has_names=True)


def is_number(field: str) -> bool:
    """Whether a field of a text table is a number; an empty field is not, nor are digits that underscores group."""
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def parquet_columns(file: Path) -> tuple[str, ...]:
    """Read the names of the columns of a Parquet file, without pandas' index.

    Args:
        file: the file.

    Returns:
        The names.

    Raises:
        ImportError: pyarrow is not installed.
    """
    from pyarrow import parquet

    return tuple(name for name in parquet.read_schema(file).names if not name.startswith("__index_level_"))


def first_image(folder: str) -> Path | None:
    """Return any one image file below a folder, without listing all of it; None where there is none."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                return Path(entry.path)
            if entry.is_dir():
                folders.append(entry.path)
    return next((found for below in sorted(folders) if (found := first_image(below))), None)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not part of the data."""
    return name.startswith((".", "__MACOSX"))


def read_header(path: Path) -> Header:
    """Return what an image file says of itself, without decoding it.

    Args:
        path: the file.

    Returns:
        Its size, upright by its EXIF orientation, and mode.

    Raises:
        UsageError: it is not an image, or it is truncated.
    """
    from PIL import Image

    try:
        with path.open("rb") as file, Image.open(file) as image:
            width, height = image.size
            if image.format in _TURNED and image.getexif().get(_ORIENTATION, 1) >= 5:
                width, height = height, width
            mode: Mode = "grey" if image.mode in _GREY else "rgb"
            if not _ends_well(file):
                image.load()  # truncated, or its end lies before a camera's own data: decoding tells
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: not a readable image ({error})") from error
    return Header(height, width, mode)


def _ends_well(file: IO[bytes]) -> bool:
    place = file.tell()
    file.seek(0)
    start = file.read(2)
    file.seek(max(0, file.seek(0, os.SEEK_END) - 64))
    end = file.read()
    file.seek(place)
    return start not in _ENDS or _ENDS[start] in end
