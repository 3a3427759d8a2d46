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

LIKELIHOODS = ("nll", "bits_per_dim", "nats_per_token", "entropy_gap", "kl")
"""Metrics of log p(x), whose values of different kinds may be ordered: a bound lies on one side of the true value."""

PRECISE = ("exact", "ode")
"""Kinds whose value is the true one, up to the solver's error; the others lie above it."""


@dataclass(frozen=True)
class Ranking:
    """One metric over the runs.

    Attributes:
        metric: its name.
        better: which way; None: it is not ranked.
        best: names of the best of those that are ranked; empty where fewer than two are, or it cannot be decided.
        unranked: names of the runs whose value was measured otherwise than most, or decides nothing.
        note: a sentence that says which and why; empty where there are none.
    """

    metric: str
    better: Better | None
    best: tuple[str, ...]
    unranked: tuple[str, ...]
    note: str


def ranked(runs: Sequence[Run]) -> list[Ranking]:
    """Rank every metric that was measured of some run, among the runs that share one protocol.

    Where protocols differ, the one of most runs is ranked, and the other values are shown only; where no protocol is
    that of most, none is.

    Of -log p(x) and what is computed from it, the kind of the value and its draws may differ. An exact value, or one
    by an ODE, is the true one; a bound, or a value by importance sampling, is an upper bound of it. So the lowest
    value is the best if every other is either of the same kind and draws, which are compared as they are, or exact:
    an exact value above a bound is worse for sure. Another model's bound may hide a lower true value: then none is
    the best.

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
    keys = {run.name: json.dumps(_to_match(run, metric), sort_keys=True, default=str) for run in having}
    better = BETTER.get(metric)
    if not having:
        return Ranking(metric, better, (), (), "")
    counts = Counter(keys.values()).most_common(2)
    same = [run for run in having if keys[run.name] == counts[0][0]]
    others = [run for run in having if keys[run.name] != counts[0][0]]
    if len(counts) > 1 and counts[1][1] == counts[0][1]:
        note = f"{metric}: no protocol is that of most runs, none is ranked; unlike {same[0].name}: "
        return Ranking(metric, better, (), tuple(run.name for run in having), note + _differences(metric, same, others))
    best, undecided = _best(metric, same) if better is not None and len(same) > 1 else ((), ())
    notes = [f"{metric}: measured by another protocol, not ranked: {_differences(metric, same, others)}"] * bool(others)
    if undecided:
        least = min(same, key=lambda run: run.values[metric])
        notes.append(
            f"{metric}: none is the best: of {_listed(metric, undecided)} the values are upper bounds, and the true "
            f"ones may be below that of {least.name}, the lowest"
        )
    unranked = tuple(run.name for run in [*others, *undecided])
    return Ranking(metric, better, best, unranked, "; ".join(notes))


def _to_match(run: Run, metric: str) -> dict[str, Any]:
    """Return the part of the protocol that must be the same for two values to be ordered at all."""
    return {k: v for k, v in protocol(run, metric).items() if metric not in LIKELIHOODS or k not in ("kind", "draws")}


def _best(metric: str, runs: Sequence[Run]) -> tuple[tuple[str, ...], list[Run]]:
    """Return the names of the best, or none and the runs whose true value may be better than the best seen."""
    value = (min if BETTER[metric] == "lower" else max)(run.values[metric] for run in runs)
    best = [run for run in runs if run.values[metric] == value]
    rest = [run for run in runs if run.values[metric] != value] if metric in LIKELIHOODS else []
    like = protocol(best[0], metric)
    hidden = [run for run in rest if protocol(run, metric) != like and _kind(run, metric) not in PRECISE]
    return ((), hidden) if hidden else (tuple(run.name for run in best), [])


def _kind(run: Run, metric: str) -> str:
    return str(run.protocols.get(metric, {}).get("kind", "exact"))


def _listed(metric: str, runs: Sequence[Run]) -> str:
    return ", ".join(f"{run.name} ({_kind(run, metric)})" for run in runs)


def _differences(metric: str, same: Sequence[Run], others: Sequence[Run]) -> str:
    """Say how the protocols of some runs differ from that of the others."""
    said: dict[str, list[str]] = {}
    standard = _to_match(same[0], metric)
    for run in others:
        own = _to_match(run, metric)
        differing = [key for key in [*standard, *own] if standard.get(key) != own.get(key)]
        words = ", ".join(
            f"{key} {own.get(key, 'none')} not {standard.get(key, 'none')}" for key in dict.fromkeys(differing)
        )
        said.setdefault(words, []).append(run.name)
    return "; ".join(f"{', '.join(names)} ({words})" for words, names in said.items())
