"""Images drawn by formula: shapes over textures, with labels. No file is needed, and a seed gives the same images."""

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("disc", "square", "triangle", "ring", "cross", "star", "bar", "crescent")
"""Shapes, by label."""

TEXTURES = ("flat", "gradient", "stripes", "checks", "waves", "grain")
"""Backgrounds, by label."""


class Drawn(NamedTuple):
    """A batch of drawn images.

    Attributes:
        x: (n, 3, size, size) in [0, 1].
        kind: (n,) the shape in front, an index into `KINDS`.
        texture: (n,) the background, an index into `TEXTURES`.
    """

    x: Tensor
    kind: Tensor
    texture: Tensor


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, 1, 1, generator=generator)


def _axes(size: int) -> tuple[Tensor, Tensor]:
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    return axis.view(1, 1, -1), axis.view(1, -1, 1)


def signed_distance(u: Tensor, v: Tensor, kind: int) -> Tensor:
    """Return about how far points lie outside a shape of radius 1 around the origin; below 0 they lie inside.

    Args:
        u: coordinates across.
        v: coordinates down.
        kind: an index into `KINDS`.

    Returns:
        Of the shape of u.
    """
    radius, angle = (u.square() + v.square()).sqrt(), torch.atan2(v, u)
    name = KINDS[kind]
    if name == "disc":
        return radius - 1
    if name == "square":
        return torch.maximum(u.abs(), v.abs()) - 0.85
    if name == "triangle":
        return torch.maximum(v - 0.6, 0.87 * u.abs() - 0.5 * v - 0.5)
    if name == "ring":
        return (radius - 0.75).abs() - 0.22
    if name == "cross":
        return torch.maximum(torch.minimum(u.abs(), v.abs()) - 0.28, torch.maximum(u.abs(), v.abs()) - 1)
    if name == "star":
        return radius - 0.68 - 0.32 * torch.cos(5 * angle)
    if name == "bar":
        return torch.maximum(u.abs() - 1, v.abs() - 0.25)
    return torch.maximum(radius - 1, 0.8 - ((u - 0.45).square() + v.square()).sqrt())


def placed(size: int, kind: Tensor, radius: Tensor, generator: torch.Generator) -> Tensor:
    """Return masks in [0, 1] of shapes turned and moved by chance.

    Args:
        size: height and width in pixels.
        kind: (n,) indices into `KINDS`.
        radius: (n, 1, 1), 1 being half the image.
        generator: of place and angle.

    Returns:
        (n, 1, size, size), edges a pixel wide.
    """
    n = len(kind)
    across, down = _axes(size)
    turn = _uniform(n, 0, 2 * pi, generator)
    u = across - _uniform(n, -0.4, 0.4, generator)
    v = down - _uniform(n, -0.4, 0.4, generator)
    u, v = (u * turn.cos() + v * turn.sin()) / radius, (v * turn.cos() - u * turn.sin()) / radius
    mask = torch.empty(n, size, size)
    for index in range(len(KINDS)):
        rows = kind == index
        mask[rows] = (0.5 - signed_distance(u[rows], v[rows], index) * radius[rows] * size / 2).clamp(0, 1)
    return mask[:, None]


def textures(size: int, texture: Tensor, generator: torch.Generator) -> Tensor:
    """Return backgrounds: weights in [0, 1] between two colours.

    Args:
        size: height and width in pixels.
        texture: (n,) indices into `TEXTURES`.
        generator: of angles, frequencies and phases.

    Returns:
        (n, 1, size, size).
    """
    n = len(texture)
    across, down = _axes(size)
    turn, phase = _uniform(n, 0, 2 * pi, generator), _uniform(n, 0, 2 * pi, generator)
    frequency = _uniform(n, 3, 16, generator)
    u, v = across * turn.cos() + down * turn.sin(), down * turn.cos() - across * turn.sin()
    waves = torch.zeros(n, size, size)
    for _ in range(5):  # a sum of random waves, weaker the shorter they are
        k, m, shift = (_uniform(n, -8, 8, generator) for _ in range(3))
        waves += torch.cos(k * across + m * down + shift) / (1 + 0.2 * (k.abs() + m.abs()))
    choices = (
        torch.zeros(n, size, size), (0.5 + 0.5 * u).clamp(0, 1), 0.5 + 0.5 * (frequency * u + phase).sin(),
        ((frequency * u + phase).sin() * (frequency * v).sin() > 0).float(), (0.5 + 0.3 * waves).clamp(0, 1),
        torch.rand(n, size, size, generator=generator),
    )  # fmt: skip
    weight = torch.empty(n, size, size)
    for index, choice in enumerate(choices):
        rows = texture == index
        weight[rows] = choice[rows]
    return weight[:, None]


def draw(n: int, size: int, generator: torch.Generator) -> Drawn:
    """Draw images of one shape, now and then with a second one behind it, over a texture of two colours.

    Args:
        n: images.
        size: height and width in pixels.
        generator: of all of it.

    Returns:
        Images and labels.
    """
    kind, behind = (torch.randint(len(KINDS), (n,), generator=generator) for _ in range(2))
    texture = torch.randint(len(TEXTURES), (n,), generator=generator)
    colours = torch.rand(4, n, 3, 1, 1, generator=generator)
    weight = textures(size, texture, generator)
    x = weight * colours[0] + (1 - weight) * colours[1]
    second = placed(size, behind, _uniform(n, 0.15, 0.4, generator), generator)
    second = second * (torch.rand(n, 1, 1, 1, generator=generator) < 0.4)
    x = x * (1 - second) + second * colours[2]
    first = placed(size, kind, _uniform(n, 0.3, 0.75, generator), generator)
    return Drawn(x * (1 - first) + first * colours[3], kind, texture)


def coloured_shapes(n: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a plain data set: one of five shapes in one of two colours on a dark ground, ten classes.

    Args:
        n: images.
        size: height and width in pixels.
        generator: of all of it.

    Returns:
        x (n, 3, size, size) in [0, 1], and y (n,) in 0..9.
    """
    y = torch.randint(10, (n,), generator=generator)
    colour = torch.tensor([[0.9, 0.3, 0.2], [0.2, 0.5, 0.9]])[y % 2, :, None, None]
    colour = (colour + 0.1 * torch.randn(n, 3, 1, 1, generator=generator)).clamp(0, 1)
    ground = 0.05 + 0.15 * torch.rand(n, 1, 1, 1, generator=generator)
    mask = placed(size, y // 2, _uniform(n, 0.3, 0.6, generator), generator)
    return mask * colour + (1 - mask) * ground, y
