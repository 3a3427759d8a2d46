"""Downloads: several mirrors, checksums, and files that appear whole or not at all."""

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from gentool.data.progress import progress
from gentool.errors import RunError, UsageError

_TIMEOUT = 20  # seconds without an answer before a mirror counts as dead
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Remote:
    """A file on the network.

    Attributes:
        name: its name below each mirror.
        md5: checksum of the file as it is served.
        mirrors: addresses of the folders that hold it, tried in turn.
    """

    name: str
    md5: str
    mirrors: Sequence[str]


@contextmanager
def downloaded(remote: Remote, folder: Path, wanted: str) -> Iterator[IO[bytes]]:
    """Download a file and open it, at its start, once its checksum has been found right.

    The bytes go to a nameless file, which vanishes however the program ends.

    Args:
        remote: what to download.
        folder: the folder it is for; it need not exist.
        wanted: what the error tells an offline user to put where.

    Yields:
        The file, open for reading.

    Raises:
        UsageError: no mirror gave the file.
        RunError: the folder cannot be written.
    """
    with _scratch(folder) as file:
        failures = []
        for mirror in remote.mirrors:
            try:
                _receive(mirror.rstrip("/") + "/" + remote.name, remote, file)
                break
            except (_BadDownload, http.client.HTTPException, OSError) as error:
                failures.append(f"{mirror}: {getattr(error, 'reason', None) or error}")
        else:
            raise UsageError(f"{wanted}; {remote.name} could not be downloaded ({'; '.join(failures)})")
        file.seek(0)
        yield file


def place(stream: IO[bytes], path: Path) -> None:
    """Write a stream to `path` so that the file is there whole or not at all.

    Args:
        stream: open for reading.
        path: where the file shall be; replaced if it is there.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(stream, file, _BLOCK)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)  # mkstemp gives 0600, which would shut out those who share the folder
        part.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error}); nothing was left behind") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def offline_advice(dataset: str, folder: Path, files: Sequence[str]) -> str:
    """Return what an offline user must do: which files lie where, and the dataset that needs none."""
    return (
        f"dataset={dataset} is not there: put {', '.join(files)} into {folder}, "
        "or set dataset.root or $GENTOOL_DATA to where they lie (dataset=digits needs no download)"
    )


class _BadDownload(Exception):
    """A mirror answered with something else than the file."""


def _scratch(folder: Path) -> IO[bytes]:
    """Open a nameless file on the disk of `folder`, which is not made before there is something to put into it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return cast(IO[bytes], tempfile.TemporaryFile(dir=folder))
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); set dataset.root") from error


def _receive(url: str, remote: Remote, file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "gentool"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        length = answer.headers.get("Content-Length")
        total = int(length) if length else None
        with progress(f"downloading {remote.name}", total, is_bytes=True) as advance:
            while block := answer.read(_BLOCK):
                digest.update(block)
                _store(block, file)
                advance(len(block))
    if total is not None and file.tell() != total:
        raise _BadDownload(f"the file is truncated, {file.tell():,} of {total:,} bytes")
    if digest.hexdigest() != remote.md5:
        raise _BadDownload(f"wrong checksum, md5 {digest.hexdigest()} instead of {remote.md5}")


def _store(block: bytes, file: IO[bytes]) -> None:
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise RunError(f"the download cannot be written ({error.strerror}); nothing was left behind") from error
