"""How long a pass over blocks will take, said after its first ones."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

LONG = 20.0
"""Seconds from which an estimate of the time is printed."""

SLOW = 5.0
"""Seconds from which one block tells the time; of faster ones the first pays for warming up, and two tell."""


def paced(blocks: Iterable[T], count: int, what: str, say: Callable[[str], None]) -> Iterator[T]:
    """Hand on blocks, and say after the first or the second how long the others will take, where that is long.

    Args:
        blocks: what is worked on, one after the other.
        count: how many there are.
        what: is done, for the line.
        say: prints it.

    Yields:
        Each block.
    """
    start = time.perf_counter()
    told = False
    for done, block in enumerate(blocks, 1):
        yield block
        seconds = time.perf_counter() - start
        if not told and (done == 2 or seconds > SLOW):
            told, left = True, seconds / done * (count - done)
            if left > LONG:
                say(f"{what}: about {duration(left)} more")


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(75), duration(400), duration(10_000)
    ('75 s', '7 min', '2.8 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
