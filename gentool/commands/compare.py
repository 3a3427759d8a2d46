"""Hold runs side by side."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gentool.commands.program import gentool
from gentool.comparison import Run, grouped, ranked, read_runs, tables, unevaluated
from gentool.comparison.page import comparison_page
from gentool.errors import RunError, UsageError
from gentool.training.checkpoints import atomic_write
from gentool.training.folders import output_folder


def compare(*, runs: list[str] | None, group: Literal["model"] | None, evaluate: bool, out: str | None) -> Path:
    """Compare runs by what `gentool evaluate` measured of them: `table.md`, `.tex` and `.csv`, and `compare.html`.

    Args:
        runs: folders of runs, folders that hold runs, or patterns; None: every finished run that was evaluated.
        group: model: runs that differ in their seed alone are one row, the mean and standard deviation over seeds;
            None: a row a run.
        evaluate: whether runs that were not evaluated are evaluated first.
        out: the folder to write to; None: a fresh one.

    Returns:
        The folder.

    Raises:
        UsageError: if a run is none, or was not evaluated.
        RunError: if evaluating one fails.
    """
    found = read_runs(runs)
    missing = unevaluated(found)
    if missing and not evaluate:
        names = ", ".join(str(run.folder) for run in missing)
        command = f"gentool evaluate ckpt={missing[0].folder}"
        raise UsageError(f"not evaluated, or trained on since: {names}; {command}, or evaluate=true for all of them")
    for run in missing:
        words = ["evaluate", f"ckpt={run.folder}", f"out={run.folder / 'evaluate'}", "overwrite=true"]
        if gentool(words)[0]:
            raise RunError(f"{run.folder} could not be evaluated; the runs are as they were")
    if missing:
        found = read_runs(runs)
    found = grouped(found) if group else found
    datasets = dict.fromkeys(str(run.summary["dataset"]) for run in found)
    return write(found, output_folder("compare", "-".join(datasets), out))


def write(runs: Sequence[Run], folder: Path, left_out: Sequence[str] = ()) -> Path:
    """Print the table of runs, write it four ways, and print the folder as the last line.

    Args:
        runs: what is compared.
        folder: where it is written.
        left_out: sentences about what is not compared, and why.

    Returns:
        The folder.

    Raises:
        RunError: if the disk refuses.
    """
    rankings = ranked(runs)
    heading, cells, below = tables.header(runs, rankings), tables.rows(runs, rankings), tables.notes(runs, rankings)
    print("\n".join([tables.plain(heading, cells, bold=sys.stdout.isatty()), *below, *left_out]))
    texts = {
        "table.md": tables.markdown(heading, cells, below),
        "table.tex": tables.latex(heading, cells, below),
        "table.csv": tables.comma_separated(runs, rankings),
        "compare.html": comparison_page(runs, rankings, left_out),
    }
    for name, text in texts.items():
        data = text.encode()
        atomic_write(folder / name, lambda file, data=data: file.write(data))  # type: ignore[misc]
    print(folder, flush=True)
    return folder
