"""What people see of a run: a header, one live line (or plain lines), tables."""

import sys
import time
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.live import Live

_REFRESH_SECONDS = 0.1  # drawing costs a millisecond; ten times a second is as fast as anyone reads


class Terminal:
    """Standard output: with one line that is drawn anew on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._drawn = 0.0
        self.is_live = sys.stdout.isatty() and not self._console.is_dumb_terminal

    def print(self, text: str, style: str | None = None) -> None:
        """Print whole lines, above the live line where there is one; paths are never wrapped."""
        if self.is_live:
            self._console.print(text, style=style, soft_wrap=True)
        else:
            print(text, flush=True)

    def draw(self, parts: Sequence[str], terms: Sequence[str], left: str, done: float | None) -> None:
        """Draw the live line, with as many terms as the width of the terminal holds; at most ten times a second.

        Args:
            parts: what comes first, the dispensable ones last.
            terms: terms of the loss, the important ones first.
            left: the time left, at the end.
            done: share of the run that is done, in [0, 1]; None where nobody knows.
        """
        now = time.monotonic()
        if self._live is not None and now - self._drawn < _REFRESH_SECONDS:
            return
        self._drawn = now
        line = self._line(parts, terms, left, done)
        if self._live is None:
            from rich.live import Live

            # No thread draws it, and a run that is killed leaves the cursor visible.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
            self._console.show_cursor(True)
        self._live.update(line, refresh=True)

    def _line(self, parts: Sequence[str], terms: Sequence[str], left: str, done: float | None) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width = self._console.width - 1  # the last column makes some terminals wrap
        bar = 20 if done is not None and width >= 119 else 0
        text = fit(parts, terms, left, width - (bar + 2 if bar else 0))
        if not bar:
            return Text(text, no_wrap=True, overflow="crop")
        row = Table.grid(padding=(0, 2, 0, 0))
        progress = ProgressBar(total=1.0, completed=done or 0.0, width=bar, complete_style="cyan")
        row.add_row(progress, Text(text, no_wrap=True, overflow="crop"))
        return row

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """Print a table, names to the left and numbers to the right.

        Args:
            title: stands above it.
            columns: the headings.
            rows: one text for each column.

        Returns:
            The same table as plain text, for a log file.
        """
        widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
        lines = []
        for row in [columns, *rows]:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join(["", row[0].ljust(widths[0]), *cells]).rstrip())
        self.print(f"\n{title}", style="bold")
        self.print(lines[0], style="dim")
        self.print("\n".join(lines[1:]))
        return "\n".join([title, *lines])

    def close(self) -> None:
        """Remove the live line; a second call does nothing."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def fit(parts: Sequence[str], terms: Sequence[str], left: str, width: int) -> str:
    """Join what fits into a width: parts that do not fit are dropped from their end, terms wherever they stand.

    Args:
        parts: what comes first.
        terms: what comes next; room is kept for the first.
        left: what comes last and is never dropped.
        width: characters there is room for.

    Returns:
        A line of at most `width` characters.

    >>> fit(["step 3", "epoch 1"], ["loss 2.5", "reconstruction 1.5", "kl 1.0"], "0:42 left", 44)
    'step 3  epoch 1  loss 2.5  kl 1.0  0:42 left'
    """
    end = [left] if left else []
    first = list(parts)
    while len(first) > 1 and len("  ".join([*first, *terms[:1], *end])) > width:
        first.pop()
    chosen: list[str] = []
    for term in terms:
        if len("  ".join([*first, *chosen, term, *end])) <= width:
            chosen.append(term)
    return "  ".join([*first, *chosen, *end])[:width]


def number(value: float, digits: int = 5) -> str:
    """Write a number for people.

    Args:
        value: any number.
        digits: significant digits of what is no integer.

    Returns:
        A text such as 104.23 or 12,346.

    >>> number(1210.4, 4)
    '1210'
    >>> [number(x) for x in (3, 104.23456, 0.5, 0.001, 12345.678, 0.00012, 1234567, float("nan"))]
    ['3', '104.23', '0.50000', '0.001', '12,346', '1.200e-04', '1,234,567', 'nan']
    """
    if not isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if abs(value) < 0.999e-3 or abs(value) >= 1e9:
        return f"{value:.3e}"
    if abs(value) >= 1e4:
        return f"{value:,.0f}"
    # Trailing zeros keep a live line still; below a tenth they are only noise (a learning rate of 0.001).
    return f"{value:#.{digits}g}".rstrip(".") if abs(value) >= 0.1 else f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """Write seconds as hours, minutes and seconds.

    >>> duration(3723.4), duration(42)
    ('1:02:03', '0:42')
    """
    if not isfinite(seconds):
        return "?"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def terms_of(metrics: Mapping[str, Any], digits: int = 5) -> list[str]:
    """The numbers among some metrics as `name value`, without the player's name where there is one player.

    Args:
        metrics: `player/term` to a number, or to a list, which is left out.
        digits: significant digits.

    Returns:
        One text a number.

    >>> terms_of({"model/loss": 2.5, "model/kl": 1.25, "model/kl_per_dim": [1.0, 0.25]})
    ['loss 2.5000', 'kl 1.2500']
    """
    numbers = {key: value for key, value in metrics.items() if not isinstance(value, list)}
    players = {key.partition("/")[0] for key in numbers if "/" in key}
    return [f"{key.partition('/')[2] if len(players) == 1 and '/' in key else key} {number(value, digits)}"
            for key, value in numbers.items()]  # fmt: skip


def table_of(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The final and best numbers of a run as a table: a row a metric, a column a split, then the best.

    Args:
        summary: what `summary.json` holds: `final` maps `split/metric` to a number (lists are left out), `best` is
            `{"metric", "value", "step"}`.

    Returns:
        The headings, and the rows as texts.

    >>> final = {"train/model/loss": 2.5, "valid/model/loss": 3.5, "valid/units": 7}
    >>> table_of({"final": final, "best": {"metric": "model/loss", "value": 3.25, "step": 40}})
    (['', 'train', 'valid', 'best (step 40)'], [['model/loss', '2.5000', '3.5000', '3.2500'], ['units', '', '7', '']])
    """
    rows: dict[str, dict[str, str]] = {}
    columns = []
    for key, value in (summary.get("final") or {}).items():
        split, _, name = key.partition("/")
        if isinstance(value, int | float):
            rows.setdefault(name, {})[split] = number(value)
            columns.append(split)
    best = summary.get("best") or {}
    if best.get("value") is not None:
        heading = f"best (step {best['step']:,})"
        rows.setdefault(best["metric"], {})[heading] = number(best["value"])
        columns.append(heading)
    columns = list(dict.fromkeys(columns))
    return ["", *columns], [[name, *(row.get(column, "") for column in columns)] for name, row in rows.items()]
