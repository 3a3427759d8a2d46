"""Folders of images: layouts, sizes and modes, what is refused by name, and the cache that decodes once."""

import numpy as np
import pytest
import torch
from PIL import Image

from gentool.data import folder as folders
from gentool.data.batches import Batches, ordered
from gentool.data.folder import image_folder
from gentool.data.pixels import Pixels
from gentool.errors import RunError, UsageError
from tests.data.files import picture


@pytest.fixture
def read(tmp_path):
    def read(path, **changes):
        keys = {
            "size": None, "resize": "crop", "mode": None, "binarize": "none", "validation": 0.1, "test": 0.1, "seed": 0,
            "cache": str(tmp_path / "cache"), "workers": 2,
        }  # fmt: skip
        return image_folder(path=str(path), **{**keys, **changes})

    return read


def classes(folder, count=10, names=("cat", "dog"), **how):
    pixels = {}
    for k, name in enumerate(names):
        for i in range(count):
            path = folder / name / f"{i}.png"
            pixels[path] = picture(path, seed=100 * k + i, **how)
    return pixels


def everything(data):
    return [
        torch.cat([batch.x for batch in ordered(split, 7, 0)])
        for split in (data.train, data.valid, data.test)
        if len(split)
    ]


def test_classes_from_folders(tmp_path, read):
    pixels = classes(tmp_path / "d", height=5, width=6)
    data = read(tmp_path / "d")
    assert [len(split) for split in (data.train, data.valid, data.test)] == [16, 2, 2]
    assert data.space.shape == (3, 5, 6) and data.space.levels == 256 and data.space.classes == 2
    assert float(data.space.frequencies.sum()) == pytest.approx(1)
    truth = {
        tuple(x.transpose(2, 0, 1).flatten().tolist()): int(path.parent.name == "dog") for path, x in pixels.items()
    }
    seen = 0
    for split in (data.train, data.valid, data.test):
        for batch in ordered(split, 3, 0):
            data.space.check(batch.x)
            for x, y in zip(batch.x, batch.y, strict=True):
                assert truth[tuple(x.flatten().tolist())] == int(y)
                seen += 1
    assert seen == len(truth)


def test_splits_of_its_own(tmp_path, read):
    classes(tmp_path / "d" / "train")
    test = classes(tmp_path / "d" / "test", count=4)
    data = read(tmp_path / "d")
    assert [len(split) for split in (data.train, data.valid, data.test)] == [18, 2, 8]
    shown = everything(data)[2].numpy()
    assert np.array_equal(shown, np.stack([x.transpose(2, 0, 1) for x in test.values()]))
    classes(tmp_path / "d" / "val", count=3)
    data = read(tmp_path / "d")
    assert [len(split) for split in (data.train, data.valid, data.test)] == [20, 6, 8]


def test_a_class_may_be_called_train(tmp_path, read):
    classes(tmp_path / "d", names=("car", "train"))
    assert read(tmp_path / "d").space.classes == 2


def test_a_flat_folder_has_no_labels(tmp_path, read):
    for i in range(10):
        picture(tmp_path / "d" / f"{i}.png", mode="L", seed=i)
    (tmp_path / "d" / "notes.txt").write_text("not an image")
    data = read(tmp_path / "d")
    assert data.space.classes == 0 and data.space.shape == (1, 8, 8)
    assert next(ordered(data.train, 3, 0)).y is None


@pytest.mark.parametrize(
    "keys, shape",
    [
        ({"size": 6}, (3, 6, 6)),
        ({"size": [4, 6]}, (3, 4, 6)),
        ({"size": 6, "resize": "stretch"}, (3, 6, 6)),
        ({"size": 6, "resize": "none"}, (3, 6, 6)),
        ({"size": 32, "mode": "grey"}, (1, 32, 32)),
    ],
)
def test_any_size_is_brought_to_one(tmp_path, read, keys, shape):
    for i, (height, width) in enumerate([(8, 8), (12, 7), (9, 20), (40, 6), (6, 6), (10, 10)]):
        picture(tmp_path / "d" / f"{i}.png", height, width, seed=i)
    data = read(tmp_path / "d", **keys)
    assert data.space.shape == shape and sum(len(part) for part in everything(data)) == 6


def test_resizing_keeps_what_it_should():
    left_to_right = Image.fromarray(np.tile(np.arange(0, 200, 5, dtype=np.uint8), (20, 1)))  # 40 wide, 20 high
    crop = np.asarray(folders._fitted(left_to_right, 10, 10, "crop")).astype(int)
    stretch = np.asarray(folders._fitted(left_to_right, 10, 10, "stretch")).astype(int)
    cut = np.asarray(folders._fitted(left_to_right, 10, 10, "none")).astype(int)
    assert crop[0, 0] == pytest.approx(50, abs=8) and crop[0, -1] == pytest.approx(145, abs=8)  # the middle half
    assert stretch[0, 0] < 15 and stretch[0, -1] > 180  # all of it
    assert cut[0, 0] == 75 and cut[0, -1] == 120  # the middle ten columns, as they are


def test_every_mode_becomes_grey_or_rgb(tmp_path, read):
    (tmp_path / "d").mkdir()
    colours = Image.fromarray(np.full((8, 8, 3), (200, 100, 0), np.uint8))
    for mode in ("RGB", "RGBA", "P", "CMYK"):
        colours.convert(mode).save(tmp_path / "d" / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}")
    data = read(tmp_path / "d", test=0.0, validation=0.0)
    assert data.space.shape == (3, 8, 8)
    for x in everything(data)[0]:
        assert (x[:, 0, 0].int() - torch.tensor([200, 100, 0])).abs().max() <= 4  # P has a palette of its own
    (tmp_path / "g").mkdir()
    Image.fromarray(np.full((8, 8), 0xC0FF, np.uint16)).save(tmp_path / "g" / "deep.png")
    Image.fromarray(np.full((8, 8), 0xC0, np.uint8)).save(tmp_path / "g" / "flat.png")
    Image.fromarray(np.full((8, 8), 0xC0, np.uint8)).convert("LA").save(tmp_path / "g" / "alpha.png")
    data = read(tmp_path / "g", test=0.0, validation=0.0)
    assert data.space.shape == (1, 8, 8) and set(everything(data)[0].unique().tolist()) == {0xC0}


def test_a_photograph_is_set_upright(tmp_path, read):
    (tmp_path / "d").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    left_white = np.zeros((16, 32, 3), np.uint8)
    left_white[:, :16] = 255
    for i in range(3):
        Image.fromarray(left_white).save(tmp_path / "d" / f"{i}.jpg", exif=exif)
    data = read(tmp_path / "d", test=0.0)
    assert data.space.shape == (3, 32, 16)
    upright = everything(data)[0][0].float()
    assert upright[:, :14].mean() > 230 and upright[:, 18:].mean() < 25  # left has become top


def damaged(make):
    def apply(folder):
        classes(folder, count=3)
        make(folder)

    return apply


def halved(folder):
    path = folder / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:80])


def halved_jpeg(folder):
    path = folder / "dog" / "9.jpg"
    picture(path, 8, 8)
    path.write_bytes(path.read_bytes()[:-60])


@pytest.mark.parametrize(
    "make, message",
    [
        (halved, r"dog/1.png: not a readable image .*truncated"),
        (halved_jpeg, r"dog/9.jpg: not a readable image .*[Tt]runcated"),
        (lambda f: (f / "cat" / "2.png").write_bytes(b""), r"cat/2.png: not a readable image"),
        (lambda f: (f / "cat" / "2.png").write_bytes(b"<html>"), r"cat/2.png: not a readable image"),
        (
            lambda f: picture(f / "dog" / "2.png", 9, 8),
            r"dog/2.png: 9 x 8 pixels, where .*cat/0.png has 8 x 8; set dataset.size",
        ),
        (
            lambda f: picture(f / "dog" / "2.png", 8, 8, "L"),
            r"dog/2.png: grey, where .*cat/0.png is rgb; set dataset.mode",
        ),
        (lambda f: (f / "emu").mkdir(), r"emu: the class holds no images"),
        (lambda f: picture(f / "loose.png"), r"loose.png: an image beside the class folders cat, dog"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, read, make, message):
    damaged(make)(tmp_path / "d")
    with pytest.raises(UsageError, match=message) as caught:
        read(tmp_path / "d")
    assert "\n" not in str(caught.value)


def test_folders_that_hold_nothing_are_refused(tmp_path, read):
    with pytest.raises(UsageError, match="there is no such folder"):
        read(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no images"):
        read(tmp_path / "empty")
    classes(tmp_path / "d" / "train")
    classes(tmp_path / "d" / "test", names=("cat", "emu"))
    with pytest.raises(UsageError, match="emu: the training images have no such class, only cat, dog"):
        read(tmp_path / "d")
    classes(tmp_path / "s")
    with pytest.raises(UsageError, match=r"dataset.resize=none needs 9 x 9"):
        read(tmp_path / "s", size=9, resize="none")


@pytest.mark.parametrize("is_measured", [True, False])
def test_damage_that_only_decoding_finds_is_named(tmp_path, read, monkeypatch, is_measured):
    """At the start where the file is among those the scale is measured on, else when its batch comes."""
    classes(tmp_path / "d", count=3)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(folders, "MEASURED", 1)
    row = int(order[0 if is_measured else -1])
    path = tmp_path / "d" / ("cat", "dog")[row // 3] / f"{row % 3}.png"
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 255  # header and end are whole
    path.write_bytes(content)
    with pytest.raises(UsageError if is_measured else RunError, match=f"{path}: cannot be decoded"):
        everything(read(tmp_path / "d", test=0.0, validation=0.0))


def test_batches_are_those_of_memory_and_files_are_decoded_once(tmp_path, read, monkeypatch):
    classes(tmp_path / "d", count=20)
    decoded = []
    original = folders._Reader.__call__
    monkeypatch.setattr(folders._Reader, "__call__", lambda self, row: (decoded.append(row), original(self, row))[1])
    first, second = (Batches(read(tmp_path / "d").train, 6, seed=1) for _ in range(2))
    drawn = [next(first) for _ in range(12)]
    for batch in drawn:
        again = next(second)
        assert torch.equal(again.x, batch.x) and torch.equal(again.y, batch.y) and torch.equal(again.index, batch.index)
    assert sorted(set(decoded)) == sorted(decoded) or len(decoded) <= 2 * len(set(decoded))
    everything(read(tmp_path / "d"))
    decoded.clear()
    everything(read(tmp_path / "d"))  # the first pass has been noted on disk
    assert decoded == []


def test_a_changed_file_is_read_anew(tmp_path, read):
    classes(tmp_path / "d", count=3)
    before = everything(read(tmp_path / "d", test=0.0, validation=0.0))[0]
    picture(tmp_path / "d" / "cat" / "0.png", seed=99)
    after = everything(read(tmp_path / "d", test=0.0, validation=0.0))[0]
    assert not torch.equal(before[0], after[0]) and torch.equal(before[1:], after[1:])


def test_a_note_of_what_is_done_that_lies_is_not_believed(tmp_path, read):
    """A cache cut short, as by a full disk, is made anew; rows never noted as done are decoded again."""
    classes(tmp_path / "d", count=3)
    truth = everything(read(tmp_path / "d", test=0.0, validation=0.0))[0]
    cache = next((tmp_path / "cache").iterdir())
    for damage in (b"short", bytes(100_000)):
        (cache / "pixels.u8").write_bytes(damage)
        assert torch.equal(everything(read(tmp_path / "d", test=0.0, validation=0.0))[0], truth)
    (cache / "pixels.u8").write_bytes(bytes((cache / "pixels.u8").stat().st_size))
    assert torch.equal(everything(read(tmp_path / "d", test=0.0, validation=0.0))[0], truth)


@pytest.mark.parametrize("locks", [True, False])
def test_two_that_find_no_cache_at_once_lose_and_poison_nothing(tmp_path, monkeypatch, locks):
    """Each looked before the other made one. With locks the second takes the first's; without, it makes its own."""
    folder, rows = tmp_path / "c", torch.arange(6)
    truth = torch.randint(1, 256, (6, 3, 4, 5), dtype=torch.uint8)

    def made(how):
        pixels = how()
        pixels.read = lambda row: truth[row].numpy()
        return pixels

    first = made(lambda: Pixels.created(folder, 6, (3, 4, 5), workers=1))
    assert torch.equal(first.take(rows[:3]), truth[:3])
    with monkeypatch.context() as patch:
        if not locks:
            patch.setattr(Pixels, "opened", lambda *args: None)
        second = made(lambda: Pixels.created(folder, 6, (3, 4, 5), workers=1))
    assert torch.equal(first.take(rows), truth)  # all of it, so that it is noted as done
    for pixels in (second, made(lambda: Pixels.opened(folder, 6, workers=1)), first):
        assert torch.equal(pixels.take(rows), truth)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "pixels.u8", "shape.json"]


def test_no_room_for_the_cache_is_said(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gentool.data.pixels.os.posix_fallocate", full)
    with pytest.raises(RunError, match=r"no room for 0 MB .*No space left on device.*dataset.cache"):
        Pixels.created(tmp_path / "c", 10, (1, 4, 4), workers=1)
    assert not (tmp_path / "c" / "pixels.u8").exists()


@pytest.mark.parametrize("how", ["static", "dynamic", "threshold"])
def test_streams_are_binarised_as_memory_is(tmp_path, read, how):
    classes(tmp_path / "d", count=10)
    data = read(tmp_path / "d", binarize=how, validation=0.2)
    assert data.space.levels == 2

    def visit(split, seed, size):
        return torch.cat([batch.x for batch in ordered(split, size, seed)])

    assert set(visit(data.train, 0, 5).unique().tolist()) == {0, 1}
    assert torch.equal(visit(data.train, 0, 5), visit(data.train, 0, 3))
    assert torch.equal(visit(data.train, 0, 5), visit(data.train, 1, 5)) == (how != "dynamic")
    assert torch.equal(visit(data.valid, 0, 5), visit(data.valid, 1, 2))


def test_handing_back_pages_loses_nothing(tmp_path, read, monkeypatch):
    classes(tmp_path / "d", count=10)
    truth = everything(read(tmp_path / "d"))
    monkeypatch.setattr("gentool.data.pixels._RESIDENT", 100)
    for a, b in zip(truth, everything(read(tmp_path / "d", cache=str(tmp_path / "other"))), strict=True):
        assert torch.equal(a, b)
