"""Bar 2: RealNVP and NSF on points, side by side with what a user would pick instead.

Four programs train the same flow on the same points with the same batch and optimiser, each in a process of its own,
in turn: `gentool train` in fp32 with everything on, and the loop one writes by hand around normflows, nflows and zuko.
All are rated by the processor time of one thread: machines are shared, and at this size a second thread only costs.
RealNVP: 8 affine couplings; NSF: 6 couplings of rational-quadratic splines with 8 bins on [-5, 5]; each coupling with a
ReLU network of 64-64 units. The peers are pip-installed beside pythae, see vae.py.

    python benchmarks/flows.py [--rounds 9] [--steps 150] [--batch 512] [--only realnvp] [--compile]
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
from vae import PEERS, peers_python

HERE = Path(__file__).resolve().parent
LIBRARIES = ["normflows==1.7.3", "nflows==0.14", "zuko==1.6.0"]
FLOWS = {
    "realnvp": ["model.transform.couplings=8"],
    "nsf": ["model.transform.kind=coupling", "model.transform.blocks=3"],
}


def libraries_python() -> str:
    """Return the interpreter that has the flow libraries, installed at first use."""
    python = peers_python()
    done = PEERS / ".installed-flows"
    if not done.is_file():  # without what they need for plots and for other flows
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *LIBRARIES], check=True)
        done.touch()
    return python


def points(examples: int) -> np.ndarray:
    """Return (examples, 2) float32: eight Gaussians on a circle."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * rng.integers(8, size=examples) / 8
    x = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * rng.standard_normal((examples, 2))
    return x.astype(np.float32)


def ours(flow: str, data: str, steps: int, batch: int, compiled: bool) -> None:
    """Train by `gentool train`, so many steps a turn."""
    serve = Serve()

    def handed_over(seconds: float | None, source: Any) -> None:
        if seconds is not None:
            serve.answer(steps * batch / seconds)
        if not serve.asked():
            raise Stop

    same = [f"model={flow}", "model.transform.network.hidden_features=[64,64]", "optimizer=adam", "dataset=array"]
    same += [f"dataset.path={data}", f"trainer.batch_size={batch}", "trainer.epochs=null", "trainer.steps=10000000"]
    same += ["device=cpu", "device.precision=fp32", f"device.compile={str(compiled).lower()}"]
    train_in_turns([*same, *FLOWS[flow]], steps, handed_over, process_time)


def main() -> None:
    """Print a table for each flow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each program")
    parser.add_argument("--steps", type=int, default=150, help="training steps a turn")
    parser.add_argument("--batch", type=int, default=512, help="examples a batch")
    parser.add_argument("--only", choices=FLOWS, help="one flow instead of all")
    parser.add_argument("--compile", action="store_true", help="also gentool with device.compile=true")
    parser.add_argument("--contend", nargs=3, metavar=("FLOW", "DATA", "COMPILED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contend:
        flow, data, compiled = args.contend
        return ours(flow, data, args.steps, args.batch, compiled == "True")
    os.environ["OMP_NUM_THREADS"] = "1"  # of every program started here
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "points.npz")
        np.savez(data, x=points(50_000))
        for flow in [args.only] if args.only else FLOWS:
            report(flow, data, args)
    return None


def report(flow: str, data: str, args: argparse.Namespace) -> None:
    """Let all take turns with one flow, and print the ratios to the fastest peer."""
    sizes = ["--steps", str(args.steps), "--batch", str(args.batch)]
    names = {"gentool": False} | ({"gentool, compiled": True} if args.compile else {})
    contenders = [
        Contender(name, [sys.executable, __file__, *sizes, "--contend", flow, data, str(compiled)])
        for name, compiled in names.items()
    ]
    worker = [libraries_python(), str(HERE / "flows_worker.py"), flow, data, str(args.steps), str(args.batch)]
    peers = [library.split("==")[0] for library in LIBRARIES]
    contenders += [Contender(peer, [*worker, peer]) for peer in peers]
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(args.rounds + 1):
        for contender in contenders:
            rate = contender.turn()
            if turn:  # the first warms up
                rates[contender.name].append(rate)
    for contender in contenders:
        contender.close()
    fastest = max(peers, key=lambda peer: median(rates[peer]))
    print(f"\n{flow}, batch {args.batch}\n")
    print(f"| program | examples/s | against {fastest}, the fastest peer: median (quartiles) |\n|---|---|---|")
    for name, own in rates.items():
        print(f"| {name} | {median(own):,.0f} | {ratios(own, rates[fastest])} |")


if __name__ == "__main__":
    sys.exit(main())
