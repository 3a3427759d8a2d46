"""Downloads from a server on the loopback interface: dead mirrors, wrong checksums, truncated files, nothing left."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gentool.data import images
from gentool.data.download import Remote, downloaded, place
from gentool.errors import RunError, UsageError
from tests.data.files import idx, listing, md5, server, small_mnist, zipped

CONTENT = b"forty-two " * 5000


def fetch(folder: Path, mirrors: list[str], checksum: str = md5(CONTENT)) -> bytes:
    with downloaded(Remote("file.bin", checksum, mirrors), folder, "the advice") as file:
        return file.read()


def dead_mirror() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_file_arrives_and_leaves_nothing_else(tmp_path):
    with server({"/a/file.bin": CONTENT}) as (address, _):
        assert fetch(tmp_path / "new", [f"{address}/a/"]) == CONTENT
    assert listing(tmp_path) == set()


def test_mirrors_are_tried_in_turn(tmp_path):
    with server({"/c/file.bin": CONTENT}) as (address, asked):
        assert fetch(tmp_path, [dead_mirror(), f"{address}/b", f"{address}/c", f"{address}/d"]) == CONTENT
        assert asked == ["/b/file.bin", "/c/file.bin"]


def test_a_wrong_checksum_sends_to_the_next_mirror(tmp_path):
    with server({"/a/file.bin": b"something else, and longer" * 9000, "/b/file.bin": CONTENT}) as (address, _):
        assert fetch(tmp_path, [f"{address}/a", f"{address}/b"]) == CONTENT
        with pytest.raises(UsageError, match=r"the advice; .*wrong checksum, md5 .* instead of"):
            fetch(tmp_path, [f"{address}/a"])
    assert listing(tmp_path) == set()


def test_a_truncated_file_is_named_as_such(tmp_path):
    broken = server({"/file.bin": CONTENT}, truncate=frozenset({"/file.bin"}))
    with broken as (address, _), pytest.raises(UsageError, match="truncated, 25,000 of 50,000 bytes"):
        fetch(tmp_path, [address])
    assert listing(tmp_path) == set()


def test_offline_names_every_mirror(tmp_path):
    first, second = dead_mirror(), dead_mirror()
    with pytest.raises(UsageError) as caught:
        fetch(tmp_path / "new" / "folder", [first, second])
    assert list(tmp_path.iterdir()) == []
    assert first in str(caught.value) and second in str(caught.value) and "\n" not in str(caught.value)


def test_an_interrupted_write_leaves_nothing(tmp_path):
    class Breaks:
        def read(self, n):
            raise KeyboardInterrupt

    (tmp_path / "kept").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        place(Breaks(), tmp_path / "kept")
    assert listing(tmp_path) == {"kept"} and (tmp_path / "kept").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0 or not Path("/dev/full").exists(), reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be written"):
        fetch(tmp_path / "below", ["http://127.0.0.1:1"])


def test_a_path_that_is_a_file_is_named(tmp_path):
    (tmp_path / "root").write_text("a file")
    with pytest.raises(RunError, match=r"root.*cannot be written"):
        fetch(tmp_path / "root", ["http://127.0.0.1:1"])


def served(mirrors: list[str], files: list[bytes]) -> images.IdxFiles:
    remotes = tuple(
        replace(remote, md5=md5(zipped(file)), mirrors=mirrors)
        for remote, file in zip(images.MNIST.remotes, files, strict=True)
    )
    return replace(images.MNIST, remotes=remotes)


def paths(files: list[bytes]) -> dict[str, bytes]:
    return {f"/{remote.name}": zipped(file) for remote, file in zip(images.MNIST.remotes, files, strict=True)}


def test_mnist_is_downloaded_once_and_laid_out_as_torchvision_has_it(tmp_path, monkeypatch, capsys):
    files = small_mnist()
    with server(paths(files)) as (address, asked):
        monkeypatch.setattr(images, "MNIST", served([dead_mirror(), address], files))
        for _ in range(2):
            data = images.mnist(root=str(tmp_path), binarize="none", validation=0.1, seed=0)
        assert len(asked) == 4
    assert listing(tmp_path) == {f"MNIST/raw/{name}" for name in images.MNIST.files}
    assert data.space.shape == (1, 6, 6) and len(data.train) == 27 and len(data.test) == 10
    assert (
        "downloading train-images-idx3-ubyte.gz" in capsys.readouterr().err
    )  # a plain line, where there is no terminal


def test_a_bad_third_file_leaves_the_first_two_and_no_part_of_it(tmp_path, monkeypatch):
    files = small_mnist()
    broken = frozenset({"/t10k-images-idx3-ubyte.gz"})
    with server(paths(files), truncate=broken) as (address, _):
        monkeypatch.setattr(images, "MNIST", served([address], files))
        with pytest.raises(UsageError, match=r"t10k-images-idx3-ubyte.gz could not be downloaded"):
            images.mnist(root=str(tmp_path), binarize="none", validation=0.1, seed=0)
    assert listing(tmp_path) == {"MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte"}
    with server(paths(files)) as (address, asked):
        monkeypatch.setattr(images, "MNIST", served([address], files))
        images.mnist(root=str(tmp_path), binarize="none", validation=0.1, seed=0)
        assert asked == ["/t10k-images-idx3-ubyte.gz", "/t10k-labels-idx1-ubyte.gz"]


def test_offline_says_which_files_should_lie_where(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MNIST", served([dead_mirror()], small_mnist()))
    with pytest.raises(UsageError) as caught:
        images.mnist(root=str(tmp_path), binarize="none", validation=0.1, seed=0)
    message = str(caught.value)
    assert str(tmp_path / "MNIST/raw") in message and "dataset=digits needs no download" in message
    assert all(name in message for name in images.MNIST.files) and "\n" not in message


def test_emnist_unpacks_its_archive_and_asks_once(tmp_path, monkeypatch):
    import io
    import zipfile

    import numpy as np

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for subset, first, classes in (("letters", 1, 26), ("digits", 0, 10)):
            for split in ("train", "test"):
                pixels = np.arange(52 * 6, dtype=np.uint8).reshape(52, 2, 3)
                labels = (np.arange(52) % classes + first).astype(np.uint8)
                archive.writestr(f"gzip/emnist-{subset}-{split}-images-idx3-ubyte.gz", zipped(idx(pixels)))
                archive.writestr(f"gzip/emnist-{subset}-{split}-labels-idx1-ubyte.gz", zipped(idx(labels)))
    content = buffer.getvalue()
    with server({"/gzip.zip": content}) as (address, asked):
        monkeypatch.setattr(images, "EMNIST_ARCHIVE", Remote("gzip.zip", md5(content), [address]))
        for subset, classes in (("letters", 26), ("digits", 10)):
            data = images.emnist(root=str(tmp_path), subset=subset, binarize="none", validation=0.0, seed=0)
            assert data.space.classes == classes and set(data.train.y.tolist()) == set(range(classes))
        assert len(asked) == 1
    assert torch.equal(
        data.train.x[0, 0], torch.tensor([[0, 3], [1, 4], [2, 5]]).to(torch.uint8)
    )  # upright: transposed
