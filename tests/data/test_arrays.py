"""Numpy files of the user's own: the shapes that are read, and the first offender of those that are not."""

import numpy as np
import pytest
import torch

from gentool.data.arrays import array, image_array
from gentool.errors import UsageError
from tests.data.files import npz

SPLIT = {"label": None, "validation": 0.1, "test": 0.1, "seed": 0}
IMAGES = {"validation": 0.1, "test": 0.1, "seed": 0, "levels": None, "channels": None, "binarize": "none"}


def points(n: int = 50, d: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(2, 3, (n, d))


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_points_with_labels(tmp_path):
    x, y = points(), np.arange(50) % 4
    data = array(path=npz(tmp_path / "a.npz", x=x, y=y), **SPLIT)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [40, 5, 5]
    assert data.space.shape == (3,) and data.space.levels is None and data.space.classes == 4 and data.density is None
    torch.testing.assert_close(data.space.loc, data.train.x.mean(0))
    torch.testing.assert_close(data.space.scale, data.train.x.std(0, correction=0))
    together = torch.cat([data.train.x, data.valid.x, data.test.x])
    assert torch.equal(together.sort(0).values, torch.from_numpy(np.sort(x.astype(np.float32), 0)))


def test_points_without_labels_numbers_and_a_constant_column(tmp_path):
    np.save(tmp_path / "a.npy", points())
    assert array(path=str(tmp_path / "a.npy"), **SPLIT).space.classes == 0
    np.save(tmp_path / "b.npy", np.arange(50))
    data = array(path=str(tmp_path / "b.npy"), **SPLIT)
    assert data.space.shape == (1,) and data.train.x.dtype == torch.float32
    np.save(tmp_path / "c.npy", np.ones((50, 2)))
    space = array(path=str(tmp_path / "c.npy"), **SPLIT).space
    assert space.loc.tolist() == [1, 1] and space.scale.tolist() == pytest.approx([1e-5, 1e-5])


@pytest.mark.parametrize(
    "shape, expected",
    [((50, 5, 6), (1, 5, 6)), ((50, 5, 6, 3), (3, 5, 6)), ((50, 3, 5, 6), (3, 5, 6)), ((50, 1, 5, 6), (1, 5, 6))],
)
def test_images_of_every_layout(tmp_path, shape, expected):
    x = pixels(*shape)
    data = image_array(path=npz(tmp_path / "a.npz", x=x), **{**IMAGES, "validation": 0.0, "test": 0.0})
    assert data.space.shape == expected and data.space.levels == 256 and len(data.train) == 50
    first = x[0].transpose(2, 0, 1) if shape[-1] == 3 else x[0].reshape(expected)
    assert torch.equal(data.train.x[0], torch.from_numpy(first.copy()))


def test_an_axis_that_is_not_clear_is_asked_for(tmp_path):
    path = npz(tmp_path / "a.npz", x=pixels(50, 3, 5, 4))
    with pytest.raises(UsageError, match=r"set dataset.channels=first or last"):
        image_array(path=path, **IMAGES)
    assert image_array(path=path, **{**IMAGES, "channels": "last"}).space.shape == (4, 3, 5)
    assert image_array(path=path, **{**IMAGES, "channels": "first"}).space.shape == (3, 5, 4)


def test_levels_are_read_or_checked(tmp_path):
    binary = npz(tmp_path / "b.npz", x=pixels(50, 4, 4) % 2)
    assert image_array(path=binary, **IMAGES).space.levels == 2
    x = pixels(50, 4, 4) % 17
    x[0, 0, 0] = 16
    grey = npz(tmp_path / "g.npz", x=x)
    assert image_array(path=grey, **{**IMAGES, "levels": 17}).space.levels == 17
    with pytest.raises(UsageError, match=r"image 0 holds 16; expected 0..15"):
        image_array(path=grey, **{**IMAGES, "levels": 16})


def nan_at(row: int, column: int, value: float = np.nan) -> np.ndarray:
    x = points()
    x[row, column] = value
    return x


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x": nan_at(7, 1)}, r"x\[7, 1\] = nan is not a finite"),
        ({"x": nan_at(3, 2, np.inf)}, r"x\[3, 2\] = inf"),
        ({"x": nan_at(5, 0, 1e300)}, r"x\[5, 0\] = 1e\+300 is not a finite float32"),
        ({"x": np.zeros((0, 2))}, "at least one example"),
        ({"x": np.zeros((5, 0))}, "at least one example"),
        ({"x": np.zeros((5, 2, 2))}, r"expected \(n, d\)"),
        ({"x": np.array(["a", "b"])}, "expected .n, d. numbers"),
        ({"z": points()}, "holds z; expected an array named x"),
        ({"x": points(), "y": np.zeros(49, int)}, r"y has shape \(49,\)"),
        ({"x": points(), "y": np.zeros(50)}, "float64; expected .50,. integers or words"),
        ({"x": points(), "y": np.where(np.arange(50) == 9, -1, 0)}, "label -1 of example 9 lies outside"),
        ({"x": points(), "y": np.where(np.arange(50) == 9, 10**9, 0)}, "label 1000000000 of example 9"),
        ({"x": np.zeros((1, 2))}, "leave none for training"),
    ],
)
def test_bad_points_are_refused_with_the_first_offender(tmp_path, arrays, message):
    with pytest.raises(UsageError, match=message) as caught:
        array(path=npz(tmp_path / "a.npz", **arrays), **SPLIT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "x, message",
    [
        (points(50, 4).reshape(50, 2, 2), "type float64; expected uint8"),
        (pixels(50, 4), "expected .n, H, W."),
        (pixels(50, 5, 6, 7), "expected 1 to 4 channels"),
    ],
)
def test_bad_images_are_refused(tmp_path, x, message):
    with pytest.raises(UsageError, match=message):
        image_array(path=npz(tmp_path / "a.npz", x=x), **IMAGES)


def test_bad_files_are_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"dataset.path is not set"):
        array(path=None, **SPLIT)
    with pytest.raises(UsageError, match="there is no such file"):
        array(path=str(tmp_path / "none.npz"), **SPLIT)
    whole = npz(tmp_path / "a.npz", x=points())
    for damaged in (b"", b"text", (tmp_path / "a.npz").read_bytes()[:300]):
        (tmp_path / "bad.npz").write_bytes(damaged)
        with pytest.raises(UsageError, match=r"bad.npz: not a readable"):
            array(path=str(tmp_path / "bad.npz"), **SPLIT)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    (tmp_path / "words.dat").write_text("some text")
    for name in ("objects.npy", "objects.npz", "words.dat"):  # a pickle could run code
        for reader, keys in ((array, SPLIT), (image_array, IMAGES)):
            with pytest.raises(UsageError, match="not a readable") as caught:
                reader(path=str(tmp_path / name), **keys)
            assert "pickle" not in str(caught.value)
    with pytest.raises(UsageError, match="is a folder"):
        array(path=str(tmp_path), **SPLIT)
    assert len(array(path=whole, **SPLIT).train) == 40


def test_labels_may_be_words(tmp_path):
    y = np.array(["dog", "cat"])[np.arange(50) % 2]
    space = array(path=npz(tmp_path / "a.npz", x=points(), y=y), **SPLIT).space
    assert space.classes == 2 and space.class_names == ("cat", "dog")
    data = image_array(path=npz(tmp_path / "b.npz", x=pixels(50, 5, 5), y=y), **{**IMAGES, "validation": 0, "test": 0})
    assert data.space.class_names == ("cat", "dog") and data.train.y.tolist() == [1, 0] * 25
