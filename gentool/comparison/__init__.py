"""Runs side by side: what was measured of each, what may be ranked, and the tables and the page that show it."""

from gentool.comparison.ranking import Ranking, ranked
from gentool.comparison.runs import Run, grouped, read_runs, unevaluated

__all__ = ["Ranking", "Run", "grouped", "ranked", "read_runs", "unevaluated"]
