"""A training step of a GAN, side by side with what a user would pick instead, in processor time of one thread.

Three games on 32x32 colour images, each against a public implementation of the same networks: SNGAN (residual players,
hinge, spectral norm, 5 critic steps) and DCGAN with residual players against torch-mimicry, DCGAN with strided
convolutions against torchgan. `gentool train` runs with everything on, in fp32 and with its defaults; of the peers only
their own training steps run, on a batch in memory, in fp32, the only precision they have on a CPU. Programs take turns,
each in a process of its own, and are rated by examples (batch x training steps) a second of processor time, which other
work on the machine disturbs less than the clock. The peers are pip-installed beside pythae, see vae.py.

    python benchmarks/gan.py [--games sngan dcgan dcgan_residual] [--rounds 5] [--steps 2] [--batch 32] [--width 64]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
from turns import Contender, Serve, Stop, machine, ratios, train_in_turns
from vae import PEERS, PLAIN, peers_python

HERE = Path(__file__).resolve().parent
LIBRARIES = ["torch-mimicry==0.1.16", "torchgan==0.1.0"]
PEER = {"sngan": "torch-mimicry", "dcgan": "torchgan", "dcgan_residual": "torch-mimicry"}
BATCHES = {"sngan": 6, "dcgan": 2, "dcgan_residual": 2}
"""That gentool draws in a training step: one for each step of a player."""


def libraries_python() -> str:
    """Return the interpreter that has the peers, installed at first use."""
    python = peers_python()
    done = PEERS / ".installed-gans"
    if not done.is_file():  # without TensorFlow and what else they need for their metrics
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *LIBRARIES], check=True)
        done.touch()
    return python


def sizes(game: str, width: int) -> list[str]:
    """Return what makes gentool's networks the peer's."""
    if game == "dcgan":
        channels = f"[{width},{2 * width},{4 * width}]"
        return [
            "model=dcgan",
            f"model.generator.hidden_channels={channels}",
            f"model.critic.hidden_channels={channels}",
        ]
    residual = [
        f"model.generator.hidden_channels=[{width},{width},{width}]",
        f"model.critic.hidden_channels=[{width},{width}]",
        "model.critic.blocks=2",
    ]
    if game == "sngan":
        return ["model=sngan", *residual]
    kinds = ["model.generator.kind=resnet", "model.critic.kind=resnet", "model.critic.batch_norm=false"]
    return ["model=dcgan", "model.latent_dim=128", *kinds, *residual]


def ours(game: str, precision: str, data: str, args: argparse.Namespace) -> None:
    """Train by `gentool train`; the first two turns answer what `facts` has, see `gan_worker.serve`."""
    from torch.utils.flop_counter import FlopCounterMode

    from gentool.models.gan import GAN

    serve = Serve()
    facts: list[float] = []
    train_step = GAN.train_step

    def counted(model: GAN, *rest: Any) -> Any:
        GAN.train_step = train_step
        with FlopCounterMode(display=False) as counter:
            metrics = train_step(model, *rest)
        facts.extend([sum(p.numel() for p in model.parameters()), counter.get_total_flops() / 1e9])
        return metrics

    GAN.train_step = counted
    started = 0.0

    def handed_over(seconds: float | None, source: Any) -> None:
        nonlocal started
        rate = args.steps * args.batch / (process_time() - started)
        if seconds is not None:
            serve.answer(facts.pop(0) if facts else rate)
        if not serve.asked():
            raise Stop
        started = process_time()

    never = 10_000_000
    same = ["dataset=image_array", f"dataset.path={data}", f"trainer.batch_size={args.batch}", "trainer.epochs=null"]
    same += [f"trainer.{key}={never}" for key in ("steps", "validate_every", "sample_every", "save_every")]
    precisions = {"fp32": PLAIN, "defaults": []}
    overrides = [*same, *sizes(game, args.width), "device=cpu", *precisions[precision]]
    train_in_turns(overrides, args.steps * BATCHES[game], handed_over)


def report(game: str, data: str, args: argparse.Namespace) -> None:
    """Let all take turns with one game, and print the ratios to the peer."""
    same = ["--steps", str(args.steps), "--batch", str(args.batch), "--width", str(args.width)]
    contenders = [
        Contender(f"gentool, {precision}", [sys.executable, __file__, *same, "--contend", game, precision, data])
        for precision in ("fp32", "defaults")
    ]
    peer = f"{PEER[game]}, fp32"
    worker = [libraries_python(), str(HERE / "gan_worker.py"), game]
    contenders.append(Contender(peer, [*worker, *(str(n) for n in (args.steps, args.batch, args.width))]))
    parameters, gflop = ([contender.turn() for contender in contenders] for _ in range(2))
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(args.rounds):
        for contender in contenders:
            rates[contender.name].append(contender.turn())
    for contender in contenders:
        contender.close()
    print(f"\n{game}, batch {args.batch}, width {args.width}, {args.rounds} rounds of {args.steps} steps\n")
    print(f"| program | parameters | GFLOP a step | examples a processor second | against {PEER[game]} |")
    print("|---|---|---|---|---|")
    for (name, own), count, work in zip(rates.items(), parameters, gflop, strict=True):
        print(f"| {name} | {count:,.0f} | {work:.1f} | {median(own):.1f} | {ratios(own, rates[peer])} |", flush=True)


def main() -> None:
    """Print a table for each game."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", choices=list(PEER), default=list(PEER), help="which to measure")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program")
    parser.add_argument("--steps", type=int, default=2, help="training steps a turn")
    parser.add_argument("--batch", type=int, default=32, help="examples a batch")
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage; the paper has 128 and 256")
    parser.add_argument("--contend", nargs=3, metavar=("GAME", "PRECISION", "DATA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contend:
        ours(*args.contend, args)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "images.npz")
        np.savez(data, x=np.random.default_rng(0).integers(256, size=(2048, 32, 32, 3), dtype=np.uint8))
        for game in args.games:
            report(game, data, args)


if __name__ == "__main__":
    main()
