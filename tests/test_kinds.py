"""The kind of data, found from a config and a header, is the kind of the dataset once it is built."""

import inspect
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from gentool.data import colour, images
from gentool.kinds import KINDS, kind_of, kind_of_space
from tests.data.files import idx, npz, picture
from tests.data.test_colour import lay, pickles

CONFIGS = Path(__file__).parents[1] / "configs" / "dataset"
OWN = ("array", "image_array", "image_folder", "text")  # of the user's own
NAMED = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem not in OWN)
POINTS = {"examples": 30}


def config(name: str, **changes: object) -> dict[str, object]:
    loaded = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"), resolve=True)
    assert isinstance(loaded, dict)
    return {str(key): value for key, value in loaded.items()} | changes


def agreed(dataset_config: dict[str, object]) -> str | None:
    """The kind by a glance, which must be the kind of the built dataset."""
    space = instantiate(dataset_config, _convert_="all").space
    kind = kind_of(dataset_config)
    assert kind == kind_of_space(space.shape, space.levels, space.vocabulary) and kind in KINDS
    return kind


def lay_named(root: Path) -> None:
    """Small files of every dataset that lies below a root."""
    pixels, labels = np.zeros((20, 28, 28), np.uint8), (np.arange(20) % 10).astype(np.uint8)
    emnist = [f"emnist-balanced-{s}-{k}-ubyte" for s in ("train", "test") for k in ("images-idx3", "labels-idx1")]
    for folder, names in [*((f.folder, f.files) for f in (images.MNIST, images.FASHION_MNIST, images.KMNIST)),
                          ("EMNIST/raw", emnist)]:  # fmt: skip
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).write_bytes(idx(pixels if "images" in name else labels))
    lay(root, pickles())
    for remote in colour.SVHN_FILES:
        y = np.arange(20)[:, None] % 10 + 1
        scipy.io.savemat(root / remote.name, {"X": np.zeros((32, 32, 3, 20), np.uint8), "y": y})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    lay_named(folder)
    return str(folder)


@pytest.mark.parametrize("name", NAMED)
def test_named_datasets(name, root):
    keys = inspect.signature(get_object(str(config(name)["_target_"]))).parameters
    changes = {"root": root} if "root" in keys else POINTS if "examples" in keys else {}
    kind = agreed(config(name, **changes))
    expected = {"digits": "small", "cifar10": "colour", "svhn": "colour", "shapes": "colour"}
    assert kind == expected.get(name, "grey" if "mnist" in name else "points")


@pytest.mark.parametrize("dims", [1, 2])
def test_numbers_are_points(dims):
    assert agreed(config("two_gaussians", dims=dims, **POINTS)) == "points"


@pytest.mark.parametrize(
    "shape, kind", [((50,), "points"), ((50, 3), "points"), ((50, 4), "table"), ((50, 200), "table")]
)
def test_arrays(tmp_path, shape, kind):
    x = np.random.default_rng(0).normal(size=shape)
    np.save(tmp_path / "a.npy", x)
    np.savez_compressed(tmp_path / "a.npz", y=np.zeros(50, int), x=x)
    assert agreed(config("array", path=str(tmp_path / "a.npy"))) == kind
    assert agreed(config("array", path=str(tmp_path / "a.npz"))) == kind


@pytest.mark.parametrize(
    "shape, channels, kind",
    [
        ((20, 8, 40), None, "small"),
        ((20, 16, 16), None, "grey"),
        ((20, 40, 30, 1), None, "grey"),
        ((20, 3, 30, 40), None, "colour"),
        ((20, 47, 60, 3), None, "colour"),
        ((20, 48, 60, 3), None, "large"),
        ((20, 48, 64), None, "large"),
        ((20, 3, 20, 4), "first", "small"),
        ((20, 3, 20, 4), "last", "small"),
    ],
)
def test_image_arrays(tmp_path, shape, channels, kind):
    path = npz(tmp_path / "a.npz", x=np.zeros(shape, np.uint8))
    assert agreed(config("image_array", path=path, channels=channels)) == kind


@pytest.mark.parametrize(
    "size, mode, layout, kind",
    [
        (None, None, "{i}.png", "colour"),
        (None, "grey", "{i}.png", "grey"),
        (12, None, "cat/{i}.png", "small"),
        ([64, 50], None, "train/cat/{i}.png", "large"),
        ([64, 30], None, "train/cat/{i}.png", "colour"),
        ([64, 30], "grey", "train/cat/{i}.png", "grey"),
    ],
)
def test_image_folders(tmp_path, size, mode, layout, kind):
    for i in range(10):
        picture(tmp_path / "images" / layout.format(i=i), 40, 20)
    (tmp_path / "images" / ".hidden").mkdir()
    changes = {"path": str(tmp_path / "images"), "size": size, "mode": mode, "cache": str(tmp_path / "cache")}
    assert agreed(config("image_folder", **changes)) == kind


def test_a_grey_folder_and_options_that_are_left_out(tmp_path):
    picture(tmp_path / "a.png", 30, 30, "L")
    assert kind_of({"_target_": "gentool.data.folder.image_folder", "path": str(tmp_path)}) == "grey"
    assert kind_of({"_target_": "gentool.data.toy.two_gaussians"}) == "points"
    assert kind_of({"_target_": "gentool.data.shapes.shapes", "size": 64}) == "large"


def test_text(tmp_path):
    (tmp_path / "a.txt").write_text("to be or not to be " * 100)
    assert agreed(config("text", path=str(tmp_path / "a.txt"), context=16)) == "text"
    assert kind_of_space((16,), 5, ()) == "table"  # integers that no vocabulary names


def test_text_tables(tmp_path):
    (tmp_path / "named.csv").write_text("a,b,c,kind\n1,2,3,x\n")
    (tmp_path / "bare.tsv").write_text("1\t2\t3\t4\n1\t2\t3\t4\n")
    named, bare = (
        {"_target_": "gentool.data.arrays.array", "path": str(tmp_path / n)} for n in ("named.csv", "bare.tsv")
    )
    assert kind_of(named) == "table" and kind_of({**named, "label": "kind"}) == "points"
    assert kind_of(bare) == "table" and kind_of({**bare, "label": 3}) == "points"


def test_what_cannot_be_read_has_no_kind(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "b.npz").write_bytes(Path(npz(tmp_path / "c.npz", other=np.zeros(3))).read_bytes())
    (tmp_path / "a.csv").write_bytes(b"")
    (tmp_path / "a.csvx").write_text("1,2")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_text("not an image")
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", "not an array")
    for path in (None, 3, str(tmp_path), *map(str, tmp_path.iterdir()), str(tmp_path / "absent")):
        for name in ("array", "image_array", "image_folder"):
            assert kind_of(config(name, path=path, size="abc")) is None, (name, path)
    assert kind_of({}) is None
    assert kind_of({"_target_": "elsewhere.data.mnist"}) is None
    assert kind_of({"_target_": "gentool.data.lattice.phi4"}) is None


def test_a_glance_imports_neither_torch_nor_numpy(tmp_path):
    picture(tmp_path / "a.png")
    code = (
        "import sys; from gentool.kinds import kind_of\n"
        f"kind_of({{'_target_': 'gentool.data.arrays.array', 'path': {npz(tmp_path / 'a.npz', x=np.zeros(3))!r}}})\n"
        "assert 'PIL' not in sys.modules\n"
        f"kind = kind_of({{'_target_': 'gentool.data.folder.image_folder', 'path': {str(tmp_path)!r}}})\n"
        "assert kind == 'small' and not {'torch', 'numpy', 'hydra'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
