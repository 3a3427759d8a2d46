"""The trilemma of generative models in one picture: quality, coverage and speed, as inline SVG."""

from collections.abc import Mapping
from html import escape
from math import inf, isfinite, log10, sqrt
from typing import NamedTuple

_WIDTH, _HEIGHT = 720, 420  # px of the view box
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 150, 16, 44  # margins; labels stand on the right
_SMALL, _LARGE = 5.0, 24.0  # radii of the slowest and the fastest
_ROW, _WORD, _FAR = 13, 90, 5  # px of a name's height and width; rows below its disc from which it stands there no more


class Corner(NamedTuple):
    """Where a model stands.

    Attributes:
        precision: share of its samples that lie among the data, 0 to 1: quality.
        recall: share of the data that lies among its samples, 0 to 1: coverage.
        speed: samples a second; None: not measured.
    """

    precision: float
    recall: float
    speed: float | None


def trilemma(corners: Mapping[str, Corner]) -> str:
    """Draw a disc a model: recall to the right, precision up, its area the logarithm of its speed.

    Args:
        corners: by the model's name.

    Returns:
        An `<svg>` element; an empty string where there is nothing to draw.
    """
    shown = {name: c for name, c in corners.items() if isfinite(c.precision) and isfinite(c.recall)}
    if not shown:
        return ""
    speeds = [log10(c.speed) for c in shown.values() if c.speed]
    discs = []
    for name, corner in sorted(shown.items(), key=lambda item: -(item[1].speed or 0)):  # small discs on top
        x, y = _place(corner)
        says = f"{name}: precision {corner.precision:.3f}, recall {corner.recall:.3f}"
        says += f", {corner.speed:,.4g} samples/s" if corner.speed else ", speed not measured"
        discs.append(
            f'<circle class="disc" cx="{x:.1f}" cy="{y:.1f}" r="{_radius(corner.speed, speeds):.1f}">'
            f"<title>{escape(says)}</title></circle>"
        )
    return (
        f'<svg class="chart" id="trilemma" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        + _axes()
        + "".join(discs)
        + _labels(shown, speeds)
        + "</svg>"
    )


def _place(corner: Corner) -> tuple[float, float]:
    across = _LEFT + corner.recall * (_WIDTH - _LEFT - _RIGHT)
    return across, _TOP + (1 - corner.precision) * (_HEIGHT - _TOP - _BOTTOM)


def _radius(speed: float | None, logs: list[float]) -> float:
    if not speed:
        return _SMALL
    share = (log10(speed) - min(logs)) / (max(logs) - min(logs)) if max(logs) > min(logs) else 0.5
    return sqrt(_SMALL**2 + share * (_LARGE**2 - _SMALL**2))


def _labels(shown: Mapping[str, Corner], logs: list[float]) -> str:
    """Names beside their discs, moved down where they would lie on one another; left out where that is too far."""
    parts, used = [], list[tuple[float, float]]()
    for name, corner in sorted(shown.items(), key=lambda item: -item[1].precision):
        x, y = _place(corner)
        rows = (y + _ROW * i for i in range(_FAR))
        free = (row for row in rows if all(abs(row - b) >= _ROW or abs(x - a) >= _WORD for a, b in used))
        y = next(free, inf)
        if y > _HEIGHT - _BOTTOM:
            continue
        used.append((x, y))
        parts.append(f'<text x="{x + _radius(corner.speed, logs) + 4:.1f}" y="{y + 4:.1f}">{escape(name)}</text>')
    return "".join(parts)


def _axes() -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for i in range(6):
        x, y = _place(Corner(i / 5, i / 5, None))
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{i / 5:g}</text>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{i / 5:g}</text>')
    parts.append(f'<text x="{right}" y="{bottom + 34}" text-anchor="end">recall (coverage)</text>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text x="14" y="{middle}" transform="rotate(-90 14 {middle})" text-anchor="middle">precision (quality)</text>'
    )
    return "".join(parts)
