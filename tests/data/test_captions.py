"""Captions beside data: where they are read from, how words become tokens, and what is refused by name."""

import numpy as np
import pytest
import torch

from gentool.data import captions as module
from gentool.data.arrays import array, image_array
from gentool.data.batches import Batches, ordered
from gentool.data.captions import tokenise
from gentool.data.folder import image_folder
from gentool.data.shapes import shapes
from gentool.errors import UsageError
from gentool.space import DataSpace
from tests.data.files import npz, picture
from tests.spaces import space

TEXTS = ["A red disc", "a blue square, left of it", "a red disc"]


def test_words_are_numbered_in_order_and_padded():
    tokens, words = tokenise(TEXTS)
    assert words == ("", ",", "a", "blue", "disc", "it", "left", "of", "red", "square")
    assert tokens.tolist() == [[2, 8, 4, 0, 0, 0, 0], [2, 3, 9, 1, 6, 7, 5], [2, 8, 4, 0, 0, 0, 0]]
    assert tokenise([""])[0].tolist() == [[0]]


def captioned_images(tmp_path, **changes):
    x = np.arange(30, dtype=np.uint8)[:, None, None].repeat(5, 1).repeat(5, 2)  # each image tells its row
    caption = np.array([TEXTS[i % 2] for i in range(30)])
    return image_array(path=npz(tmp_path / "a.npz", x=x, y=np.arange(30) % 3, caption=caption), **changes)


def test_captions_come_before_labels_and_can_be_left_out(tmp_path):
    data = captioned_images(tmp_path)
    where = data.space
    assert where.condition == "tokens" and where.classes == 0 and where.frequencies.numel() == 0
    for batch in (next(Batches(data.train, 4, seed=0)), next(ordered(data.test, 3, seed=0))):
        assert batch.y is not None and batch.y.shape == (len(batch.x), 7) and batch.y.dtype == torch.int64
        rows = batch.x[:, 0, 0, 0].tolist()
        assert where.caption_texts(batch.y) == [("a red disc", "a blue square , left of it")[i % 2] for i in rows]
    plain = captioned_images(tmp_path, caption=None).space
    assert plain.condition == "labels" and plain.classes == 3 and plain.words == () and plain.captions.numel() == 0
    assert space((2,)).condition == "none"


def test_points_may_have_captions(tmp_path):
    caption = np.array(["left", "right"])[np.arange(30) % 2]
    x = np.stack([np.arange(30) % 2 * 2.0 - 1, np.arange(30.0)], 1)
    data = array(path=npz(tmp_path / "a.npz", x=x, caption=caption), validation=0.0, test=0.0)
    assert data.space.caption_texts(data.train.y) == caption.tolist()


def test_a_space_keeps_some_captions_and_survives_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 10)
    where = captioned_images(tmp_path).space
    assert where.captions.shape == (8, 7)
    again = DataSpace.from_state(where.to(torch.device("cpu")).state())
    assert again.words == where.words and torch.equal(again.captions, where.captions)
    old = {key: value for key, value in where.state().items() if key not in ("words", "captions", "class_names")}
    assert DataSpace.from_state(old).condition == "none"


def test_a_caption_is_typed_in_any_case_and_an_unknown_word_is_named(tmp_path):
    where = captioned_images(tmp_path).space
    assert where.caption_texts(where.caption_tokens("A  Blue disc")[None]) == ["a blue disc"]
    with pytest.raises(ValueError, match="no word 'rd'; did you mean 'red'"):
        where.caption_tokens("a rd disc")
    with pytest.raises(ValueError, match="has 8 words; the data's have at most 7"):
        where.caption_tokens("a " * 8)
    with pytest.raises(ValueError, match="no captions"):
        space((2,)).caption_tokens("a")


@pytest.mark.parametrize("caption", [np.arange(30), np.array(["a"] * 29)])
def test_an_array_of_something_else_is_refused(tmp_path, caption):
    path = npz(tmp_path / "a.npz", x=np.zeros((30, 5, 5), np.uint8), caption=caption)
    with pytest.raises(UsageError, match=r"caption has shape .* expected \(30,\) strings"):
        image_array(path=path)
    assert image_array(path=path, caption=None).space.condition == "none"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for i in range(10):
        picture(folder / ("cat", "dog")[i % 2] / f"{i}.png", seed=i)
    return folder


def read(images, **changes):
    keys = {"path": str(images), "validation": 0.0, "test": 0.0, "cache": str(images.parent / "cache"), "workers": 1}
    return image_folder(**{**keys, **changes})


def everything(data):
    (batch,) = ordered(data.train, 10, seed=0)
    return data.space.caption_texts(batch.y)


def names():
    return [f"{('cat', 'dog')[i % 2]}/{i}.png" for i in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)]


def test_a_folder_with_a_table_of_captions(images):
    lines = ["file,caption", *(f'{name},"number {name[4]}, a {name[:3]}"' for name in reversed(names()))]
    (images / "captions.csv").write_text("\n".join(lines))
    data = read(images)
    assert data.space.condition == "tokens" and data.space.class_names == ()
    assert everything(data) == [f"number {name[4]} , a {name[:3]}" for name in names()]
    assert read(images, caption=None).space.class_names == ("cat", "dog")
    (images / "captions.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(UsageError, match=r"captions.csv: cat/0.png has no caption there; dataset.caption=null"):
        read(images)
    (images / "captions.csv").write_text("picture,words\n")
    with pytest.raises(UsageError, match="the first line is picture, words; expected file,caption"):
        read(images)


def test_a_folder_with_a_text_beside_each_image(images):
    for name in names():
        (images / name).with_suffix(".txt").write_text(f"number {name[4]}\n")
    assert everything(read(images)) == [f"number {name[4]}" for name in names()]
    (images / "dog" / "3.txt").unlink()
    with pytest.raises(UsageError, match=r"3.txt: the caption of 3.png: there is no such file; dataset.caption=null"):
        read(images)


def test_a_stray_text_is_not_a_caption(images):
    (images / "cat" / "LICENSE.txt").write_text("free")
    assert read(images).space.condition == "labels"


def test_shapes_are_captioned_as_drawn():
    data = shapes(examples=100, objects=2)
    plain = shapes(examples=100, objects=2, caption=None)
    assert data.space.condition == "tokens" and plain.space.condition == "labels"
    assert torch.equal(data.train.x, plain.train.x) and torch.equal(data.factors.train, plain.factors.train)
    for text, label in zip(data.space.caption_texts(data.train.y), plain.train.y.tolist(), strict=True):
        assert plain.space.class_names[label] == "_".join(text.split()[2:4])
