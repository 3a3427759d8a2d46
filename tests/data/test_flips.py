"""Mirrored images: half of those in training, a function of the batch's number; nothing else is touched."""

import numpy as np
import pytest
import torch

from gentool.data.arrays import image_array
from gentool.data.batches import Batches, ordered
from gentool.data.folder import image_folder
from tests.data.files import npz, picture


@pytest.fixture
def read(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (400, 5, 6, 3), dtype=np.uint8)
    path = npz(tmp_path / "a.npz", x=x, y=np.arange(400) % 3)
    return lambda **changes: image_array(path=path, **changes)


def test_half_of_the_training_images_are_mirrored(read):
    data, plain = read(flip="horizontal"), read()
    batch = next(Batches(data.train, 300, seed=0))
    original = plain.train.x[batch.index]
    same = (batch.x == original).flatten(1).all(1)
    mirrored = (batch.x == original.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all() and 110 < mirrored.sum() < 190
    assert torch.equal(batch.y, plain.train.y[batch.index])


def test_a_batch_is_a_function_of_its_number_and_visits_differ(read):
    data = read(flip="horizontal")
    batches = Batches(data.train, 32, seed=0)
    seen = [next(batches).x for _ in range(6)]
    assert torch.equal(next(Batches(data.train, 32, seed=0, position=5)).x, seen[5])
    one = Batches(data.train, len(data.train), seed=0)
    first, second = ((b := next(one)).x[b.index.argsort()] for _ in range(2))
    assert not torch.equal(first, second)


def test_held_out_images_and_ordered_passes_are_as_they_are(read):
    data, plain = read(flip="horizontal"), read()
    for name in ("train", "valid", "test"):
        x = torch.cat([batch.x for batch in ordered(getattr(data, name), 50, seed=0)])
        assert torch.equal(x, getattr(plain, name).x)
    torch.testing.assert_close(data.space.loc, data.space.loc.flip(-1))
    torch.testing.assert_close(data.space.loc.mean(), plain.space.loc.mean())


@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_binarised_images_are_drawn_as_without_flips(read, binarize):
    flipped, plain = (next(Batches(read(flip=f, binarize=binarize).train, 32, seed=3)) for f in ("horizontal", "none"))
    same = (flipped.x == plain.x).flatten(1).all(1)
    mirrored = (flipped.x == plain.x.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all() and mirrored.any() and same.any()


def test_a_folder_is_still_decoded_ahead(tmp_path):
    for i in range(20):
        picture(tmp_path / "images" / f"{i}.png", 5, 7, seed=i)
    keys = {"path": str(tmp_path / "images"), "cache": str(tmp_path / "cache"), "validation": 0.0, "test": 0.0}
    data, plain = image_folder(flip="horizontal", **keys), image_folder(**keys)
    everything = next(ordered(plain.train, 20, seed=0)).x
    batch = next(Batches(data.train, 8, seed=0))
    original = everything[batch.index]
    same, mirrored = ((batch.x == some).flatten(1).all(1) for some in (original, original.flip(-1)))
    assert (same | mirrored).all() and mirrored.any()
    assert len(data.to(torch.device("cpu")).train) == 20
