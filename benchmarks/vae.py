"""Bar 2: a VAE 784-512-16, batch 128, side by side with what a user would pick instead.

Five programs train the same network with the same batch, optimiser and data, each in a process of its own, one epoch a
turn, in turn: gentool in fp32 and with its defaults (`device=auto`), a bare loop over a tensor in memory, the same loop
over `DataLoader` and `ToTensor`, and pythae's trainer. pythae is pip-installed into `.bench-venv`, an environment of
its own that sees this one's torch: the same torch runs them all.

    python benchmarks/vae.py [--rounds 15] [--examples 25600]
"""

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from turns import Contender, Serve, Stop, images, machine, ratios, train_in_turns

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".bench-venv"
BATCH = 128
PYTHAE = "pythae==0.1.2"
PLAIN = ["device.precision=fp32", "device.channels_last=false", "device.compile=false"]


def peers_python() -> str:
    """Return the interpreter that has pythae, made at first use."""
    python = PEERS / "bin" / "python"
    done = PEERS / ".installed"
    if not done.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
        paths = sysconfig.get_paths(vars={"base": str(PEERS), "platbase": str(PEERS)})
        # a path file, not --system-site-packages: gentool's own environment is most often a virtual one itself
        (Path(paths["purelib"]) / "parent.pth").write_text(str(Path(torch.__file__).parents[1]))
        constraints = HERE.parent / "constraints.txt"
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-c", str(constraints), PYTHAE], check=True)
        done.touch()
    return str(python)


class Network(nn.Module):
    """The VAE as one writes it by hand; its forward is the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 32))
        self.decoder = nn.Sequential(nn.Linear(16, 512), nn.ReLU(), nn.Linear(512, 784))

    def forward(self, x: Tensor) -> Tensor:
        """Return the negative ELBO of x (batch, 784) in [0, 1], in nats an example."""
        mu, log_var = self.encoder(x).chunk(2, 1)
        z = mu + torch.randn_like(mu) * (0.5 * log_var).exp()
        cross_entropy = functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum()
        return (cross_entropy + kl) / len(x)


class Pictures(torch.utils.data.Dataset[Tensor]):
    """What torchvision's own MNIST does for each example: a PIL image from the array, then `ToTensor`."""

    def __init__(self, x: np.ndarray) -> None:
        from torchvision.transforms import ToTensor

        self.x, self.transform = x, ToTensor()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> Tensor:
        from PIL import Image

        return self.transform(Image.fromarray(self.x[row]))


def in_memory(data: str) -> Callable[[], Iterator[Tensor]]:
    """Return what makes an epoch of batches by indexing one tensor."""
    x = torch.from_numpy(np.load(data)["x"] // 255).flatten(1)
    return lambda: (x[rows].float() for rows in torch.randperm(len(x)).split(BATCH))


def loader(data: str) -> Callable[[], Iterator[Tensor]]:
    """Return what makes an epoch of batches by `DataLoader` and `ToTensor`."""
    batches = torch.utils.data.DataLoader(Pictures(np.load(data)["x"]), batch_size=BATCH, shuffle=True)
    return lambda: (x.flatten(1) for x in batches)


def by_hand(epoch: Callable[[], Iterator[Tensor]]) -> None:
    """Train by the loop one writes by hand, one epoch a turn."""
    serve = Serve()
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    while serve.asked():
        examples, started = 0, perf_counter()
        for x in epoch():
            optimizer.zero_grad()
            loss = model(x)
            loss.backward()
            optimizer.step()
            examples += len(x)
        serve.answer(examples / (perf_counter() - started))


def ours(data: str, overrides: list[str]) -> None:
    """Train by `gentool train` with everything on, as many batches a turn as the others' epoch has."""
    serve = Serve()
    steps = len(np.load(data)["x"]) // BATCH

    def handed_over(seconds: float | None, source: Any) -> None:
        if seconds is not None:
            serve.answer(steps * BATCH / seconds)
        if not serve.asked():
            raise Stop

    same = ["model=vae", "model.latent_dim=16", "model.encoder.hidden_features=[512]", "optimizer=adam"]
    same += ["model.decoder.hidden_features=[512]", "dataset=image_array", f"dataset.path={data}"]
    same += [
        "dataset.binarize=threshold",
        f"trainer.batch_size={BATCH}",
        "trainer.epochs=null",
        "trainer.steps=10000000",
    ]
    train_in_turns([*same, *overrides], steps, handed_over)


def contend(who: str, data: str) -> None:
    """Be one of the contenders."""
    programs: dict[str, Callable[[], None]] = {
        "gentool, fp32": lambda: ours(data, PLAIN),
        "gentool, defaults": lambda: ours(data, []),
        "bare loop": lambda: by_hand(in_memory(data)),
        "DataLoader + ToTensor": lambda: by_hand(loader(data)),
    }
    programs[who]()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each program")
    parser.add_argument("--examples", type=int, default=25_600, help="examples an epoch, a turn being one")
    parser.add_argument("--contend", nargs=2, metavar=("WHO", "DATA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contend:
        return contend(*args.contend)
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "images.npz")
        np.savez(data, x=images(args.examples))
        pythae = Contender("pythae", [peers_python(), str(HERE / "pythae_worker.py"), data, str(BATCH)])
        names = ["gentool, fp32", "gentool, defaults", "bare loop", "DataLoader + ToTensor"]
        own = [Contender(name, [sys.executable, __file__, "--contend", name, data]) for name in names]
        report([*own, pythae], args.rounds)
    return None


def report(contenders: list[Contender], rounds: int) -> None:
    """Let all take turns, and print the ratios to the last."""
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(rounds + 1):
        for contender in contenders:
            rate = contender.turn()
            if turn:  # the first warms up
                rates[contender.name].append(rate)
    for contender in contenders:
        contender.close()
    print(machine())
    print("| program | examples/s | against pythae: median (quartiles) | against the bare loop |")
    print("|---|---|---|---|")
    for name, own in rates.items():
        print(f"| {name} | {mean(own):,.0f} | {ratios(own, rates['pythae'])} | {ratios(own, rates['bare loop'])} |")


if __name__ == "__main__":
    sys.exit(main())
