"""`compare.html`: one page that stands alone, made from the runs' own files."""

from collections.abc import Sequence
from html import escape

from gentool.comparison.ranking import Ranking
from gentool.comparison.runs import Run
from gentool.comparison.tables import header, html, notes, rows
from gentool.plots.curves import curves
from gentool.plots.page import figure, page
from gentool.plots.trilemma import Corner, trilemma
from gentool.training.console import number
from gentool.training.report import entries

SPEED = "samples_per_second"

STYLE = """
body { max-width: 1400px; } .wide { overflow-x: auto; margin-top: 1.2rem; }
#metrics { width: 100%; font-size: .85rem; } #metrics th, #metrics td { padding: .2rem .3rem .2rem .5rem; }
#metrics td { white-space: nowrap; vertical-align: top; line-height: 1.25; } #metrics th { vertical-align: bottom; }
#metrics small { display: block; font-size: .72rem; color: var(--faint); }
#metrics b { color: var(--valid); } #trilemma { max-width: 900px; margin: 0 auto; }
.disc { fill: var(--train); opacity: .55; }
#trilemma .disc { stroke: var(--paper); }
"""


def comparison_page(runs: Sequence[Run], rankings: Sequence[Ranking], left_out: Sequence[str] = ()) -> str:
    """Return the page: the table, the trilemma, the grids side by side, the learning curves.

    Args:
        runs: what is compared.
        rankings: of their metrics.
        left_out: sentences about what is not here, and why.

    Returns:
        The HTML text; no links, no scripts.
    """
    datasets = ", ".join(dict.fromkeys(str(run.summary["dataset"]) for run in runs))
    title = f"{len(runs)} models on {datasets}"
    below = notes(runs, rankings)
    arrows = "Arrows say which way is better; the best of what was measured alike is bold."
    body = [
        f"<h1>{escape(title)}</h1><p>{arrows}</p>",
        html(header(runs, rankings), rows(runs, rankings), below),
        _trilemma(runs),
        _grids(runs),
        _curves(runs),
        _left_out(left_out),
    ]
    return page(title, [part for part in body if part], STYLE)


def _trilemma(runs: Sequence[Run]) -> str:
    corners = {
        run.name: Corner(run.values["precision"], run.values["recall"], run.values.get(SPEED))
        for run in runs
        if {"precision", "recall"} <= run.values.keys()
    }
    title = "<h2>The trilemma: quality, coverage, speed</h2>"
    if not corners:
        return f"{title}<p>Precision and recall were not measured: gentool evaluate metrics=full measures them.</p>"
    said = "The larger a disc, the more samples a second; point at one for its name and numbers."
    missing = [run.name for run in runs if run.name not in corners]
    said += f" Not measured: {', '.join(missing)}." if missing else ""
    return f'{title}<p>{escape(said)}</p><div class="card">{trilemma(corners)}</div>'


def _grids(runs: Sequence[Run]) -> str:
    figures = [figure(run.grid, run.name) for run in runs if run.grid is not None]
    return f'<h2>Samples</h2><div class="pictures" id="grids">{"".join(figures)}</div>' if figures else ""


def _curves(runs: Sequence[Run]) -> str:
    cards = [card for run in runs if (card := _card(run))]
    if not cards:
        return ""
    said = "Each model's own loss over its steps: heights of different families say nothing of each other."
    return f'<h2>Learning curves</h2><p>{said}</p><div class="cards" id="curves">{"".join(cards)}</div>'


def _card(run: Run) -> str:
    """Return the curve of what the run was judged by; where nothing was, of the first number it logged."""
    found = entries(run.folder / "metrics.jsonl")
    numbers = [k for entry in found for k, v in entry.items() if isinstance(v, int | float) and "/" in k]
    wanted = (run.summary.get("best") or {}).get("metric")
    name = wanted if wanted in numbers else next(iter(numbers), None)
    if name is None:
        return ""
    lines: dict[str, list[tuple[float, float]]] = {}
    for entry in found:
        if isinstance(entry.get(name), int | float):
            lines.setdefault(entry["split"], []).append((entry["step"], entry[name]))
    keys = "".join(
        f'<span class="key {escape(split)}"><b>{escape(split)}</b> {number(line[-1][1])}</span>'
        for split, line in lines.items()
    )
    head = f"<header><h3>{escape(run.name)}: {escape(name)}</h3><span>{keys}</span></header>"
    return f'<div class="card">{head}{curves(lines, "step")}</div>'


def _left_out(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<h2>Not here</h2><ul>{items}</ul>" if items else ""
