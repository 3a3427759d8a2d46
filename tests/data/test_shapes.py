"""Coloured shapes: drawn where and as large as the factors say, labelled and described rightly."""

import math

import pytest
import torch

from gentool.data import shapes as module
from gentool.data.drawing import COLOURS, SHAPES, Objects, draw
from gentool.data.shapes import CLASSES, RELATIONS, captions, scene, shapes

KEYS = {"caption": None, "size": 32, "objects": 1, "examples": 200, "validation": 0.1, "test": 0.1, "seed": 0}
GREY = torch.full((1, 3, 3), 100.0)


def one(shape: int, size: float, x: float = 0.5, y: float = 0.5) -> list[Objects]:
    values = [torch.tensor([value]) for value in (0, shape, x, y, size)]
    return [Objects(*values, torch.zeros(1, 3))]


def cover(image: torch.Tensor) -> torch.Tensor:
    """How much of each pixel the red object covers."""
    return (image[0, 0].double() - 100) / (205 - 100)


@pytest.mark.parametrize("shape, area", [(0, math.pi), (1, 4 * 0.9**2), (2, 1.25**2 * 3**0.5)])
@pytest.mark.parametrize("side", [32, 100])
def test_areas_and_centres_are_those_of_the_formulas(shape, area, side):
    covered = cover(draw(one(shape, 0.25, 0.45, 0.55), GREY, side))
    assert covered.sum().item() / side**2 == pytest.approx(area * 0.25**2, rel=0.03)
    place = (torch.arange(side) + 0.5) / side
    assert ((covered * place).sum() / covered.sum()).item() == pytest.approx(0.45, abs=0.002)
    lower = 1.25 * 0.25 / 2 / 3**0.5 if shape == 2 else 0  # a triangle's centroid is below the middle of its box
    assert ((covered * place[:, None]).sum() / covered.sum()).item() == pytest.approx(0.55 + lower, abs=0.002)


def test_a_gradient_runs_between_three_corners():
    corners = torch.tensor([[[0.0] * 3, [100.0] * 3, [180.0] * 3]])
    image = draw(one(0, 0.01), corners, 10)[0, 0]
    assert image[0, 9] - image[0, 0] == 90 and image[9, 0] - image[0, 0] == 162


def test_labels_factors_and_pixels_agree():
    data = shapes(**KEYS)
    assert data.space.shape == (3, 32, 32) and data.space.levels == 256 and data.space.classes == 12
    assert data.space.class_names == CLASSES and CLASSES[:2] == ("red_disc", "green_disc")
    assert data.factors is not None and data.factors.names == ("colour", "shape", "x", "y", "size")
    for split, factors in (
        (data.train, data.factors.train),
        (data.valid, data.factors.valid),
        (data.test, data.factors.test),
    ):
        colour, shape, x, y, _ = factors.unbind(1)
        assert torch.equal(split.y, (shape * 4 + colour).long())
        centre = split.x[torch.arange(len(split)), :, (y * 32).long(), (x * 32).long()].float()
        apart = torch.cdist(centre, torch.tensor(list(COLOURS.values())).float())
        assert torch.equal(apart.argmin(1), colour.long())


def test_the_draw_is_a_function_of_the_seed():
    first, same, other = (shapes(**{**KEYS, "seed": seed}).train.x for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)


@pytest.mark.parametrize("count", [1, 2])
def test_objects_lie_inside_the_canvas_and_apart(count):
    objects, relation = scene(3000, count, torch.Generator().manual_seed(0))
    for each in objects:
        reach = torch.tensor(module.REACH)[each.shape] * each.size
        for centre in (each.x, each.y):
            assert (centre - reach).min() > -1e-6 and (centre + reach).max() < 1 + 1e-6
    if count == 2:
        a, b = objects
        right = {"left of": b.x - a.x, "right of": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}
        for i, name in enumerate(RELATIONS):
            assert (right[name][relation == i] > 0).all() and (relation == i).sum() > 600


def test_captions_say_what_is_drawn():
    for count in (1, 2):
        objects, relation = scene(300, count, torch.Generator().manual_seed(0))
        for i, caption in enumerate(captions(objects, relation)):
            first = caption.split()
            assert first[2] == list(COLOURS)[objects[0].colour[i]] and first[3] == SHAPES[objects[0].shape[i]]
            unit = 1 if relation is None else 0.6
            assert first[1] == ("large" if objects[0].size[i] > 0.2 * unit else "small")
            assert relation is None or f" {RELATIONS[relation[i]]} a " in caption
    assert all(len(caption.split()) == 4 for caption in captions(*scene(10, 1, torch.Generator())))


@pytest.mark.parametrize("size", [8, 64])
def test_other_sizes(size):
    data = shapes(**{**KEYS, "size": size, "objects": 2, "examples": 20})
    assert data.space.shape == (3, size, size) and data.factors.train.shape == (16, 10)
    assert data.factors.names[5:] == ("colour1", "shape1", "x1", "y1", "size1")
