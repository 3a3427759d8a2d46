"""Coloured shapes on a canvas, with labels, captions and the true factors: drawn here, nothing to download."""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gentool.data.captions import Caption, captioned, tokenise
from gentool.data.dataset import Dataset, Factors, Share, Table, image_dataset, partition
from gentool.data.drawing import COLOURS, REACH, SHAPES, Objects, draw

CLASSES = tuple(f"{colour}_{shape}" for shape in SHAPES for colour in COLOURS)
RELATIONS = ("left of", "right of", "above", "below")
"""Of the first of two objects to the second."""

_SIZES = ((0.13, 0.18), (0.24, 0.32))  # small and large: their ranges are apart, so that the word is always right
_OF_TWO = 0.6  # sizes of two objects, in units of those of one: each has half a canvas


def shapes(
    *,
    size: Annotated[int, Field(ge=8, le=1024)] = 32,
    objects: Literal[1, 2] = 1,
    examples: PositiveInt = 20000,
    caption: Caption = "auto",
    validation: Share = 0.1,
    test: Share = 0.1,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Draw red, green, blue and yellow discs, squares and triangles on dull backgrounds.

    Args:
        size: side of the images in pixels, 8 to 1024.
        objects: on each canvas, 1 or 2; two stand left of, right of, above or below each other.
        examples: images drawn, over all splits.
        caption: auto (the condition is a caption such as "a small red disc"); None: the label.
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
        seed: of the draw and the split.

    Returns:
        The dataset. Labels, where captions are left out, are the colour and the shape of the first object, 12 classes;
        `factors` holds colour, shape, x, y and size of each object.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn, relation = scene(examples, objects, generator)
    images = draw(drawn, _backgrounds(examples, generator), size)
    y, words = drawn[0].shape * len(COLOURS) + drawn[0].colour, tuple[str, ...]()
    if caption:
        y, words = tokenise(captions(drawn, relation))
    data = image_dataset(
        Table(images, y),
        None,
        levels=256,
        classes=0 if words else len(CLASSES),
        class_names=() if words else CLASSES,
        binarize="none",
        validation=validation,
        test_share=test,
        seed=seed,
    )
    values = torch.stack([value.float() for each in drawn for value in each[:5]], 1)
    names = tuple(f"{name}{i or ''}" for i in range(objects) for name in Objects._fields[:5])
    parts = partition(examples, [validation, test], seed)
    data = captioned(data, words, y[parts[0]]) if words else data
    return replace(data, factors=Factors(names, *(values[rows] for rows in parts)))


def scene(n: int, objects: int, generator: torch.Generator) -> tuple[list[Objects], Tensor | None]:
    """Draw what stands on n canvases.

    Args:
        n: canvases.
        objects: on each, 1 or 2.
        generator: of the draw.

    Returns:
        The objects, and (n,) int64, which of `RELATIONS` the first of two has to the second.
    """

    def uniform(low: Tensor | float, high: Tensor | float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    def choice(count: int) -> Tensor:
        return torch.randint(count, (n,), generator=generator)

    relation = choice(len(RELATIONS)) if objects == 2 else None
    found = []
    for i in range(objects):
        colour, shape, low, high = choice(len(COLOURS)), choice(len(SHAPES)), *torch.tensor(_SIZES)[choice(2)].unbind(1)
        size = uniform(low, high) * (1.0 if relation is None else _OF_TWO)
        margin = torch.tensor(REACH)[shape] * size
        start, end = torch.zeros(2, n), torch.ones(2, n)  # of the place in which it stands, along x and y
        if relation is not None:
            axis, is_second = relation // 2, (relation % 2 == 0) == bool(i)
            start[axis, torch.arange(n)] = torch.where(is_second, 0.5, 0.0)
            end[axis, torch.arange(n)] = torch.where(is_second, 1.0, 0.5)
        x, y = (uniform(start[axis] + margin, end[axis] - margin) for axis in (0, 1))
        tint = 24 * torch.rand(n, 3, generator=generator) - 12
        found.append(Objects(colour, shape, x, y, size, tint))
    return found, relation


def captions(drawn: list[Objects], relation: Tensor | None) -> list[str]:
    """Say what stands on each canvas, in plain words.

    Args:
        drawn: the objects.
        relation: of the first of two to the second.

    Returns:
        "a small red disc", or "a small red disc left of a large blue square".
    """
    phrases = [_phrases(each, 1.0 if relation is None else _OF_TWO) for each in drawn]
    if relation is None:
        return phrases[0]
    pairs = zip(phrases[0], relation.tolist(), phrases[1], strict=True)
    return [f"{first} {RELATIONS[r]} {second}" for first, r, second in pairs]


def _phrases(objects: Objects, unit: float) -> list[str]:
    middle = unit * (_SIZES[0][1] + _SIZES[1][0]) / 2
    colours = tuple(COLOURS)
    rows = zip((objects.size > middle).tolist(), objects.colour.tolist(), objects.shape.tolist(), strict=True)
    return [f"a {('small', 'large')[large]} {colours[colour]} {SHAPES[shape]}" for large, colour, shape in rows]


def _backgrounds(n: int, generator: torch.Generator) -> Tensor:
    """Draw (n, 3, 3): a dull colour for each of three corners, not far from each other."""
    base = 70 + 110 * torch.rand(n, 1, 1, generator=generator)
    corner = 60 * torch.rand(n, 3, 1, generator=generator) - 30
    return base + corner + 30 * torch.rand(n, 3, 3, generator=generator) - 15
