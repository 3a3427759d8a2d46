"""The table of a comparison: for a terminal, as Markdown, as CSV, as HTML."""

import csv
import io
import re
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


def header(runs: Sequence[Run], rankings: Sequence[Ranking]) -> list[str]:
    """Return the headings; an arrow says which way is better."""
    arrows = {"lower": " ↓", "higher": " ↑", None: ""}
    return [*_facts(runs), *(r.metric + arrows[r.better] for r in rankings)]


def rows(runs: Sequence[Run], rankings: Sequence[Ranking]) -> list[list[Cell]]:
    """Return one row a run: facts of its training, then its metrics."""
    facts = list(zip(*_facts(runs).values(), strict=True))
    return [
        [*map(Cell, words), *(_cell(run, ranking) for ranking in rankings)]
        for words, run in zip(facts, runs, strict=True)
    ]


def _facts(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return columns by their headings: what the runs' names say already, or all have in common, is left out."""
    names, models, data = ([str(word) for word in words] for words in zip(*map(_names, runs), strict=True))
    several = any(run.seeds > 1 for run in runs)
    return {
        "run": names,
        **({"model": models} if models != names else {}),
        **({"dataset": data} if len(set(data)) > 1 else {}),
        **({"seeds": [str(run.seeds) for run in runs]} if several else {}),
        "parameters": [f"{run.summary.get('parameters', 0):,}" for run in runs],
        "time": [duration(float(run.summary.get("seconds") or 0)) for run in runs],
    }


def _names(run: Run) -> tuple[str, object, object]:
    return run.name, run.summary["model"], run.summary["dataset"]


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
    if any(run.seeds > 1 for run in runs):
        alone = "; of a single seed it is the standard error over examples" if any(r.seeds == 1 for r in runs) else ""
        found.append(f"± is the standard deviation over seeds{alone}")
    undirected = [ranking.metric for ranking in rankings if ranking.better is None]
    if undirected:
        found.append(f"not ranked, neither way is better: {', '.join(undirected)}")
    shown = {ranking.metric for ranking in rankings}
    said: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for run in runs:
        for metric, reason in run.unavailable.items():
            if metric in shown:
                metrics, names = said.setdefault(_reason(reason), ({}, {}))
                metrics[metric] = names[run.name] = None
    return found + [
        f"not measured, {reason}: {', '.join(metrics)} ({', '.join(names)})"
        for reason, (metrics, names) in said.items()
    ]


def _reason(text: str) -> str:
    """Return a reason in a reader's words.

    >>> _reason("GAN does not implement HasLikelihood (log_prob)"), _reason("the data has no labels")
    ('no likelihood', 'the data has no labels')
    """
    lacking = re.match(r"\w+ does not implement (?:Has)?(\w+)", text)
    return f"no {lacking[1].lower()}" if lacking else text


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


def latex(heading: Sequence[str], cells: Sequence[Sequence[Cell]], below: Sequence[str]) -> str:
    """Return a LaTeX table for the package booktabs, the best values bold, and the notes as comments below it."""
    body = [[f"\\textbf{{{_tex(c.text)}}}" if c.is_best else _tex(c.text) for c in row] for row in cells]
    lines = [" & ".join(words) + r" \\" for words in [[_tex(word) for word in heading], *body]]
    top = [rf"\begin{{tabular}}{{l{'r' * (len(heading) - 1)}}}", r"\toprule", lines[0], r"\midrule"]
    comments = [f"% {_tex(note)}" for note in below]
    return "\n".join([*top, *lines[1:], r"\bottomrule", r"\end{tabular}", *comments]) + "\n"


def _tex(text: str) -> str:
    r"""Return a text as LaTeX reads it.

    >>> print(_tex("bits_per_dim ↓"), _tex("2 ± 1†"))
    bits\_per\_dim $\downarrow$ 2 $\pm$ 1$^\dagger$
    """
    plain = re.sub(r"([\\{}])", lambda m: {"\\": r"\textbackslash{}"}.get(m[1], "\\" + m[1]), text)
    plain = re.sub(r"([&%$#_])", r"\\\1", plain.replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}"))
    marks = {"±": r"$\pm$", MARK: r"$^\dagger$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--"}
    return "".join(marks.get(letter, letter) for letter in plain)


def comma_separated(runs: Sequence[Run], rankings: Sequence[Ranking]) -> str:
    """Return CSV: plain numbers, of each metric the value, its error, and whether it is ranked and best.

    The error is the standard error over examples; of runs averaged over seeds the standard deviation over these.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    several = any(run.seeds > 1 for run in runs)
    facts = ["run", "folder", "model", "dataset", "parameters", "seconds", *(["seeds"] if several else [])]
    parts = ("", "_deviation" if several else "_standard_error", "_ranked", "_best")
    writer.writerow(facts + [ranking.metric + part for ranking in rankings for part in parts])
    for run in runs:
        row: list[object] = [run.name, str(run.folder)]
        row += [run.seeds if key == "seeds" else run.summary.get(key, "") for key in facts[2:]]
        for ranking in rankings:
            is_there = ranking.metric in run.values
            is_ranked = is_there and ranking.better is not None and run.name not in ranking.unranked
            error = None if several and run.seeds == 1 else run.errors.get(ranking.metric)
            row += [run.values.get(ranking.metric, ""), "" if error is None else error]
            row += [
                str(is_ranked).lower() if is_there else "",
                str(run.name in ranking.best).lower() if is_there else "",
            ]
        writer.writerow(row)
    return text.getvalue()


def html(heading: Sequence[str], cells: Sequence[Sequence[Cell]], below: Sequence[str]) -> str:
    """Return an HTML table, the best values in `<b>`, and the notes below it."""
    head = "".join(f"<th>{escape(word).replace('_', '_<wbr>')}</th>" for word in heading)
    body = "".join("<tr>" + "".join(f"<td>{_html_cell(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    said = "".join(f"<p>{escape(note)}</p>" for note in below)
    return f'<div class="wide"><table id="metrics"><tr>{head}</tr>{body}</table></div>{said}'


def _html_cell(cell: Cell) -> str:
    """Return the value, and below it, small, its error and kind."""
    value, space, more = cell.text.partition(" ")
    if not space or not re.match("[-−]?[0-9]", value):
        return f"<b>{escape(cell.text)}</b>" if cell.is_best else escape(cell.text)
    mark = MARK if more.endswith(MARK) else ""
    value = escape(value + mark)
    return (f"<b>{value}</b>" if cell.is_best else value) + f"<small>{escape(more.removesuffix(MARK))}</small>"
