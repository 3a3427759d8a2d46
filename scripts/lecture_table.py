"""The lectures' comparison of families (Tomczak's table) with measured cells: `make table`.

    python scripts/lecture_table.py [--out outputs/table] [--seeds 5] [--models vae,gan]

Every model is trained on the same digits by its own recipe, from five seeds; seed 0 is measured whole, the others by
their Fréchet distance alone. A seed fails when its training stops with an error, or when its samples lie further from
the test digits than those of one Gaussian fitted to the training digits. What is done is skipped when started again.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gentool.commands.program import gentool
from gentool.comparison import Run, read_runs, unevaluated
from gentool.errors import GentoolError
from gentool.training.checkpoints import atomic_write
from gentool.training.console import number

DATASET = "digits"
METRICS = ["nll", "bits_per_dim", "frechet", "precision", "recall", "linear_probe", "samples_per_second"]
"""Of seed 0; precision is for `compare`'s trilemma over the same runs."""
GAUSSIAN = "one Gaussian"
"""What every family should beat; its Fréchet distance is where a seed fails."""


class Family(NamedTuple):
    """One row.

    Attributes:
        name: of the family, in the lectures' words.
        words: what is typed after `gentool train`.
        said: training, likelihood, sampling, compression and representation in Tomczak's words; empty where his table
            does not have the family.
    """

    name: str
    words: Sequence[str]
    said: Sequence[str] = ()


AUTOREGRESSIVE = ("stable", "exact", "slow", "lossless", "no")
FLOW = ("stable", "exact", "fast or slow", "lossless", "yes")
IMPLICIT = ("unstable", "no", "fast", "no", "no")
PRESCRIBED = ("stable", "approximate", "fast", "lossy", "yes")
ENERGY = ("unstable", "unnormalised", "slow", "rather not", "yes")

FAMILIES = {
    GAUSSIAN: Family("(to beat)", ["model=gmm", "model.components=1"]),
    "gmm": Family("mixture", ["model=gmm"]),
    "pixelcnn": Family("autoregressive", ["model=pixelcnn"], AUTOREGRESSIVE),
    "glow": Family("flow", ["model=glow"], FLOW),
    "gan": Family("implicit", ["model=gan"], IMPLICIT),
    "wgan_gp": Family("implicit", ["model=wgan_gp"], IMPLICIT),
    "vae": Family("prescribed", ["model=vae"], PRESCRIBED),
    "vq_vae": Family("prescribed", ["model=vq_vae"], PRESCRIBED),
    "ebm": Family("energy-based", ["model=ebm"], ENERGY),
    "ddpm": Family("diffusion", ["model=ddpm"]),
    "flow_matching": Family("flow matching", ["model=flow_matching"]),
}


def train(model: str, seed: int, out: Path) -> Run | None:
    """Train and evaluate one seed of a model, as far as that is not done; None where its training failed."""
    run, log = out / "runs" / model.replace(" ", "_") / f"seed_{seed}", out / "logs" / f"{model}_{seed}.log"
    if not (run / "summary.json").is_file():
        stopped = (run / "checkpoints" / "last.pt").is_file()
        start = [*FAMILIES[model].words, f"dataset={DATASET}", f"seed={seed}", f"out={run}"]
        code, said = gentool(["train", *([f"resume={run}"] if stopped else start)], log)
        if code:
            stop_on_signal(code)
            print(f"{model}, seed {seed}: failed: {said}", flush=True)
            return None
    found = read_runs([str(run)])
    if unevaluated(found):
        metrics = METRICS if seed == 0 else ["frechet"]
        words = ["evaluate", f"ckpt={run}", f"metrics=[{','.join(metrics)}]"]
        words += [f"out={run / 'evaluate'}", "overwrite=true"]
        code, said = gentool(words, log.with_suffix(".evaluate.log"))
        if code:
            stop_on_signal(code)
            raise GentoolError(f"{model}, seed {seed}: it could not be evaluated: {said}")
        found = read_runs([str(run)])
    print(f"{model}, seed {seed}: Fréchet {found[0].values['frechet']:.2f}", flush=True)
    return found[0]


def stop_on_signal(code: int) -> None:
    """Leave with the exit code of a child that was told to stop."""
    if code in (130, 143):
        sys.exit(code)


def failed(runs: Sequence[Run | None], limit: float) -> int:
    """Count the seeds that did not finish, or whose samples lie further from the data than `limit`."""
    return sum(run is None or not run.values["frechet"] < limit for run in runs)


def value(run: Run, metric: str, digits: int = 3) -> str:
    """Return a number with its error and its kind, or a dash."""
    if metric not in run.values:
        return "–"
    error = run.errors.get(metric)
    kind = run.protocols[metric].get("kind", "")
    text = number(run.values[metric], digits) + (f" ± {error:.1g}" if error else "")
    return text + (f" ({kind})" if kind else "")


def rate(speed: float) -> str:
    """Return samples a second, whole where that says enough."""
    return f"{speed:,.0f} / s" if speed >= 10 else f"{speed:.1f} / s"


def row(model: str, runs: Sequence[Run | None], limit: float) -> list[str]:
    """Return the cells of a model: of its first seed, but for the count of failures."""
    family, first = FAMILIES[model], runs[0]
    seeds = "" if model == GAUSSIAN else f"{failed(runs, limit)} of {len(runs)} failed"
    measured = ["–"] * 6
    if first is not None:
        measured = [value(first, "nll", 4), rate(first.values["samples_per_second"])]
        measured += [value(first, metric) for metric in ("bits_per_dim", "linear_probe", "frechet", "recall")]
    words = [f" · *{said}*" if said else "" for said in [*(family.said or [""] * 5), "", ""]]
    cells = [f"{cell}{said}" for cell, said in zip([seeds, *measured], words, strict=True)]
    name = model if model == GAUSSIAN else f"`{model}`"
    return [family.name, name, *cells]


def markdown(runs: Mapping[str, Sequence[Run | None]]) -> str:
    """Return the table."""
    gaussian = runs[GAUSSIAN][0]
    assert gaussian is not None
    limit = gaussian.values["frechet"]
    heading = ["family", "model", "training", "likelihood, nats", "sampling", "compression, bits/dim"]
    heading += ["representation, linear probe", "quality, Fréchet", "coverage, recall"]
    lines = [heading, ["---"] * len(heading), *(row(model, seeds, limit) for model, seeds in runs.items())]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    """Train, measure, and write `table.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/table"))
    parser.add_argument("--seeds", type=int, default=5, help="of each model")
    parser.add_argument("--models", default=",".join(FAMILIES), help="which, with commas between")
    options = parser.parse_args()
    asked = options.models.split(",")
    if unknown := [model for model in asked if model not in FAMILIES]:
        parser.error(f"no such model here: {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    runs: dict[str, list[Run | None]] = {}
    for model in dict.fromkeys([GAUSSIAN, *asked]):
        seeds = 1 if model == GAUSSIAN else options.seeds
        runs[model] = [train(model, seed, options.out) for seed in range(seeds)]
    text = markdown(runs)
    atomic_write(options.out / "table.md", lambda file: file.write(text.encode()))
    print(f"\n{text}\n{options.out / 'table.md'}")


if __name__ == "__main__":
    main()
