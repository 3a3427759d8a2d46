"""Exact Bernoulli draws of grey levels: P(1) = x / (levels - 1), by comparing integers.

A uniform byte u decides all but 1 in 256 pixels: with m = levels - 1 write 256 x / m = whole + part / m; then
P(u < whole) + P(u = whole) part / m = x / m, so only a tie needs a second draw, of Bernoulli(part / m). That second
draw is hashed from one spare word an example, so an example's noise never depends on the rest of its batch.
"""

from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Binarize = Literal["none", "static", "dynamic", "threshold"]
"""none: grey levels; static: drawn once; dynamic: drawn afresh each visit; threshold: x > (levels - 1) / 2."""

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_CHUNK = 4096


def scramble(z: Tensor) -> Tensor:
    """Hash int64 to int64, bijectively.

    Reference: Fast splittable pseudorandom number generators, Guy Steele, Doug Lea, Christine Flood, 2014.
    """
    z = (z ^ ((z >> 30) & (2**34 - 1))) * _FIRST
    z = (z ^ ((z >> 27) & (2**37 - 1))) * _SECOND
    return z ^ ((z >> 31) & (2**33 - 1))


def fresh_words(rows: int, dims: int, noise: torch.Generator) -> Tensor:
    """Draw the noise of `rows` examples from a generator, row after row.

    Args:
        rows: number of examples.
        dims: pixels of one example.
        noise: generator on the CPU; it moves on by a fixed amount for each example.

    Returns:
        (rows, ceil(dims / 8) + 1) int64: eight bytes a word, and one spare word an example.
    """
    return torch.empty(rows, -(-dims // 8) + 1, dtype=torch.int64).random_(-(2**63), None, generator=noise)


def fixed_words(index: Tensor, dims: int, key: int) -> Tensor:
    """Return noise that is a function of the row and of `key` alone, laid out as `fresh_words`.

    Args:
        index: (rows,) int64, what identifies each example.
        dims: pixels of one example.
        key: seed, any int64.

    Returns:
        (rows, ceil(dims / 8) + 1) int64.
    """
    start = scramble(scramble(torch.tensor(key)) + index * _GOLDEN)
    return scramble(start[:, None] + torch.arange(1, -(-dims // 8) + 2) * _GOLDEN)


def bernoulli(x: Tensor, words: Tensor, levels: int) -> Tensor:
    """Draw Bernoulli(x / (levels - 1)) for each pixel: exactly 0 at x = 0, exactly 1 at x = levels - 1.

    Args:
        x: (batch, *shape) uint8 in 0..levels-1, on any device.
        words: (batch, words) int64 noise of `fresh_words` or `fixed_words`, on the CPU.
        levels: number of grey levels, 2 to 256.

    Returns:
        (batch, *shape) uint8 of 0 and 1.
    """
    flat = x.reshape(len(x), -1)
    words = words.to(x.device)
    draws = words.view(torch.uint8)[:, : flat.shape[1]]
    whole, part = _tables(levels, x.device)
    cut = flat if levels == 256 else whole[flat.long()]  # at 256 levels the table is the identity
    ones = draws < cut
    ties = draws == cut
    if x.device.type == "cpu":
        ties &= flat > 0  # where part = 0 a tie settles at 0, as it stands; most pixels of digits are such
        at = torch.from_numpy(np.flatnonzero(ties.numpy()))  # six times as fast as torch's nonzero
        column, level = at % flat.shape[1], flat.view(-1)[at].long()
        ones.view(-1)[at] = _settle(words[at // flat.shape[1], -1], column, part[level], levels)
    else:  # counting the ties would make the step wait for the device, so all pixels are settled
        column = torch.arange(flat.shape[1], device=x.device)
        ones = torch.where(ties, _settle(words[:, -1:], column, part[flat.long()], levels), ones)
    return ones.view(torch.uint8).view(x.shape)


def fix(x: Tensor, index: Tensor, levels: int, key: int) -> Tensor:
    """Draw examples once, their noise a function of their row and `key` alone.

    Args:
        x: (examples, *shape) uint8 in 0..levels-1.
        index: (examples,) int64, the row that identifies each example.
        levels: number of grey levels.
        key: seed.

    Returns:
        (examples, *shape) uint8 of 0 and 1.
    """
    if not len(x):
        return x
    pairs = zip(torch.split(x, _CHUNK), torch.split(index, _CHUNK), strict=True)
    return torch.cat([bernoulli(part, fixed_words(rows, part[0].numel(), key), levels) for part, rows in pairs])


def settled(x: Tensor, index: Tensor, levels: int, how: Binarize, key: int) -> Tensor:
    """Return examples as validation and test hold them, and training too unless binarisation is dynamic.

    Args:
        x: (examples, *shape) uint8 in 0..levels-1.
        index: (examples,) int64, the row that identifies each example.
        levels: number of grey levels.
        how: none: x itself; threshold: `threshold`; static and dynamic: `fix`.
        key: seed of `fix`.

    Returns:
        (examples, *shape) uint8.
    """
    if how == "none" or levels == 2:
        return x
    return threshold(x, levels) if how == "threshold" else fix(x, index, levels, key)


def threshold(x: Tensor, levels: int) -> Tensor:
    """Return (batch, *shape) uint8, 1 where x > (levels - 1) / 2."""
    return (x > (levels - 1) // 2).view(torch.uint8)


def _settle(spare: Tensor, column: Tensor, part: Tensor, levels: int) -> Tensor:
    uniform = (scramble(spare + (column + 1) * _GOLDEN) >> 8) & (2**56 - 1)
    return uniform % (levels - 1) < part


@cache
def _tables(levels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    x = torch.arange(levels)
    whole = (256 * x // (levels - 1)).clamp(max=255)  # the highest level ties at 255, where it surely wins
    return whole.to(device, torch.uint8), (256 * x - (levels - 1) * whole).to(device)
