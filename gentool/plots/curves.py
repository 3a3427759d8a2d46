"""Small charts as inline SVG: for pages that must stand alone. Colours are CSS variables of the page."""

from collections.abc import Collection, Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log10

_WIDTH, _HEIGHT = 360, 200  # of the whole chart, in px of its view box
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 24  # margins
_POINTS = 300  # per line: more than a chart this wide can show

Curve = Sequence[tuple[float, float]]


def curves(lines: Mapping[str, Curve], x_label: str) -> str:
    """Draw curves over one pair of axes.

    Where a loss falls so far in its first steps that the rest would be a flat line, the axis shows where all but the
    first tenth of the run lies, and what lies beyond is cut off at the frame.

    Args:
        lines: CSS class to points (x, y), x rising; points that are not finite leave a gap in none.
        x_label: the name of x, without a unit.

    Returns:
        An `<svg>` element; an empty string where there is nothing to draw.
    """
    shown = {name: thinned([p for p in line if isfinite(p[0]) and isfinite(p[1])]) for name, line in lines.items()}
    shown = {name: line for name, line in shown.items() if line}
    if not shown:
        return ""
    xs = [x for line in shown.values() for x, _ in line]
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = _y_range(shown.values(), x_low + 0.1 * (x_high - x_low))
    x_high = x_high if x_high > x_low else x_low + 1

    def place(x: float, y: float) -> str:
        across = _LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)
        down = _TOP + (y_high - y) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{across:.1f},{min(max(down, -1e5), 1e5):.1f}"

    drawn, dots = [], []
    for name, line in shown.items():
        if len(line) == 1:
            across, down = place(*line[0]).split(",")
            dots.append(f'<circle class="{escape(name)}" cx="{across}" cy="{down}" r="3"/>')
        else:
            drawn.append(f'<polyline class="{escape(name)}" points="{" ".join(place(*p) for p in line)}"/>')
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        + _axes(x_low, x_high, y_low, y_high, x_label)
        + f'<svg x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_HEIGHT - _TOP - _BOTTOM}"'
        + f' viewBox="{_LEFT} {_TOP} {_WIDTH - _LEFT - _RIGHT} {_HEIGHT - _TOP - _BOTTOM}">'  # clips what is inside
        + "".join(drawn)
        + "</svg>"
        + "".join(dots)
        + "</svg>"
    )


def bars(values: Sequence[float]) -> str:
    """Draw one bar a number, the largest first.

    Args:
        values: the numbers; those that are not finite are left out.

    Returns:
        An `<svg>` element; an empty string where there is nothing to draw.
    """
    heights = sorted((value for value in values if isfinite(value)), reverse=True)
    if not heights:
        return ""
    y_low, y_high = _padded(min(0.0, heights[-1]), max(0.0, heights[0]))
    y_low = 0.0 if heights[-1] >= 0 else y_low
    scale = (_HEIGHT - _TOP - _BOTTOM) / (y_high - y_low)
    step = (_WIDTH - _LEFT - _RIGHT) / len(heights)
    zero = _TOP + y_high * scale
    drawn = [
        f'<rect class="bar" x="{_LEFT + i * step + step * 0.1:.1f}" y="{zero - max(height, 0) * scale:.1f}" '
        f'width="{step * 0.8:.1f}" height="{abs(height) * scale:.1f}"/>'
        for i, height in enumerate(heights)
    ]
    axes = _axes(0, len(heights), y_low, y_high, "largest first")
    return f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{axes}{"".join(drawn)}</svg>'


def thinned(line: Curve, most: int = _POINTS) -> Curve:
    """Shorten a curve by means over neighbours; its last point stays what it is.

    >>> thinned([(1, 2.0), (2, 4.0), (3, 5.0), (4, 7.0), (5, 9.0)], most=3)
    [(1.5, 3.0), (3.5, 6.0), (5, 9.0)]
    """
    if len(line) <= most:
        return line
    size = ceil((len(line) - 1) / (most - 1))
    groups = [line[i : min(i + size, len(line) - 1)] for i in range(0, len(line) - 1, size)]
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return [*means, line[-1]]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two bounds.

    >>> ticks(0, 100, 5), ticks(1.12, 1.31, 4)
    ([0, 20, 40, 60, 80, 100], [1.15, 1.2, 1.25, 1.3])
    """
    raw = (high - low) / about
    power = 10.0 ** floor(log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(s - raw))
    digits = max(0, -floor(log10(step)))
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(i * step, digits) if digits else round(i * step) for i in range(first, last + 1)]


def _y_range(lines: Collection[Curve], settled_from: float) -> tuple[float, float]:
    every = [y for line in lines for _, y in line]
    settled = [y for line in lines for x, y in line if x >= settled_from]
    low, high = min(every), max(every)
    if 0 < 3 * (max(settled) - min(settled)) < high - low:
        low, high = min(settled), max(settled)
    return _padded(low, high)


def _padded(low: float, high: float) -> tuple[float, float]:
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high)) or span < 1e-300:
        span = abs(high) or 1.0
    return low - 0.06 * span, high + 0.06 * span


def _axes(x_low: float, x_high: float, y_low: float, y_high: float, x_label: str) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for y in ticks(y_low, y_high, 4):
        down = _TOP + (y_high - y) / (y_high - y_low) * (bottom - _TOP)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{down:.1f}" y2="{down:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{_short(y)}</text>')
    marks = ticks(x_low, x_high, 4)
    for x in marks:
        across = _LEFT + (x - x_low) / (x_high - x_low) * (right - _LEFT)
        if across < right - 44:  # the label of the axis stands there
            parts.append(f'<text x="{across:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(x)}</text>')
    parts.append(f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{escape(x_label)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    return "".join(parts)


def _short(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:g}"
