"""Images that come as known files: scikit-learn's digits, and MNIST and its kin in the idx format.

The idx format: two zero bytes, a type byte (8: uint8), the number of axes, each length as a big-endian uint32,
the data.
"""

import gzip
import importlib.util
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
import torch
from pydantic import NonNegativeInt
from torch import Tensor

from gentool.data.binarise import Binarize
from gentool.data.dataset import Dataset, Share, Table, image_dataset
from gentool.data.download import Remote, downloaded, offline_advice, place
from gentool.data.facts import check_labels
from gentool.data.flips import Flip, flipped
from gentool.data.places import data_root
from gentool.errors import UsageError

EmnistSubset = Literal["balanced", "byclass", "bymerge", "digits", "letters", "mnist"]


@dataclass(frozen=True)
class IdxFiles:
    """A dataset of four idx files, in the order training images, training labels, test images, test labels.

    Attributes:
        name: of the dataset.
        folder: below the root, as torchvision has it.
        files: names without `.gz`.
        classes: number of classes.
        first_label: the label of class 0.
        remotes: the gzipped files on the network, in the same order; or one archive of them all.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    classes: int
    first_label: int
    remotes: tuple[Remote, ...]


_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _family(name: str, folder: str, mirrors: Sequence[str], sums: Sequence[str]) -> IdxFiles:
    remotes = tuple(Remote(f"{file}.gz", md5, mirrors) for file, md5 in zip(_FILES, sums, strict=True))
    return IdxFiles(name, folder, _FILES, 10, 0, remotes)


MNIST = _family(
    "mnist",
    "MNIST/raw",
    ("https://ossci-datasets.s3.amazonaws.com/mnist", "http://yann.lecun.com/exdb/mnist"),
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)
FASHION_MNIST = _family(
    "fashion_mnist",
    "FashionMNIST/raw",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
    ),
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)
KMNIST = _family(
    "kmnist",
    "KMNIST/raw",
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist",),
    (
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
)
EMNIST_ARCHIVE = Remote(
    "gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e", ("https://biometrics.nist.gov/cs_links/EMNIST",)
)
EMNIST_CLASSES: dict[EmnistSubset, int] = {
    "balanced": 47,
    "byclass": 62,
    "bymerge": 47,
    "digits": 10,
    "letters": 26,
    "mnist": 10,
}


def digits(
    *, binarize: Binarize = "none", validation: Share = 0.1, test: Share = 0.2, seed: NonNegativeInt = 0
) -> Dataset:
    """Read scikit-learn's 1,797 handwritten digits: 8 x 8 pixels, levels 0..16, 10 classes; nothing to download.

    Args:
        binarize: none, static (drawn once), dynamic (drawn afresh each visit), threshold (above half).
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
        seed: of the split and of fixed binarisation.

    Returns:
        The dataset; it has no split of its own, so one is cut by `seed`.
    """
    rows = torch.from_numpy(_digit_rows())
    table = Table(rows[:, :64].to(torch.uint8).reshape(-1, 1, 8, 8), rows[:, 64].long())
    return image_dataset(
        table, None, levels=17, classes=10, binarize=binarize, validation=validation, test_share=test, seed=seed
    )


def mnist(
    *, root: str | None = None, binarize: Binarize = "none", validation: Share = 0.1, seed: NonNegativeInt = 0
) -> Dataset:
    """Read MNIST: 60,000 + 10,000 handwritten digits, 28 x 28, grey.

    Args:
        root: folder that holds MNIST/raw; None: this user's cache.
        binarize: none, static (drawn once), dynamic (drawn afresh each visit), threshold (above half).
        validation: fraction of the training images held out to choose the best checkpoint; 0 = none, train on all.
        seed: of the split and of fixed binarisation.

    Returns:
        The dataset.
    """
    return _read(MNIST, root, binarize, validation, seed)


def fashion_mnist(
    *,
    root: str | None = None,
    flip: Flip = "none",
    binarize: Binarize = "none",
    validation: Share = 0.1,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Read Fashion-MNIST: 60,000 + 10,000 pieces of clothing, 28 x 28, grey.

    Args:
        root: folder that holds FashionMNIST/raw; None: this user's cache.
        flip: none, or horizontal (half of the training images mirrored left to right, afresh at each visit).
        binarize: none, static (drawn once), dynamic (drawn afresh each visit), threshold (above half).
        validation: fraction of the training images held out to choose the best checkpoint; 0 = none, train on all.
        seed: of the split and of fixed binarisation.

    Returns:
        The dataset.
    """
    return flipped(_read(FASHION_MNIST, root, binarize, validation, seed), flip)


def kmnist(
    *, root: str | None = None, binarize: Binarize = "none", validation: Share = 0.1, seed: NonNegativeInt = 0
) -> Dataset:
    """Read Kuzushiji-MNIST: 60,000 + 10,000 Japanese characters, 28 x 28, grey.

    Args:
        root: folder that holds KMNIST/raw; None: this user's cache.
        binarize: none, static (drawn once), dynamic (drawn afresh each visit), threshold (above half).
        validation: fraction of the training images held out to choose the best checkpoint; 0 = none, train on all.
        seed: of the split and of fixed binarisation.

    Returns:
        The dataset.
    """
    return _read(KMNIST, root, binarize, validation, seed)


def emnist(
    *,
    root: str | None = None,
    subset: EmnistSubset = "balanced",
    binarize: Binarize = "none",
    validation: Share = 0.1,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Read EMNIST: handwritten letters and digits, 28 x 28, grey, set upright (the files hold them transposed).

    Args:
        root: folder that holds EMNIST/raw; None: this user's cache.
        subset: balanced (47 classes), byclass (62), bymerge (47), digits (10), letters (26), mnist (10).
        binarize: none, static (drawn once), dynamic (drawn afresh each visit), threshold (above half).
        validation: fraction of the training images held out to choose the best checkpoint; 0 = none, train on all.
        seed: of the split and of fixed binarisation.

    Returns:
        The dataset; labels start at 0 in every subset.
    """
    names = tuple(f"emnist-{subset}-{s}-{k}-ubyte" for s in ("train", "test") for k in ("images-idx3", "labels-idx1"))
    first = 1 if subset == "letters" else 0
    files = IdxFiles("emnist", "EMNIST/raw", names, EMNIST_CLASSES[subset], first, (EMNIST_ARCHIVE,))
    return _read(files, root, binarize, validation, seed, is_transposed=True)


def read_idx(path: Path) -> Tensor:
    """Read an idx file of bytes, gzipped where its name ends in `.gz`.

    Args:
        path: the file.

    Returns:
        uint8 tensor of the shape the file states.

    Raises:
        UsageError: it is not such a file, or its length does not fit its header.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); delete it to download it again") from error
    axes = data[3] if len(data) > 3 else 0
    start = 4 + 4 * axes
    if data[:3] != b"\0\0\x08" or not 1 <= axes <= 4 or len(data) < start:
        raise UsageError(f"{path}: expected an idx file of bytes, found another or a truncated file")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", axes, 4))
    if len(data) - start != int(np.prod(shape)):
        raise UsageError(
            f"{path}: truncated or damaged, {len(data) - start:,} bytes of data where {shape} needs "
            f"{int(np.prod(shape)):,}; delete it to download it again"
        )
    return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8, offset=start).reshape(shape))


def _digit_rows() -> Any:
    """Return (1797, 65) numbers, 64 pixels and a label, without the second that importing scikit-learn takes."""
    spec = importlib.util.find_spec("sklearn")
    for package in (spec and spec.submodule_search_locations) or []:
        path = Path(package) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.column_stack([data.data, data.target])


def _read(
    files: IdxFiles, root: str | None, binarize: Binarize, validation: float, seed: int, is_transposed: bool = False
) -> Dataset:
    folder = data_root(root) / files.folder
    paths = _locate(files, folder)
    tables = []
    for images, labels in (paths[:2], paths[2:]):
        x, y = read_idx(images), read_idx(labels).long() - files.first_label
        if x.ndim != 3 or not len(x):
            raise UsageError(f"{images}: expected images of (n, height, width), found {tuple(x.shape)}")
        check_labels(y, len(x), files.classes, str(labels))
        tables.append(Table((x.transpose(1, 2).contiguous() if is_transposed else x)[:, None], y))
    if tables[0].x.shape[1:] != tables[1].x.shape[1:]:
        raise UsageError(f"{paths[2]}: images of {tuple(tables[1].x.shape[2:])}; {paths[0]} has another size")
    return image_dataset(
        tables[0],
        tables[1],
        levels=256,
        classes=files.classes,
        binarize=binarize,
        validation=validation,
        test_share=0.0,
        seed=seed,
    )


def _locate(files: IdxFiles, folder: Path) -> list[Path]:
    advice = offline_advice(files.name, folder, [f"{name}[.gz]" for name in files.files])
    missing = [name for name in files.files if _found(folder / name) is None]
    if len(files.remotes) == 1 and missing:
        with downloaded(files.remotes[0], folder, advice) as archive:
            _unpack(archive, folder, missing)
    for name, remote in zip(files.files, files.remotes, strict=False):
        if len(files.remotes) > 1 and name in missing:
            with downloaded(remote, folder, advice) as file, gzip.open(file) as plain:
                place(cast(IO[bytes], plain), folder / name)
    return [_found(folder / name) or folder / name for name in files.files]


def _found(path: Path) -> Path | None:
    zipped = path.with_name(f"{path.name}.gz")
    return path if path.is_file() else zipped if zipped.is_file() else None


def _unpack(archive: IO[bytes], folder: Path, wanted: Sequence[str]) -> None:
    """Lay down the files that are wanted; the other subsets stay gzipped, so that they need no second download."""
    with zipfile.ZipFile(archive) as files:
        for member in files.namelist():
            name = Path(member).name
            if not name.endswith(".gz"):
                continue
            with files.open(member) as stream:
                if name.removesuffix(".gz") in wanted:
                    with gzip.open(stream) as plain:
                        place(cast(IO[bytes], plain), folder / name.removesuffix(".gz"))
                else:
                    place(stream, folder / name)
