"""Finished runs and what `evaluate` measured of them."""

import glob
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from gentool.errors import UsageError
from gentool.training.checkpoints import identity
from gentool.training.folders import OUTPUTS
from gentool.training.runs import finished_runs

MOVABLE = ("root", "path", "_target_")
"""Keys of a dataset that say where it lies, not what it is."""

UNLIKE = ("seed", "out", "resume", "dry_run", "sweep")
"""Keys of a config in which two runs of one experiment may differ."""


@dataclass(frozen=True)
class Run:
    """A finished run, and the newest value of every metric that was measured of its checkpoints.

    Attributes:
        folder: of the run.
        name: what tells it from the others that are compared.
        summary: what its summary.json holds.
        data: what it was trained on: the dataset's name and options.
        values: by metric.
        errors: standard errors by metric; None where there is none.
        protocols: how each metric was measured.
        unavailable: metrics that could not be measured, with the reason.
        settings: its config without the seed and what says where it lies: equal in runs that differ in the seed alone.
        seeds: runs it stands for: above 1 `values` are means, and `errors` standard deviations over the seeds.
    """

    folder: Path
    name: str
    summary: dict[str, Any]
    data: dict[str, Any]
    values: dict[str, float]
    errors: dict[str, float | None]
    protocols: dict[str, dict[str, Any]]
    unavailable: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    seeds: int = 1

    @property
    def grid(self) -> Path | None:
        """The newest picture of its samples."""
        return max((self.folder / "samples").glob("step_*.png"), default=None)


def read_runs(asked: Sequence[str] | None) -> list[Run]:
    """Read finished runs.

    Args:
        asked: folders of runs, folders that hold runs, or patterns of either; None: every finished run under outputs/
            that was evaluated.

    Returns:
        The runs, in the order asked for; names are unique.

    Raises:
        UsageError: if there is none, or one is no finished run.
    """
    folders = (
        list(finished_runs())[::-1]
        if asked is None
        else list({folder.resolve(): folder for folder in _folders(asked)}.values())
    )
    if not folders:
        raise UsageError("no finished run under outputs/; train some (gentool train), or give runs=[A,B]")
    measured = list(_evaluations(folders))
    runs = [_read(folder, measured) for folder in folders]
    if asked is None:
        runs = [run for run in runs if run.protocols or run.unavailable]
        if not runs:
            raise UsageError(
                "no finished run under outputs/ was evaluated; gentool evaluate ckpt=RUN, or evaluate=true"
            )
    return _named(runs)


def unevaluated(runs: Iterable[Run]) -> list[Run]:
    """Return the runs of whose checkpoints, as they are now, nothing was measured."""
    return [run for run in runs if not run.protocols and not run.unavailable]


def _folders(asked: Sequence[str]) -> Iterator[Path]:
    for word in asked:
        path = Path(word)
        found = [path] if path.exists() else [Path(name) for name in sorted(glob.glob(word))]
        inside = [run for each in found for run in _finished(each)]
        if not found:
            raise UsageError(
                f"runs={word}: no such folder; expected folders of runs, such as outputs/train/vae-mnist/…"
            )
        if not inside:
            stopped = next((each for each in found if (each / "checkpoints").is_dir()), None)
            hint = f"it has not finished: gentool train resume={stopped}" if stopped else "there is no run"
            raise UsageError(f"runs={word}: no summary.json there; {hint}")
        yield from inside


def _finished(path: Path) -> list[Path]:
    if (path / "summary.json").is_file():
        return [path]
    return sorted(summary.parent for depth in ("*", "*/*") for summary in path.glob(f"{depth}/summary.json"))


def _named(runs: Sequence[Run]) -> list[Run]:
    """Give runs short names that differ: the model's, with the dataset's, or the last parts of their folders."""
    parts = [run.folder.resolve().parts for run in runs]
    candidates = [
        [str(run.summary["model"]) for run in runs],
        [f"{run.summary['model']}-{run.summary['dataset']}" for run in runs],
        *(["/".join(part[-depth:]) for part in parts] for depth in range(1, max(map(len, parts)) + 1)),
    ]
    names = next(names for names in candidates if len(set(names)) == len(names))
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def _evaluations(folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield what metrics.json files hold, oldest first: those under outputs/ and inside the runs."""
    files = {*OUTPUTS.glob("evaluate/*/*/metrics.json"), *OUTPUTS.glob("multirun/*/*/metrics.json")}
    files |= {file for folder in folders for file in folder.glob("*/metrics.json")}
    for file in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(found, dict) and "sha256" in found.get("run", {}):
            yield found


def _read(folder: Path, measured: Sequence[dict[str, Any]]) -> Run:
    files = [folder / "checkpoints" / f"{which}.pt" for which in ("best", "last")]
    own = {identity(file)["sha256"] for file in files if file.is_file()}
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        data = {"dataset": summary["dataset"]} | {k: v for k, v in config["dataset"].items() if k not in MOVABLE}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UsageError(f"runs={folder}: its summary.json or config.yaml cannot be read: {error}") from error
    settings = {key: value for key, value in config.items() if key not in UNLIKE} | {"dataset": data}
    run = Run(folder, folder.name, summary, data, {}, {}, {}, {}, settings)
    for report in measured:
        if report["run"]["sha256"] in own:
            run.values.update(report["metrics"])
            run.errors.update(report["standard_error"])
            run.protocols.update(report["protocol"])
            run.unavailable.update(report["unavailable"])
    for metric in [name for name in run.unavailable if name in run.values]:
        del run.unavailable[metric]
    return run


def grouped(runs: Sequence[Run]) -> list[Run]:
    """Return one run for all that differ in their seed alone: means, and standard deviations over the seeds.

    Args:
        runs: as `read_runs` returns them.

    Returns:
        In the order of the first of each. A metric counts where every run of the group was measured by one protocol.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run.summary["model"], run.settings], sort_keys=True, default=str), []).append(run)
    return _named([_mean(group) for group in groups.values()])


def _mean(group: Sequence[Run]) -> Run:
    first = group[0]
    if len(group) == 1:
        return first
    values: dict[str, float] = {}
    errors: dict[str, float | None] = {}
    unavailable = dict(first.unavailable)
    for metric in dict.fromkeys(name for run in group for name in run.values):
        found = [run.values[metric] for run in group if metric in run.values]
        if len(found) < len(group):
            unavailable[metric] = f"of {len(found)} of {len(group)} seeds alone"
        elif any(run.protocols.get(metric) != first.protocols.get(metric) for run in group):
            unavailable[metric] = "by one protocol for all seeds"
        else:
            values[metric], errors[metric] = mean(found), stdev(found)
    seconds = mean(float(run.summary.get("seconds") or 0) for run in group)
    summary = first.summary | {"seconds": seconds}
    return replace(first, summary=summary, values=values, errors=errors, unavailable=unavailable, seeds=len(group))
