"""Small files in the formats datasets come in, and a server on the loopback interface that misbehaves as told."""

import gzip
import hashlib
import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np


def idx(array: np.ndarray) -> bytes:
    """Return an array of bytes in the idx format."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_mnist(n: int = 30, size: int = 6) -> list[bytes]:
    """Return training images and labels, test images and labels, as idx files."""
    rng = np.random.default_rng(0)
    files = []
    for count in (n, n // 3):
        files.append(idx(rng.integers(0, 256, (count, size, size), dtype=np.uint8)))
        files.append(idx((np.arange(count) % 10).astype(np.uint8)))
    return files


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@contextmanager
def server(files: dict[str, bytes], truncate: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[str]]]:
    """Serve files by path; those in `truncate` state their length and send half.

    Yields:
        The address, and the list of paths asked for.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if self.path in truncate else data)

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", asked
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def picture(path: Path, height: int = 8, width: int = 8, mode: str = "RGB", seed: int = 0) -> np.ndarray:
    """Write a random picture and return its pixels."""
    from PIL import Image

    shape = (height, width, 3) if mode == "RGB" else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def listing(folder: Path) -> set[str]:
    """Return every path below a folder, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def npz(path: Path, **arrays: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path.write_bytes(buffer.getvalue())
    return str(path)
