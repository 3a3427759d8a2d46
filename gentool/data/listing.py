"""What lies in a folder of images: files, classes, splits, and the size and mode their headers tell."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gentool.data.headers import SUFFIXES, Header, is_hidden, read_header
from gentool.data.progress import progress
from gentool.errors import UsageError

_SPLITS = {"train": "train", "test": "test", "valid": "valid", "val": "valid"}
_CHUNK = 4096


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, in a fixed order.

    Attributes:
        root: the folder.
        names: (files,) bytes, each path below the root; a numpy array, since a million Python strings are 100 MB.
        labels: (files,) int64, alphabetical places of the class folders; None where there are none.
        classes: names of the classes.
        splits: (files,) int8, 0 train, 1 valid, 2 test; None where the folder has no splits.
        digest: changes whenever a file is added, removed or changed.
    """

    root: Path
    names: Any
    labels: Any
    classes: tuple[str, ...]
    splits: Any
    digest: str

    def path(self, row: int) -> Path:
        """Return the path of a file."""
        return self.root / os.fsdecode(bytes(self.names[row]))


def scan(root: Path) -> Listing:
    """List the images of `root/<class>/…`, of `root/train|valid|test/<class>/…`, or of `root` itself.

    Args:
        root: the folder.

    Returns:
        The listing, sorted by path.

    Raises:
        UsageError: there is no such folder, it holds no images, a class is empty, or images lie beside class folders.
    """
    if not root.is_dir():
        raise UsageError(f"dataset.path={root}: there is no such folder")
    folders = {entry.name: entry for entry in sorted(root.iterdir()) if entry.is_dir() and not is_hidden(entry.name)}
    split_folders = {_SPLITS[name]: path for name, path in folders.items() if name in _SPLITS}
    has_splits = "train" in split_folders and ("test" in split_folders or set(folders) <= set(_SPLITS))
    found: list[tuple[bytes, int, int, int, int]] = []  # name, split, label, size, time of change
    classes = _class_names(split_folders["train"] if has_splits else root)
    for split, name in enumerate(("train", "valid", "test")):
        part = split_folders.get(name) if has_splits else root if split == 0 else None
        if part is not None:
            found += [(file, split, *rest) for file, *rest in _files(part, root, classes)]  # type: ignore[misc]
    if not found:
        raise UsageError(f"dataset.path={root}: holds no images ({', '.join(SUFFIXES)})")
    names = np.array([file for file, *_ in found])
    facts = np.array([rest for _, *rest in found], dtype=np.int64)
    digest = hashlib.sha256(f"{root.resolve()}".encode() + names.tobytes() + facts.tobytes()).hexdigest()
    labels = facts[:, 1].copy() if classes else None
    return Listing(root, names, labels, classes, facts[:, 0].astype(np.int8) if has_splits else None, digest)


def survey(listing: Listing, workers: int) -> dict[Header, int]:
    """Read the header of every file, and find those that are truncated.

    Args:
        listing: the files.
        workers: threads.

    Returns:
        The distinct headers, each with the first row that has it, in the order of those rows.

    Raises:
        UsageError: a file is unreadable or truncated; the first is named.
    """
    first: dict[Header, int] = {}
    title = f"reading the headers of {listing.root.name}, once"
    with ThreadPoolExecutor(workers) as pool, progress(title, len(listing.names)) as advance:
        for start in range(0, len(listing.names), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(listing.names)))
            for row, header in zip(rows, pool.map(lambda r: read_header(listing.path(r)), rows), strict=True):
                first.setdefault(header, row)
            advance(len(rows))
    return first


def _class_names(folder: Path) -> tuple[str, ...]:
    entries = sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
    classes = tuple(entry.name for entry in entries if entry.is_dir())
    loose = next((entry for entry in entries if entry.is_file() and entry.suffix.lower() in SUFFIXES), None)
    if classes and loose is not None:
        raise UsageError(f"{loose}: an image beside the class folders {_some(classes)}; put it into one of them")
    return classes


def _files(folder: Path, root: Path, classes: Sequence[str]) -> list[tuple[bytes, int, int, int]]:
    if set(_class_names(folder)) - set(classes):
        strange = sorted(set(_class_names(folder)) - set(classes))[0]
        raise UsageError(f"{folder / strange}: the training images have no such class, only {_some(classes)}")
    found = []
    for label, name in enumerate(classes or [""]):
        below = folder / name
        if not below.is_dir():
            continue  # a class may be absent from the test
        inside = sorted(_walk(str(below)))
        if not inside and name:
            raise UsageError(f"{below}: the class holds no images ({', '.join(SUFFIXES)})")
        for path in inside:
            facts = os.stat(path)
            found.append((os.fsencode(os.path.relpath(path, root)), label, facts.st_size, facts.st_mtime_ns))
    return found


def _walk(folder: str) -> list[str]:
    return [
        os.path.join(base, name)
        for base, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(SUFFIXES) and not is_hidden(name)
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "") or "none"
