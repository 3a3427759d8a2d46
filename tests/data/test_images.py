"""Digits, and the idx files of MNIST and its kin: what is read, and what is refused with its name."""

import gzip
import os

import numpy as np
import pytest
import torch

from gentool.data import images
from gentool.data.batches import ordered
from gentool.errors import UsageError
from tests.data.files import idx, small_mnist

REAL = os.environ.get("GENTOOL_DATA", "")


def lay(folder, files, suffix=""):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, data in zip(images.MNIST.files, files, strict=True):
        (raw / f"{name}{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    return raw


def read(folder, **changes):
    return images.mnist(**{"root": str(folder), "binarize": "none", "validation": 0.1, "seed": 0, **changes})


def test_digits_are_scikit_learns_cut_into_three():
    data = images.digits(binarize="none", validation=0.1, test=0.2, seed=0)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [1258, 180, 359]
    assert data.space.shape == (1, 8, 8) and data.space.levels == 17 and data.space.classes == 10
    for split in (data.train, data.valid, data.test):
        batch = next(ordered(split, 2000, seed=0))
        assert batch.x.dtype == torch.uint8 and int(batch.x.max()) == 16
        data.space.check(batch.x)
    torch.testing.assert_close(data.space.frequencies, data.train.y.bincount() / 1258)
    from sklearn.datasets import load_digits

    theirs = load_digits()
    together = torch.cat(
        [torch.cat([split.x.flatten(1), split.y[:, None]], 1) for split in (data.train, data.valid, data.test)]
    )
    assert sorted(together.tolist()) == sorted(np.c_[theirs.data, theirs.target].astype(int).tolist())
    torch.testing.assert_close(data.space.loc, data.train.x.float().mean(0))
    dynamic = images.digits(binarize="dynamic", validation=0.1, test=0.2, seed=0)  # its mean is that of the bits
    torch.testing.assert_close(dynamic.space.loc, data.train.x.float().mean(0) / 16)
    other = images.digits(binarize="none", validation=0.1, test=0.2, seed=1)
    assert not torch.equal(other.train.x, data.train.x)


def test_validation_never_touches_test(tmp_path):
    """The test images must be those of the test files whatever is held out, and no row may stand in two splits."""
    lay(tmp_path, small_mnist())
    for share, seed in ((0.0, 0), (0.1, 0), (0.5, 1)):
        data = read(tmp_path, validation=share, seed=seed)
        assert torch.equal(data.test.x[:, 0], images.read_idx(tmp_path / "MNIST/raw" / images.MNIST.files[2]))
        together = torch.cat([data.train.x, data.valid.x]).flatten(1).tolist()
        whole = images.read_idx(tmp_path / "MNIST/raw" / images.MNIST.files[0]).flatten(1).tolist()
        assert sorted(together) == sorted(whole) and len(data.valid) == round(30 * share)


def test_gzipped_files_are_read_too(tmp_path):
    lay(tmp_path / "plain", small_mnist())
    lay(tmp_path / "zipped", small_mnist(), suffix=".gz")
    assert torch.equal(read(tmp_path / "plain").train.x, read(tmp_path / "zipped").train.x)


@pytest.mark.parametrize(
    "which, change, message",
    [
        (0, lambda data: data[:-7], "truncated or damaged, 1,073 bytes of data where .30, 6, 6. needs 1,080"),
        (0, lambda data: data + b"x", "truncated or damaged"),
        (0, lambda data: b"", "expected an idx file"),
        (0, lambda data: b"<html>not found</html>", "expected an idx file"),
        (0, lambda data: idx(np.zeros((0, 6, 6), np.uint8)), "expected images"),
        (1, lambda data: idx(np.zeros(29, np.uint8)), "labels have shape .29,.*expected .30,."),
        (1, lambda data: data[:-2] + b"\x0a\x01", "label 10 of example 28 lies outside 0..9"),
        (2, lambda data: idx(np.zeros((10, 7, 6), np.uint8)), "another size"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, which, change, message):
    files = small_mnist()
    files[which] = change(files[which])
    lay(tmp_path, files)
    with pytest.raises(UsageError, match=message) as caught:
        read(tmp_path)
    assert images.MNIST.files[which] in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_gzip_file_is_refused_by_name(tmp_path):
    raw = lay(tmp_path, small_mnist(), suffix=".gz")
    path = raw / f"{images.MNIST.files[0]}.gz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte.gz: cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize("files", [images.MNIST, images.FASHION_MNIST, images.KMNIST])
def test_files_and_checksums_are_torchvisions(files):
    datasets = pytest.importorskip("torchvision.datasets")
    theirs = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}[files.name]
    assert [(remote.name, remote.md5) for remote in files.remotes] == theirs.resources
    assert files.folder == f"{theirs.__name__}/raw"


@pytest.mark.skipif(not os.path.isdir(f"{REAL}/MNIST/raw"), reason="GENTOOL_DATA names no folder with MNIST/raw")
def test_the_real_mnist():
    data = images.mnist(root=REAL, binarize="none", validation=0.1, seed=0)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [54000, 6000, 10000]
    assert data.space.shape == (1, 28, 28) and data.space.levels == 256 and data.space.classes == 10
    everything = images.mnist(root=REAL, binarize="none", validation=0.0, seed=0)
    assert len(everything.train) == 60000 and len(everything.valid) == 0
    assert everything.train.x.double().mean().item() == pytest.approx(33.31842, abs=1e-4)
    assert everything.train.y.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
