"""Bar: sampling with caches is at least 20 times as fast as one whole forward pass a pixel or token.

Both are what `gentool sample` can run: the naive loop is the path of networks without caches, timed over some of its
steps (they all cost the same: one pass over the whole example) and taken times the number of dimensions. Each draws in
the precision and memory format that `device=auto` chooses. The two take turns; networks are not trained.

    python benchmarks/sampling.py [--rounds 5] [--steps 4] [--only pixelcnn]
"""

import argparse
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from hydra.utils import instantiate
from turns import machine, ratios

from gentool.batch import Batch
from gentool.cli.compose import composer, plain
from gentool.models.autoregressive import Autoregressive
from gentool.space import DataSpace

BITS = {"shape": (1, 28, 28), "levels": 2}
GREY = {"shape": (1, 28, 28), "levels": 256}
COLOUR = {"shape": (3, 32, 32), "levels": 256}
TEXT = {"shape": (256,), "levels": 65, "vocabulary": tuple(chr(32 + i) for i in range(65))}
PAPER = ["model.network.channels=16", "model.network.blocks=15"]
LARGE = [f"model.network.{key}" for key in ("layers=6", "heads=6", "features=384")]
CASES: dict[str, tuple[list[str], dict[str, Any], Sequence[int]]] = {
    "pixelcnn, 28×28 bits": (["model=pixelcnn"], BITS, (1, 16, 64)),
    "pixelcnn, 15 blocks of 16, bits": (["model=pixelcnn", *PAPER], BITS, (64,)),
    "pixelcnn, 28×28, 256 levels": (["model=pixelcnn"], GREY, (16,)),
    "pixelcnn, 3×32×32, 256 levels": (["model=pixelcnn"], COLOUR, (4,)),
    "transformer, 28×28 bits": (["model=transformer"], BITS, (1, 16, 64)),
    "transformer, 256 characters": (["model=transformer"], TEXT, (1, 16)),
    "transformer, 6 layers of 384, 256 characters": (["model=transformer", *LARGE], TEXT, (1,)),
}


def space(shape: tuple[int, ...], levels: int, vocabulary: tuple[str, ...] = ()) -> DataSpace:
    """Return a space without labels."""
    full = torch.full(shape, levels - 1.0)
    none = torch.zeros(0)
    return DataSpace(
        shape=shape, levels=levels, classes=0, examples=1, loc=full / 2, scale=full, frequencies=none,
        vocabulary=vocabulary,
    )  # fmt: skip


def build(overrides: Sequence[str], where: DataSpace) -> Autoregressive:
    """Build a model as `gentool train` does, placed as `device=auto` does."""
    with composer("train") as compose:
        composed = compose(["dataset=heights", *overrides])  # any: there are no recipes for it
        config = plain(composed, "train")
    model: Autoregressive = instantiate(config["model"], _convert_="all")(where)
    instantiate(config["device"], _convert_="all").place(model)
    return model.eval()


@torch.no_grad()
def cached(model: Autoregressive, n: int) -> float:
    """Return the seconds that n samples take."""
    started = perf_counter()
    model.sample(n)
    return perf_counter() - started


@torch.no_grad()
def naive(model: Autoregressive, n: int, steps: int) -> float:
    """Return the seconds that n samples take by a whole forward pass a dimension, from those of some steps."""
    batch = Batch(model.sample(1).repeat(n, *[1] * len(model.space.shape)), None, torch.arange(n))
    u = torch.rand(n)
    started = perf_counter()
    for _ in range(steps):
        outputs = model.network(model._seen(batch.x), None).flatten(2)[..., 0]
        model._draw(outputs, u, 0)
    return (perf_counter() - started) / steps * model.space.dims


def main() -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(f"{machine()}, {torch.get_num_threads()} threads\n")
    print("| case | samples at once | dimensions a second, cached | cached over naive: median (quartiles) |")
    print("|---|---|---|---|", flush=True)
    for name, (overrides, facts, counts) in CASES.items():
        if options.only not in name:
            continue
        model = build(overrides, space(**facts))
        for n in counts:
            cached(model, 1), naive(model, n, 1)  # warm up
            fast, slow = [], []
            for _ in range(options.rounds):
                fast.append(cached(model, n))
                slow.append(naive(model, n, options.steps))
            rate = n * model.space.dims / sorted(fast)[len(fast) // 2]
            print(f"| {name} | {n} | {rate:,.0f} | {ratios(slow, fast)} |", flush=True)


if __name__ == "__main__":
    main()
