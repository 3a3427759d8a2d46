"""The table of a comparison: for a terminal, as Markdown, as CSV, as HTML."""

import csv
import io
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from gentool.comparison.ranking import Ranking
from gentool.comparison.runs import Run
from gentool.training.console import duration, number

MARK = "†"
"""Stands behind a value that is not ranked."""


class Cell(NamedTuple):
    """One cell.

    Attributes:
        text: what is shown.
        is_best: whether it is the best of its column.
    """

    text: str
    is_best: bool = False


def header(rankings: Sequence[Ranking]) -> list[str]:
    """Return the headings; an arrow says which way is better."""
    arrows = {"lower": " ↓", "higher": " ↑", None: ""}
    return ["run", "model", "dataset", "parameters", "time", *(r.metric + arrows[r.better] for r in rankings)]


def rows(runs: Sequence[Run], rankings: Sequence[Ranking]) -> list[list[Cell]]:
    """Return one row a run: facts of its training, then its metrics."""
    return [[*_facts(run), *(_cell(run, ranking) for ranking in rankings)] for run in runs]


def _facts(run: Run) -> list[Cell]:
    summary = run.summary
    texts = [run.name, str(summary["model"]), str(summary["dataset"]), f"{summary.get('parameters', 0):,}"]
    return [Cell(text) for text in [*texts, duration(float(summary.get("seconds") or 0))]]


def _cell(run: Run, ranking: Ranking) -> Cell:
    if ranking.metric not in run.values:
        return Cell("–")
    error = run.errors.get(ranking.metric)
    text = number(run.values[ranking.metric], 4) + (f" ± {error:.2g}" if error else "")
    kind = run.protocols.get(ranking.metric, {}).get("kind", "exact")
    text += "" if kind == "exact" else f" {kind}"
    return Cell(text + (MARK if run.name in ranking.unranked else ""), run.name in ranking.best)


def notes(runs: Sequence[Run], rankings: Sequence[Ranking]) -> list[str]:
    """Return what stands below the table: protocols that differ, metrics without a direction, what was not measured."""
    found = [f"{MARK} {ranking.note}" for ranking in rankings if ranking.note]
    undirected = [ranking.metric for ranking in rankings if ranking.better is None]
    if undirected:
        found.append(f"not ranked, neither way is better: {', '.join(undirected)}")
    shown = {ranking.metric for ranking in rankings}
    said: dict[str, list[str]] = {}
    for run in runs:
        for metric, reason in run.unavailable.items():
            if metric in shown:
                said.setdefault(f"{metric}: {reason}", []).append(run.name)
    return found + [f"not measured, {reason} ({', '.join(names)})" for reason, names in said.items()]


def plain(heading: Sequence[str], cells: Sequence[Sequence[Cell]], *, bold: bool) -> str:
    """Return aligned text; the best values bold on a terminal, with a star elsewhere.

    Args:
        heading: of each column.
        cells: rows.
        bold: whether the terminal can show bold.

    Returns:
        Lines, joined.
    """
    texts = [[c.text + ("*" if c.is_best and not bold else "") for c in row] for row in cells]
    widths = [max(len(row[i]) for row in [heading, *texts]) for i in range(len(heading))]
    lines = ["  ".join(h.ljust(w) for h, w in zip(heading, widths, strict=True)).rstrip()]
    for row, words in zip(cells, texts, strict=True):
        padded = [word.ljust(width) for word, width in zip(words, widths, strict=True)]
        shown = [f"\033[1m{p}\033[0m" if c.is_best and bold else p for c, p in zip(row, padded, strict=True)]
        lines.append("  ".join(shown).rstrip())
    return "\n".join(lines)


def markdown(heading: Sequence[str], cells: Sequence[Sequence[Cell]], below: Sequence[str]) -> str:
    """Return a Markdown table, the best values bold, and the notes below it."""

    def line(words: Sequence[str]) -> str:
        return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"

    body = [line([f"**{cell.text}**" if cell.is_best else cell.text for cell in row]) for row in cells]
    table = [line(heading), "|" + "---|" * len(heading), *body]
    return "\n".join([*table, "", *(f"{note}\n" for note in below)]).rstrip() + "\n"


def comma_separated(runs: Sequence[Run], rankings: Sequence[Ranking]) -> str:
    """Return CSV: plain numbers, of each metric the value, its standard error, and whether it is ranked and best."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = ["run", "folder", "model", "dataset", "parameters", "seconds"]
    parts = ("", "_standard_error", "_ranked", "_best")
    writer.writerow(facts + [ranking.metric + part for ranking in rankings for part in parts])
    for run in runs:
        row: list[object] = [run.name, str(run.folder)]
        row += [run.summary.get(key, "") for key in facts[2:]]
        for ranking in rankings:
            is_there = ranking.metric in run.values
            is_ranked = is_there and ranking.better is not None and run.name not in ranking.unranked
            error = run.errors.get(ranking.metric)
            row += [run.values.get(ranking.metric, ""), "" if error is None else error]
            row += [
                str(is_ranked).lower() if is_there else "",
                str(run.name in ranking.best).lower() if is_there else "",
            ]
        writer.writerow(row)
    return text.getvalue()


def html(heading: Sequence[str], cells: Sequence[Sequence[Cell]], below: Sequence[str]) -> str:
    """Return an HTML table, the best values in `<b>`, and the notes below it."""
    head = "".join(f"<th>{escape(word)}</th>" for word in heading)
    body = "".join(
        "<tr>"
        + "".join(f"<td><b>{escape(c.text)}</b></td>" if c.is_best else f"<td>{escape(c.text)}</td>" for c in row)
        + "</tr>"
        for row in cells
    )
    said = "".join(f"<p>{escape(note)}</p>" for note in below)
    return f'<div class="wide"><table id="metrics"><tr>{head}</tr>{body}</table></div>{said}'
