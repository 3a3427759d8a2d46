"""The trilemma of generative models in one picture: quality, coverage and speed, as inline SVG."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log10, sqrt
from typing import NamedTuple

_WIDTH, _HEIGHT = 900, 520  # px of the view box
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 110, 16, 44  # margins; labels may stand on the right one
_SMALL, _LARGE = 5.0, 20.0  # radii of the slowest and the fastest
_ROW, _LETTER, _GAP = 13.0, 6.4, 4.0  # px of a label's height, of a letter's width, and between a label and its disc
_ROWS = 5  # a label stands at most so many rows above or below its disc
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)  # between the numbers of an axis


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
    across = _Axis.around([c.recall for c in shown.values()])
    up = _Axis.around([c.precision for c in shown.values()])
    speeds = [log10(c.speed) for c in shown.values() if c.speed]
    discs = {name: _disc(corner, across, up, speeds) for name, corner in shown.items()}
    circles = []
    for name, corner in sorted(shown.items(), key=lambda item: -(item[1].speed or 0)):  # small discs on top
        x, y, radius = discs[name]
        says = f"{name}: precision {corner.precision:.3f}, recall {corner.recall:.3f}"
        says += f", {corner.speed:,.4g} samples/s" if corner.speed else ", speed not measured"
        circles.append(
            f'<circle class="disc" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{escape(says)}</title></circle>'
        )
    return (
        f'<svg class="chart" id="trilemma" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        + _axes(across, up)
        + "".join(circles)
        + _labels(discs)
        + "</svg>"
    )


class _Axis(NamedTuple):
    """The shown part of 0 to 1: whole steps."""

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Sequence[float]) -> "_Axis":
        """Return the least range of whole steps, at most seven of them, that leaves a margin on either side."""
        margin = max(0.06 * (max(values) - min(values)), 0.01)
        low, high = max(min(values) - margin, 0.0), min(max(values) + margin, 1.0)
        for step in _STEPS:
            first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
            if last - first <= 7:
                break
        return cls(first * step, min(last * step, 1.0), step)

    def ticks(self) -> list[float]:
        """Return the numbers on the axis."""
        return [self.low + self.step * i for i in range(round((self.high - self.low) / self.step) + 1)]

    def share(self, value: float) -> float:
        """Return how far along the axis a value lies, 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def _place(recall: float, precision: float, across: _Axis, up: _Axis) -> tuple[float, float]:
    x = _LEFT + across.share(recall) * (_WIDTH - _LEFT - _RIGHT)
    return x, _TOP + (1 - up.share(precision)) * (_HEIGHT - _TOP - _BOTTOM)


def _disc(corner: Corner, across: _Axis, up: _Axis, logs: Sequence[float]) -> tuple[float, float, float]:
    return *_place(corner.recall, corner.precision, across, up), _radius(corner.speed, logs)


def _radius(speed: float | None, logs: Sequence[float]) -> float:
    if not speed:
        return _SMALL
    share = (log10(speed) - min(logs)) / (max(logs) - min(logs)) if max(logs) > min(logs) else 0.5
    return sqrt(_SMALL**2 + share * (_LARGE**2 - _SMALL**2))


class _Box(NamedTuple):
    """Where something stands, in px."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def is_inside(self) -> bool:
        """Whether it stands within the picture and above the numbers of the axis."""
        return self.left >= _LEFT and self.right <= _WIDTH and self.top >= 0 and self.bottom <= _HEIGHT - _BOTTOM


def _labels(discs: Mapping[str, tuple[float, float, float]]) -> str:
    """Names at their discs, no two on one another and if possible on no disc; left out where there is no room."""
    circles = [_Box(x - r, y - r, x + r, y + r) for x, y, r in discs.values()]
    parts, used = [], list[_Box]()
    for name, disc in sorted(discs.items(), key=lambda item: (item[1][2], item[1][1])):
        places = [box for box in _around(disc, _LETTER * len(name)) if box.is_inside()]
        free = [box for box in places if not any(box.meets(other) for other in used)]
        clear = [box for box in free if not any(box.meets(circle) for circle in circles)]
        box = next(iter(clear or free), None)
        if box is None:
            continue
        used.append(box)
        parts.append(f'<text x="{box.left:.1f}" y="{box.bottom - 3:.1f}">{escape(name)}</text>')
    return "".join(parts)


def _around(disc: tuple[float, float, float], width: float) -> Iterator[_Box]:
    """Yield places for a label: right and left of its disc, above and below, then row by row further away."""
    x, y, r = disc
    sides = (x + r + _GAP, x - r - _GAP - width)
    for i in range(_ROWS):
        for offset in sorted({i, -i}):
            top = y - _ROW / 2 + offset * _ROW
            yield from (_Box(left, top, left + width, top + _ROW) for left in sides)
        for top in (y - r - (i + 1) * _ROW, y + r + i * _ROW):
            yield _Box(x - width / 2, top, x + width / 2, top + _ROW)


def _axes(across: _Axis, up: _Axis) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for tick in across.ticks():
        x, _ = _place(tick, up.low, across, up)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:.3g}</text>')
    for tick in up.ticks():
        _, y = _place(across.low, tick, across, up)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    parts.append(f'<text x="{right}" y="{bottom + 34}" text-anchor="end">recall (coverage)</text>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text x="14" y="{middle}" transform="rotate(-90 14 {middle})" text-anchor="middle">precision (quality)</text>'
    )
    return "".join(parts)
