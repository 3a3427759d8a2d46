"""Pictures of text, for whatever shows pictures: grids while training, the report, TensorBoard."""

import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

from gentool.plots.grids import Pixels

SHOWN = 6
"""Texts in one picture."""

COLUMNS, LINES = 84, 14
"""Symbols a line, and lines a text at most."""

_LETTER, _LINE = 6.1, 13  # pixels of a monospaced symbol of 7.3 points


def draw_texts(texts: Sequence[str]) -> Pixels:
    """Write texts one below the other, a grey number before each.

    Args:
        texts: the first `SHOWN` are shown; what does not fit is cut, so that pictures of one run have one size.

    Returns:
        (height, width, 3) uint8.
    """
    from gentool.plots.figures import DATA, new_figure, render

    shown = texts[:SHOWN]
    room = min(LINES, 2 + max(map(len, texts), default=0) // 16)
    width, each = round(COLUMNS * _LETTER) + 60, (room + 1) * _LINE
    height = each * len(shown) + 16
    figure = new_figure(width, height)
    style: dict[str, Any] = {
        "family": "monospace",
        "fontsize": 7.3,
        "va": "top",
        "linespacing": 1.25,
        "parse_math": False,
    }
    for i, text in enumerate(shown):
        top = 1 - (8 + i * each) / height
        figure.text(12 / width, top, str(i), color=DATA, **style)
        figure.text(40 / width, top, "\n".join(lines(text)[:room]), color="black", **style)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a symbol that the font lacks is shown as a box
        return render(figure)


def lines(text: str) -> list[str]:
    """Return the lines of a text as they are shown: broken at 84 symbols, controls made visible."""
    seen = (line.expandtabs(4).translate(_CONTROLS) for line in text.split("\n"))
    broken = [part for line in seen for part in (textwrap.wrap(line, COLUMNS, drop_whitespace=False) or [""])]
    return broken


_CONTROLS = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421, 0xFFFD: 0xB7}
