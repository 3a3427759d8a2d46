"""Bar 2: a training step of a U-Net, side by side with the two that a user would pick instead, per FLOP.

Each program trains a U-Net of 32, 64 and 64 channels, one residual block a level (lucidrains: two), attention at 8x8,
on 32x32 images of one channel, by Adam on the squared error of the noise that was added, so many steps a turn, in turn:
gentool's in fp32 and with its defaults, diffusers' `UNet2DModel` and lucidrains' `Unet` in fp32 and under bfloat16
autocast. The networks differ, so what is compared is arithmetic a second: the FLOPs that torch's own counter finds in
one training step, divided by the time the step took. The peers are pip-installed beside pythae, see vae.py.

    python benchmarks/unet.py [--rounds 7] [--steps 3] [--batch 64]
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from turns import Contender, machine, ratios
from unet_worker import serve
from vae import PEERS, peers_python

HERE = Path(__file__).resolve().parent
LIBRARIES = ["diffusers==0.42.1", "denoising-diffusion-pytorch==2.3.4"]
SIDE = 32


def libraries_python() -> str:
    """Return the interpreter that has the peers, installed at first use."""
    python = peers_python()
    done = PEERS / ".installed-unets"
    if not done.is_file():
        constraints = HERE.parent / "constraints.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "-c", str(constraints), *LIBRARIES], check=True)
        done.touch()
    return python


def ours(precision: str, steps: int, batch: int) -> None:
    """Train gentool's denoiser, so many steps a turn."""
    from gentool.device import measured
    from gentool.nn import denoiser
    from gentool.space import DataSpace

    shape = (1, SIDE, SIDE)
    ones = torch.ones(shape)
    space = DataSpace(
        shape=shape,
        levels=None,
        classes=0,
        examples=1,
        loc=0 * ones,
        scale=ones,
        frequencies=ones[0, 0, :0],
        vocabulary=(),
    )
    options = {"kind": "unet", "hidden_features": [], "octaves": 0, "activation": "silu", "dropout": 0.0, "patch": 1}
    network = denoiser(space, 1, 0, hidden_channels=[32, 64, 64], blocks=1, attention=8, **options)
    network.place(*(measured("cpu") if precision == "auto" else ("fp32", False, False)))

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = network(x, t, None)
        return out

    serve(network, velocity, SIDE, steps, batch)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each program")
    parser.add_argument("--steps", type=int, default=3, help="training steps a turn")
    parser.add_argument("--batch", type=int, default=64, help="examples a batch")
    parser.add_argument("--contend", metavar="PRECISION", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contend:
        ours(args.contend, args.steps, args.batch)
        return
    same = ["--steps", str(args.steps), "--batch", str(args.batch)]
    script, worker, python = str(HERE / "unet.py"), str(HERE / "unet_worker.py"), libraries_python()
    programs = [
        Contender("gentool, defaults", [sys.executable, script, "--contend", "auto", *same]),
        Contender("gentool, fp32", [sys.executable, script, "--contend", "fp32", *same]),
    ]
    for name in ("diffusers", "lucidrains"):
        for precision in ("fp32", "bf16"):
            command = [python, worker, name, precision, str(SIDE), str(args.steps), str(args.batch)]
            programs.append(Contender(f"{name}, {precision}", command))
    rates: dict[str, list[float]] = {program.name: [] for program in programs}
    for program in programs:
        program.turn()  # the first is not counted
    for _ in range(args.rounds):
        for program in programs:
            rates[program.name].append(program.turn())
    for program in programs:
        program.close()
    print(f"{machine()}; batch {args.batch}, {args.rounds} rounds of {args.steps} steps\n")
    print("| program | GFLOP/s | gentool with its defaults | gentool in fp32 |\n|---|---|---|---|")
    for name, speeds in rates.items():
        columns = (ratios(rates[own], speeds) for own in ("gentool, defaults", "gentool, fp32"))
        print(f"| {name} | {median(speeds):.0f} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
