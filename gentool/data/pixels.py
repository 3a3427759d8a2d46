"""Decoded images in a file of bytes that is mapped into memory, filled as they are asked for."""

import json
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gentool.data.download import place
from gentool.errors import RunError

_TASK = 16  # images a thread decodes in one go: small images would else spend their time in the queue
_SAVE = 4096  # decoded images between two notes on disk of which are done
_RESIDENT = 1 << 28  # bytes read before the mapped pages are handed back, so that memory stays bounded


class Pixels:
    """Images (rows, channels, height, width) uint8 on disk, each decoded once.

    Behind the images the file has a byte for each row, 1 where it is done, set only after the row's bytes have been
    synced, so a crash loses work and nothing else. Several processes may share the file: all write the same bytes.

    Args:
        folder: `shape.json` and `pixels.u8` lie here.
        rows: number of images.
        shape: (channels, height, width).
        workers: threads that decode.
    """

    def __init__(self, folder: Path, rows: int, shape: tuple[int, ...], workers: int) -> None:
        self.shape = shape
        self.read: Callable[[int], Any] = _unset
        self._workers = workers
        with (folder / "pixels.u8").open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _size(rows, shape))
        self._array = np.frombuffer(self._map, np.uint8, rows * prod(shape)).reshape(rows, *shape)
        self._images = torch.from_numpy(self._array)
        self._noted = np.frombuffer(self._map, np.uint8, rows, offset=rows * prod(shape))
        self._done = self._noted.copy()
        self._is_complete = bool(self._done.all())
        self._pending: dict[int, Future[None]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._unsaved = 0
        self._touched = 0

    @classmethod
    def opened(cls, folder: Path, rows: int, workers: int) -> "Pixels | None":
        """Open a cache of `rows` images, or return None where there is none that is whole."""
        try:
            shape = tuple(json.loads((folder / "shape.json").read_text()))
            if (folder / "pixels.u8").stat().st_size == _size(rows, shape):
                return cls(folder, rows, shape, workers)
        except (OSError, ValueError, TypeError):
            pass
        return None

    @classmethod
    def created(cls, folder: Path, rows: int, shape: tuple[int, ...], workers: int) -> "Pixels":
        """Make an empty cache, its room on disk reserved: a full disk would else kill the process at a write.

        Where another process has just made it, that one is opened. It is made under another name, so that nobody ever
        maps a file that is about to be cut or to grow.

        Args:
            folder: made if absent.
            rows: number of images.
            shape: (channels, height, width).
            workers: threads that decode.

        Returns:
            The cache.

        Raises:
            RunError: there is no room, or the folder cannot be written.
        """
        size, part = _size(rows, shape), folder / f".pixels.u8.{os.getpid()}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                made = cls.opened(folder, rows, workers)
                if made is not None:
                    return made
                with part.open("wb") as file:
                    if hasattr(os, "posix_fallocate"):
                        os.posix_fallocate(file.fileno(), 0, size)
                    else:
                        file.truncate(size)
                place(BytesIO(json.dumps(shape).encode()), folder / "shape.json")
                part.replace(folder / "pixels.u8")
                return cls(folder, rows, shape, workers)
        except OSError as error:
            raise RunError(
                f"{folder}: no room for {size / 1e6:.0f} MB of decoded images ({error.strerror}); set dataset.cache"
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def prepare(self, rows: Tensor) -> None:
        """Begin to decode what is not done of `rows` (batch,) int64, and return at once."""
        if self._is_complete:
            return
        wanted = [int(row) for row in rows[torch.from_numpy(self._done[rows.numpy()] == 0)]]
        new = [row for row in dict.fromkeys(wanted) if row not in self._pending]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")
        for start in range(0, len(new), _TASK):
            task = new[start : start + _TASK]
            self._pending.update(dict.fromkeys(task, self._pool.submit(self._decode, task)))

    def take(self, rows: Tensor) -> Tensor:
        """Return images, decoding what is not done.

        Args:
            rows: (batch,) int64.

        Returns:
            (batch, channels, height, width) uint8.

        Raises:
            RunError: a file cannot be decoded; it is named.
        """
        if not self._is_complete:
            self.prepare(rows)
            for row in rows.tolist():
                if row in self._pending:
                    self._pending.pop(row).result()
            self._note()
        images = self._images.index_select(0, rows)
        self._touched += images.numel()
        if self._touched > _RESIDENT and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)  # the pages stay in the system's cache, and leave our account
            self._touched = 0
        return images

    def _decode(self, rows: list[int]) -> None:
        for row in rows:
            self._array[row] = self.read(row)
            self._done[row] = 1
        with self._lock:
            self._unsaved += len(rows)

    def _note(self) -> None:
        """Write down which rows are done, from time to time and at the end."""
        is_complete = self._unsaved > 0 and bool(self._done.all())
        if self._unsaved < _SAVE and not is_complete:
            return
        with self._lock:
            self._unsaved = 0
        done = np.flatnonzero(self._done)
        self._map.flush()
        self._noted[done] = 1
        self._is_complete = is_complete
        if is_complete and self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process makes a cache in a folder, and keep others waiting, where there are locks."""
    with (folder / ".lock").open("ab") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)  # the system lets go of it when the file is closed, or the process dies
        except (ImportError, OSError):
            pass
        yield


def _size(rows: int, shape: tuple[int, ...]) -> int:
    return rows * prod(shape) + rows


def _unset(row: int) -> Any:
    raise RuntimeError(f"no reader was set for row {row}")
