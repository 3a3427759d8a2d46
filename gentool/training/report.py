"""`report.html`: one page that stands alone, made from the files of a run's folder."""

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gentool.plots.curves import bars, curves
from gentool.plots.page import figure, page
from gentool.training.console import duration, number, table_of


def write_report(folder: Path, summary: Mapping[str, Any] | None = None) -> Path:
    """Write `report.html` into a run's folder: facts, final numbers, curves, pictures, config; no links, no scripts.

    Args:
        folder: the run's folder; what it lacks is left out of the page.
        summary: what `summary.json` holds; None reads that file, where there is one.

    Returns:
        The page's path.

    Raises:
        OSError: when a file cannot be read or written.
    """
    if summary is None:
        file = folder / "summary.json"
        summary = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    title = " on ".join(str(summary[key]) for key in ("model", "dataset") if key in summary) or folder.name
    body = [
        f"<h1>{escape(title)}</h1><p>{escape(folder.name)}</p>",
        _facts(summary),
        _numbers(summary),
        _pictures(folder / "samples"),
        _charts(folder / "metrics.jsonl"),
        _config(folder / "config.yaml"),
    ]
    text = page(title, body)
    path = folder / "report.html"
    half = path.with_suffix(".tmp")
    half.write_text(text, encoding="utf-8")
    half.replace(path)
    return path


def _facts(summary: Mapping[str, Any]) -> str:
    facts = {key: summary[key] for key in ("parameters", "device", "precision", "steps", "epochs") if key in summary}
    if "epochs" in facts:
        facts["epochs"] = round(facts["epochs"], 1)
    if "examples_per_second" in summary:
        facts["examples a second"] = round(float(summary["examples_per_second"] or 0))
    if "seconds" in summary:
        facts["time"] = duration(float(summary["seconds"] or 0))
    facts |= summary.get("versions") or {}
    cells = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(_text(v))}</dd></div>" for k, v in facts.items())
    return f"<dl>{cells}</dl>" if cells else ""


def _numbers(summary: Mapping[str, Any]) -> str:
    columns, rows = table_of(summary)
    if not rows:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>Numbers</h2><table><tr>{head}</tr>{body}</table>"


def _charts(metrics: Path) -> str:
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    lists: dict[str, list[float]] = {}
    for entry in entries(metrics):
        for name, value in entry.items():
            if name in ("step", "epoch", "split") or value is None:
                continue
            if isinstance(value, list):
                lists[f"{name} ({entry['split']}, step {entry['step']:,})".replace("/", " / ")] = [
                    x for x in value if x is not None
                ]
            elif isinstance(value, int | float):
                lines.setdefault(name, {}).setdefault(entry["split"], []).append((entry["step"], value))
    cards = [_card(name, splits) for name, splits in lines.items()]
    latest = {name.partition(" (")[0]: (name, values) for name, values in lists.items()}
    cards += [f'<div class="card"><h3>{escape(name)}</h3>{bars(values)}</div>' for name, values in latest.values()]
    return f'<h2>Learning curves</h2><div class="cards">{"".join(cards)}</div>' if cards else ""


def _card(name: str, splits: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    keys = "".join(
        f'<span class="key {escape(split)}"><b>{escape(split)}</b> {_text(float(line[-1][1]))}</span>'
        for split, line in splits.items()
    )
    head = f"<header><h3>{escape(name)}</h3><span>{keys}</span></header>"
    return f'<div class="card">{head}{curves(splits, "step")}</div>'


def entries(metrics: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` up to the first that is torn."""
    entries: list[dict[str, Any]] = []
    if metrics.exists():
        for line in metrics.read_text(encoding="utf-8").splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                break
    return entries


def _pictures(samples: Path) -> str:
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(samples.glob("*.png")):
        if name := re.fullmatch(r"(.+)_(\d{8,})", path.stem):
            found.setdefault(name[1], []).append((int(name[2]), path))
    parts = []
    for tag, frames in sorted(found.items(), key=lambda item: (item[0] != "step", item[0])):
        title = "samples" if tag == "step" else tag
        chosen = sorted({0, len(frames) // 2, len(frames) - 1}) if tag == "step" else [-1]
        parts += [figure(frames[i][1], f"{title}, step {frames[i][0]:,}") for i in chosen]
        if tag == "step" and len(frames) > 1 and (samples / "samples.gif").exists():
            parts.append(figure(samples / "samples.gif", "samples, from the first step to the last"))
    return f'<h2>Pictures</h2><div class="pictures">{"".join(parts)}</div>' if parts else ""


def _config(path: Path) -> str:
    if not path.exists():
        return ""
    text = escape(path.read_text(encoding="utf-8"))
    return f"<details><summary>The composed config</summary><pre>{text}</pre></details>"


def _text(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return str(value)
