"""CIFAR-10 as pickles, archive and JPEG, and SVHN: small files in the true formats."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from gentool.data import colour
from gentool.data.download import Remote
from gentool.errors import UsageError
from tests.data.files import listing, md5, picture, server

KEYS = {"binarize": "none", "validation": 0.1, "seed": 0}


def pickles(n: int = 10) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        name: pickle.dumps(
            {"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8), "labels": list(range(n))}, protocol=2
        )
        for name in colour._CIFAR10_FILES
    }


def lay(folder, files):
    (folder / "cifar-10-batches-py").mkdir(parents=True)
    for name, data in files.items():
        (folder / "cifar-10-batches-py" / name).write_bytes(data)


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in {**files, "../../outside": b"x"}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def test_cifar10_reads_pickles(tmp_path):
    files = pickles()
    lay(tmp_path, files)
    data = colour.cifar10(root=str(tmp_path), **{**KEYS, "validation": 0.0})
    assert data.space.shape == (3, 32, 32) and data.space.levels == 256 and data.space.classes == 10
    assert len(data.train) == 50 and len(data.test) == 10
    first = pickle.loads(files["data_batch_1"])["data"][0].reshape(3, 32, 32)
    assert torch.equal(data.train.x[0], torch.from_numpy(first))


def test_cifar10_refuses_damage_and_code(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    damages = {
        "truncated": pickles()["data_batch_2"][:-500],
        "code": pickle.dumps({"data": Attack(), "labels": []}),
        "label 12 of example 9": pickle.dumps({"data": np.zeros((10, 3072), np.uint8), "labels": [*range(9), 12]}),
    }
    for i, (message, damage) in enumerate(damages.items()):
        lay(tmp_path / str(i), {**pickles(), "data_batch_2": damage})
        with pytest.raises(UsageError, match="data_batch_2") as caught:
            colour.cifar10(root=str(tmp_path / str(i)), **KEYS)
        assert message in str(caught.value) or message == "code"
    assert not (tmp_path / "written").exists()


def test_cifar10_is_downloaded_unpacked_and_kept_inside_its_folder(tmp_path, monkeypatch):
    archive = tarred(pickles())
    with server({"/cifar-10-python.tar.gz": archive}) as (address, asked):
        monkeypatch.setattr(colour, "CIFAR10_ARCHIVE", Remote("cifar-10-python.tar.gz", md5(archive), [address]))
        for _ in range(2):
            assert len(colour.cifar10(root=str(tmp_path / "a" / "b"), **KEYS).train) == 45
        assert len(asked) == 1
    assert listing(tmp_path) == {f"a/b/cifar-10-batches-py/{name}" for name in colour._CIFAR10_FILES}


def test_cifar10_unpacks_an_archive_that_lies_there(tmp_path, monkeypatch):
    archive = tarred(pickles())
    monkeypatch.setattr(colour, "CIFAR10_ARCHIVE", Remote("cifar-10-python.tar.gz", md5(archive), []))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive)
    assert len(colour.cifar10(root=str(tmp_path), **KEYS).train) == 45
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cifar-10-python.tar.gz").write_bytes(archive[:-9])
    with pytest.raises(UsageError, match="wrong checksum"):
        colour.cifar10(root=str(tmp_path / "other"), **KEYS)


def test_offline_says_what_should_lie_where(tmp_path, monkeypatch):
    monkeypatch.setattr(colour, "CIFAR10_ARCHIVE", Remote("cifar-10-python.tar.gz", "", ["http://127.0.0.1:1"]))
    monkeypatch.setattr(colour, "SVHN_FILES", (Remote("train_32x32.mat", "", ["http://127.0.0.1:1"]),))
    for read, file in ((colour.cifar10, "data_batch_1"), (colour.svhn, "train_32x32.mat")):
        with pytest.raises(UsageError, match=f"put .*{file}.* into {tmp_path}.*dataset=digits needs no download"):
            read(root=str(tmp_path), **KEYS)


@pytest.mark.parametrize("is_zipped", [True, False])
def test_cifar10_reads_jpegs_once(tmp_path, monkeypatch, is_zipped, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cifar10-jpg"
    for split, count in (("train", 3), ("test", 1)):
        for label in ("truck", "cat", "airplane"):
            for i in range(count):
                picture(folder / split / label / f"{i:04}.jpg", 32, 32, seed=i)
    if is_zipped:
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for path in sorted(folder.rglob("*.jpg")):
                archive.write(path, path.relative_to(folder))
                path.unlink()
        (tmp_path / "images.zip").rename(folder / "cifar10-jpg.zip")
    for _ in range(2):
        data = colour.cifar10(root=str(tmp_path), **{**KEYS, "validation": 0.0})
        assert data.train.y.tolist() == [0, 0, 0, 3, 3, 3, 9, 9, 9] and data.test.y.tolist() == [0, 3, 9]
        assert data.space.shape == (3, 32, 32) and data.space.classes == 10
        assert torch.equal(data.train.x[0], data.test.x[0])  # the same seed drew both
    assert capsys.readouterr().err.count("decoding") == 1


def mat(path, labels, shape=(32, 32, 3)) -> None:
    from scipy.io import savemat

    pixels = np.random.default_rng(0).integers(0, 256, (*shape, len(labels)), dtype=np.uint8)
    savemat(path, {"X": pixels, "y": np.array(labels, np.uint8)[:, None]})


def test_svhn_calls_the_digit_ten_zero(tmp_path):
    mat(tmp_path / "train_32x32.mat", [1, 10, 9, 10])
    mat(tmp_path / "test_32x32.mat", [2, 10])
    data = colour.svhn(root=str(tmp_path), **{**KEYS, "validation": 0.0})
    assert data.train.y.tolist() == [1, 0, 9, 0] and data.test.y.tolist() == [2, 0]
    assert data.space.shape == (3, 32, 32)


def test_svhn_refuses_damage(tmp_path):
    mat(tmp_path / "train_32x32.mat", [1, 2])
    mat(tmp_path / "test_32x32.mat", [1, 12])
    with pytest.raises(UsageError, match=r"test_32x32.mat: label 12 of example 1"):
        colour.svhn(root=str(tmp_path), **KEYS)
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"train_32x32.mat: .*damaged"):
        colour.svhn(root=str(tmp_path), **KEYS)


def test_files_and_checksums_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets")
    assert datasets.CIFAR10.tgz_md5 == colour.CIFAR10_ARCHIVE.md5
    assert datasets.CIFAR10.base_folder == colour._CIFAR10_FOLDER
    theirs = {tuple(datasets.SVHN.split_list[split][1:]) for split in ("train", "test")}
    assert {(remote.name, remote.md5) for remote in colour.SVHN_FILES} == theirs
