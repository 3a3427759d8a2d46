"""Colour images that come as known files: CIFAR-10 and SVHN, held in memory as uint8."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from pydantic import NonNegativeInt
from torch import Tensor

from gentool.data.binarise import Binarize
from gentool.data.dataset import Dataset, Share, Table, image_dataset
from gentool.data.download import Remote, downloaded, offline_advice, place
from gentool.data.facts import check_labels
from gentool.data.flips import Flip, flipped
from gentool.data.places import cache_folder, data_root
from gentool.data.progress import progress
from gentool.errors import UsageError

CIFAR10_ARCHIVE = Remote(
    "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", ("https://www.cs.toronto.edu/~kriz",)
)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SVHN_FILES = tuple(
    Remote(name, md5, ("http://ufldl.stanford.edu/housenumbers",))
    for name, md5 in (
        ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
        ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
    )
)
_CIFAR10_FOLDER = "cifar-10-batches-py"
_CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def cifar10(
    *,
    root: str | None = None,
    flip: Flip = "none",
    binarize: Binarize = "none",
    validation: Share = 0.1,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Read CIFAR-10: 50,000 + 10,000 photographs, 32 x 32, colour.

    The files are the original pickles in `cifar-10-batches-py`, or else the same images as JPEG (so not bit-identical)
    in `cifar10-jpg`, a folder or a zip file, as `train|test/<class>/*.jpg`.

    Args:
        root: folder that holds cifar-10-batches-py, or cifar10-jpg; None: this user's cache.
        flip: none, or horizontal (half of the training images mirrored left to right, afresh at each visit).
        binarize: none, static (drawn once), dynamic (drawn afresh each visit), threshold (above half).
        validation: fraction of the training images held out to choose the best checkpoint; 0 = none, train on all.
        seed: of the split and of fixed binarisation.

    Returns:
        The dataset; its labels are the alphabetical places of the class names.
    """
    base = data_root(root)
    pickles = [base / _CIFAR10_FOLDER / name for name in _CIFAR10_FILES]
    folder = base / "cifar10-jpg"
    jpegs = [path for path in (folder / "cifar10-jpg.zip", base / "cifar10-jpg.zip", folder) if path.exists()]
    if not all(path.is_file() for path in pickles) and jpegs:
        train, test = _read_jpegs(jpegs[0])
    else:
        _fetch_cifar10(base)
        batches = [_read_pickle(path) for path in pickles]
        train, test = _joined(batches[:-1]), batches[-1]
    data = image_dataset(
        train,
        test,
        levels=256,
        classes=10,
        class_names=CIFAR10_CLASSES,
        binarize=binarize,
        validation=validation,
        test_share=0.0,
        seed=seed,
    )
    return flipped(data, flip)


def svhn(
    *, root: str | None = None, binarize: Binarize = "none", validation: Share = 0.1, seed: NonNegativeInt = 0
) -> Dataset:
    """Read SVHN: 73,257 + 26,032 photographed house numbers, 32 x 32, colour.

    The digit 0, which the files label 10, is class 0.

    Args:
        root: folder that holds train_32x32.mat and test_32x32.mat; None: this user's cache.
        binarize: none, static (drawn once), dynamic (drawn afresh each visit), threshold (above half).
        validation: fraction of the training images held out to choose the best checkpoint; 0 = none, train on all.
        seed: of the split and of fixed binarisation.

    Returns:
        The dataset.
    """
    base = data_root(root)
    advice = offline_advice("svhn", base, [remote.name for remote in SVHN_FILES])
    for remote in SVHN_FILES:
        if not (base / remote.name).is_file():
            with downloaded(remote, base, advice) as file:
                place(file, base / remote.name)
    train, test = (_read_mat(base / remote.name) for remote in SVHN_FILES)
    return image_dataset(
        train, test, levels=256, classes=10, binarize=binarize, validation=validation, test_share=0.0, seed=seed
    )


def _fetch_cifar10(base: Path) -> None:
    """Make the pickles be there, from an archive that lies below the root or from the network."""
    missing = [name for name in _CIFAR10_FILES if not (base / _CIFAR10_FOLDER / name).is_file()]
    archive = base / CIFAR10_ARCHIVE.name
    if missing and archive.is_file():
        with archive.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != CIFAR10_ARCHIVE.md5:
                raise UsageError(f"{archive}: wrong checksum, truncated or damaged; delete it to download it again")
            file.seek(0)
            _unpack(file, base, missing)
    elif missing:
        wanted = [f"{_CIFAR10_FOLDER}/{name}" for name in _CIFAR10_FILES] + [f"or {archive.name}", "or cifar10-jpg.zip"]
        with downloaded(CIFAR10_ARCHIVE, base, offline_advice("cifar10", base, wanted)) as file:
            _unpack(file, base, missing)


def _unpack(archive: IO[bytes], base: Path, names: list[str]) -> None:
    with tarfile.open(fileobj=archive, mode="r:gz") as files:
        for member in files:
            name = Path(member.name).name
            stream = files.extractfile(member) if name in {*names, "batches.meta"} else None
            if stream is not None:  # by our own names, whatever paths the archive holds
                place(stream, base / _CIFAR10_FOLDER / name)


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles arrays and plain types only, so that a foreign file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what rebuilds numpy arrays, refuse all else."""
        if (module.removeprefix("numpy._core.").removeprefix("numpy.core."), name) == ("multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2 to read
            return lambda text, encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _read_pickle(path: Path) -> Table:
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        x = np.asarray(content["data"], np.uint8).reshape(-1, 3, 32, 32)
        y = torch.as_tensor(content["labels"], dtype=torch.int64)
    except (OSError, EOFError, pickle.UnpicklingError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{path}: not a batch of CIFAR-10, truncated or damaged ({error}); delete it") from error
    check_labels(y, len(x), 10, str(path))
    return Table(torch.from_numpy(x.copy()), y)


def _read_mat(path: Path) -> Table:
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        content = loadmat(str(path))
        x = torch.from_numpy(np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1)))
        y = torch.from_numpy(content["y"].astype(np.int64)).flatten()
    except Exception as error:  # a damaged file makes scipy raise almost anything, zlib.error among it
        raise UsageError(f"{path}: not a file of SVHN, truncated or damaged ({error}); delete it") from error
    if x.shape[1:] != (3, 32, 32) or x.dtype != torch.uint8 or not len(x):
        raise UsageError(f"{path}: expected uint8 images of 32 x 32 in colour, found {x.dtype} {tuple(x.shape)}")
    y = torch.where(y == 10, 0, y)
    check_labels(y, len(x), 10, str(path))
    return Table(x, y)


def _read_jpegs(source: Path) -> tuple[Table, Table]:
    """Decode the JPEG images once, and keep them in this user's cache for the next time."""
    if source.is_dir():
        paths = sorted(source.glob("*/*/*.jpg"))
        stamp = repr([(str(path), path.stat().st_mtime_ns) for path in paths])
        return _kept({str(path.relative_to(source)): path.read_bytes for path in paths}, source, stamp)
    try:
        with zipfile.ZipFile(source) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
            stamp = f"{source.resolve()} {source.stat().st_mtime_ns} {source.stat().st_size}"
            return _kept({name: partial(archive.read, name) for name in names}, source, stamp)
    except zipfile.BadZipFile as error:
        raise UsageError(f"{source}: not a zip file, truncated or damaged ({error})") from error


def _kept(readers: Mapping[str, Callable[[], bytes]], source: Path, stamp: str) -> tuple[Table, Table]:
    """Return the training and test images; each kept row is one byte is_test, one byte label, the pixels."""
    kept = cache_folder() / "cifar10-jpg" / f"{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.npy"
    if not kept.is_file():
        buffer = io.BytesIO()
        np.save(buffer, _decode(readers, source))
        buffer.seek(0)
        place(buffer, kept)
    rows = torch.from_numpy(np.load(kept, allow_pickle=False))
    train, test = (rows[rows[:, 0] == is_test] for is_test in (0, 1))
    return (
        Table(train[:, 2:].reshape(-1, 3, 32, 32), train[:, 1].long()),
        Table(test[:, 2:].reshape(-1, 3, 32, 32), test[:, 1].long()),
    )


def _decode(readers: Mapping[str, Callable[[], bytes]], source: Path) -> Any:
    from PIL import Image

    rows = np.empty((len(readers), 2 + 3 * 32 * 32), np.uint8)
    with progress(f"decoding {source.name}, once", len(readers)) as advance:
        for row, (name, read) in zip(rows, readers.items(), strict=True):
            try:
                split, label = Path(name).parts[-3:-1]
                row[:2] = ("train", "test").index(split), CIFAR10_CLASSES.index(label)
                row[2:] = np.asarray(Image.open(io.BytesIO(read())).convert("RGB")).transpose(2, 0, 1).reshape(-1)
            except (OSError, ValueError, SyntaxError, zipfile.BadZipFile) as error:
                raise UsageError(f"{source}: {name} is not an image of CIFAR-10 ({error})") from error
            advance(1)
    if len(set(rows[:, 0].tolist())) < 2:
        raise UsageError(f"{source}: expected train/<class>/*.jpg and test/<class>/*.jpg, found {len(rows)} images")
    return rows


def _joined(tables: list[Table]) -> Table:
    return Table(torch.cat([table.x for table in tables]), torch.cat([cast(Tensor, table.y) for table in tables]))
