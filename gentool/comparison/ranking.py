"""Which numbers may be held against each other, and which of them is best."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from gentool.comparison.runs import Run
from gentool.metrics.directions import BETTER, Better

OWN = ("weights", "sampler", "samples", "entropy", "shares", "mass_on_grid", "dims")
"""Keys of a protocol that are the model's own affair: they say what was measured, not how."""


@dataclass(frozen=True)
class Ranking:
    """One metric over the runs.

    Attributes:
        metric: its name.
        better: which way; None: it is not ranked.
        best: names of the best of those that are ranked; empty where fewer than two are.
        unranked: names of the runs whose value was measured otherwise than most.
        note: a sentence that says which and why; empty where there are none.
    """

    metric: str
    better: Better | None
    best: tuple[str, ...]
    unranked: tuple[str, ...]
    note: str


def ranked(runs: Sequence[Run]) -> list[Ranking]:
    """Rank every metric that was measured of some run, among the runs that share one protocol.

    Where protocols differ, the one of most runs is ranked (of equally many, that of the first run); the other values
    are shown, never ranked.

    Args:
        runs: what is compared.

    Returns:
        One ranking a metric: those with a known direction first, in the order of `BETTER`.
    """
    names = dict.fromkeys(name for run in runs for name in run.values)
    order = list(BETTER)
    known = sorted((name for name in names if name in BETTER), key=order.index)
    return [_rank(name, runs) for name in [*known, *(name for name in names if name not in BETTER)]]


def protocol(run: Run, metric: str) -> dict[str, Any]:
    """Return what a value was measured under, as far as it must be the same to be compared: data included."""
    own = {key: value for key, value in run.protocols.get(metric, {}).items() if key not in OWN}
    return run.data | own


def _rank(metric: str, runs: Sequence[Run]) -> Ranking:
    having = [run for run in runs if metric in run.values and isfinite(run.values[metric])]
    keys = {run.name: json.dumps(protocol(run, metric), sort_keys=True, default=str) for run in having}
    better = BETTER.get(metric)
    if not having:
        return Ranking(metric, better, (), (), "")
    common = Counter(keys.values()).most_common(1)[0][0]
    same = [run for run in having if keys[run.name] == common]
    others = [run for run in having if keys[run.name] != common]
    best: tuple[str, ...] = ()
    if better is not None and len(same) > 1:
        value = (min if better == "lower" else max)(run.values[metric] for run in same)
        best = tuple(run.name for run in same if run.values[metric] == value)
    unranked = having if others and len(same) == 1 else others
    return Ranking(metric, better, best, tuple(run.name for run in unranked), _note(metric, same, others))


def _note(metric: str, same: Sequence[Run], others: Sequence[Run]) -> str:
    """Say which runs are not ranked and how their protocols differ from that of the others."""
    said: dict[str, list[str]] = {}
    standard = protocol(same[0], metric)
    for run in others:
        own = protocol(run, metric)
        differing = [key for key in [*standard, *own] if standard.get(key) != own.get(key)]
        words = ", ".join(
            f"{key} {own.get(key, 'none')} not {standard.get(key, 'none')}" for key in dict.fromkeys(differing)
        )
        said.setdefault(words, []).append(run.name)
    parts = [f"{', '.join(names)} ({words})" for words, names in said.items()]
    if not parts:
        return ""
    if len(same) == 1:  # there is nothing to rank
        return f"{metric}: no two were measured alike, none is ranked; unlike {same[0].name}: {'; '.join(parts)}"
    return f"{metric}: measured by another protocol, not ranked: {'; '.join(parts)}"
