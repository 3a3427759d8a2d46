"""A progress bar on a terminal, one plain line elsewhere; both on stderr, so stdout stays the command's."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(title: str, total: int | None, *, is_bytes: bool = False) -> Iterator[Callable[[int], None]]:
    """Show how far a long piece of work is.

    Args:
        title: what is done, in a few words.
        total: units of work; None where nobody knows.
        is_bytes: whether the units are bytes.

    Yields:
        A function that takes the units done since its last call.
    """
    if not sys.stderr.isatty():
        size = "" if total is None else f" ({total / 1e6:.1f} MB)" if is_bytes else f" ({total:,})"
        print(f"{title}{size}", file=sys.stderr, flush=True)
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn() if is_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.advance(task, done)
