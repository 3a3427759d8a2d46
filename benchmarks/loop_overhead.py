"""Bar 1: the loop with everything on keeps 97 % of a bare hand-written loop's examples a second.

`gentool train` runs as a user runs it (progress, metrics.jsonl, TensorBoard, finite checks, signals), in turns with a
bare loop in the same process: the same model, placed alike, the same optimiser, the same data in memory, EMA where it
is on. Validation, pictures and checkpoints are timed apart, and printed below the table.

    python benchmarks/loop_overhead.py [--rounds 40] [--turn 200] [--only conv]
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from turns import Apart, Stop, images, machine, ratios, train_in_turns

BATCH = 128
CASES = {
    "vae, digits": ["model=vae", "dataset=digits"],
    "vae, 28×28": ["model=vae", "dataset=image_array", "dataset.binarize=threshold"],
    "vae, 28×28, EMA": ["model=vae", "dataset=image_array", "dataset.binarize=threshold", "trainer.ema=0.999"],
    "vae_conv, 28×28": ["model=vae_conv", "dataset=image_array", "dataset.binarize=threshold"],
}


class Bare:
    """The loop one writes by hand in a notebook.

    Args:
        overrides: of the run it is compared with.
        source: the training split of that run.
        config: the composed config of that run.
    """

    def __init__(self, overrides: Sequence[str], source: Any, config: dict[str, Any]) -> None:
        import gentool
        from gentool.device import Device

        self.model, _ = gentool.build(*overrides)
        device = {key: value for key, value in config["device"].items() if key != "_target_"}
        Device(**device).place(self.model)
        self.model.train()
        self.optimizer = instantiate(config["optimizer"])(self.model.parameters())
        self.x = source.batch(torch.arange(len(source)), torch.Generator()).x
        self.decay = config["trainer"]["ema"]
        self.mean = [p.detach().clone() for p in self.model.parameters()]
        self.loss = bare_loss(self.model)

    def turn(self, steps: int) -> None:
        """Train for so many steps."""
        order = torch.randint(len(self.x), (steps, BATCH))
        for rows in order:
            loss = self.loss(self.x[rows], rows)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            if self.decay is not None:
                with torch.no_grad():
                    torch._foreach_lerp_(self.mean, list(self.model.parameters()), 1 - self.decay)


def bare_loss(model: Any) -> Callable[..., torch.Tensor]:
    """Return the scalar that the bare loop minimises, of a batch and its rows."""
    from gentool.batch import Batch

    return lambda x, rows: model.loss(Batch(x, None, rows), 1.0).total


def compare(overrides: Sequence[str], rounds: int, steps: int) -> tuple[list[float], list[float], Apart]:
    """Let `gentool train` and the bare loop take turns.

    Args:
        overrides: what is trained.
        rounds: pairs of turns.
        steps: training steps a turn.

    Returns:
        Examples a second of every turn of the command, and of the bare loop; what was timed apart.
    """
    ours: list[float] = []
    theirs: list[float] = []
    bare: list[Bare] = []

    def handed_over(seconds: float | None, source: Any) -> None:
        if not bare:
            from gentool import config

            bare.append(Bare(overrides, source, config.current()))
        started = perf_counter()
        bare[0].turn(steps)
        theirs.append(steps * BATCH / (perf_counter() - started))
        if seconds is not None:
            ours.append(steps * BATCH / seconds)
        if len(ours) == rounds + 1:
            raise Stop

    length = steps * (rounds + 9)
    endless = [
        "trainer.epochs=null",
        f"trainer.steps={length}",
        f"trainer.validate_every={length}",
        f"trainer.sample_every={length}",
    ]
    apart = train_in_turns([*overrides, *endless], steps, handed_over)
    return ours[1:], theirs[2:], apart  # the first of each warms up; the command's turn comes before its pair


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="pairs of turns a case")
    parser.add_argument(
        "--turn", type=int, default=200, help="training steps a turn; a quarter of it where convolutions are"
    )
    parser.add_argument("--only", default="", help="cases whose name holds this")
    args = parser.parse_args()
    print(machine())
    print("| case | gentool, examples/s | bare loop | ratio: median (quartiles) | apart: mean seconds of each |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.npz"
        np.savez(data, x=images(60_000))
        for name, overrides in CASES.items():
            if args.only not in name:
                continue
            here = [f"dataset.path={data}"] if "dataset=image_array" in overrides else []
            typed = [*overrides, *here, f"trainer.batch_size={BATCH}"]
            ours, bare, apart = compare(typed, args.rounds, args.turn // 4 if "conv" in name else args.turn)
            rest = ", ".join(f"{what} {mean(times):.3f}" for what, times in apart.seconds.items())
            print(f"| {name} | {mean(ours):,.0f} | {mean(bare):,.0f} | {ratios(ours, bare)} | {rest} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
