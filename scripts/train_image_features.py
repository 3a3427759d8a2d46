"""Train a small network whose layers could be features of images: what `judge_image_features.py` holds others against.

    nice python scripts/train_image_features.py network.pt    # minutes of one thread; needs CIFAR-10 in $GENTOOL_DATA

It learns the classes of CIFAR-10's training images, and of drawn images the shape in front and the texture behind.
Half of all are flipped, and a quarter is grey. The same seed gives the same weights on the same machine.
"""

import argparse
import os
import time
from pathlib import Path

import torch
from drawn_images import KINDS, TEXTURES, draw
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gentool.data.colour import cifar10
from gentool.data.dataset import Rows, Source
from gentool.metrics.scattering import resized

WIDTHS = (16, 32, 48, 96)
"""Channels of the stages; each but the first halves height and width."""

BATCH, RATE = 100, 4e-3


class ImageNetwork(nn.Module):
    """Four convolutions with batch norm and ReLU, and three linear heads on the mean of the last stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for inputs, outputs in zip((3, *WIDTHS), WIDTHS, strict=False):
            convolution = nn.Conv2d(inputs, outputs, 3, 1 if inputs == 3 else 2, padding=1, bias=False)
            self.stages.append(nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU()))
        self.photographs, self.kinds = nn.Linear(WIDTHS[-1], 10), nn.Linear(WIDTHS[-1], len(KINDS))
        self.textures = nn.Linear(WIDTHS[-1], len(TEXTURES))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the mean activations of each stage, (n, width), of x (n, 3, h, w) in [0, 1]."""
        means, x = [], 4 * x - 2
        for stage in self.stages:
            x = stage(x)
            means.append(x.mean((2, 3)))
        return means

    def features(self, x: Tensor) -> Tensor:
        """Return (n, 192), the mean activations of all stages, of x (n, 1 or 3, h, w) in [0, 1] of any size."""
        return torch.cat(self(resized(x).expand(-1, 3, -1, -1)), 1)


def table(split: Source, n: int) -> tuple[Tensor, Tensor]:
    """Return some images of a split, uint8, and their labels; the files are in order of the classes."""
    assert isinstance(split, Rows) and split.y is not None
    rows = torch.randperm(len(split.x), generator=torch.Generator().manual_seed(0))[:n]
    return split.x[rows], split.y[rows]


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of a batch, and make a quarter grey."""
    x = torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x, x.flip(-1))
    grey = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.25
    return torch.where(grey, x.mean(1, keepdim=True), x)


def train(seed: int, epochs: int, photographs: int, out: Path) -> None:
    """Train the network, print how often it is right, and write it after every epoch."""
    started = time.process_time()
    data = cifar10(root=os.environ.get("GENTOOL_DATA"), binarize="none", validation=0.0, seed=0)
    (x, y), test = table(data.train, photographs), table(data.test, 2000)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = ImageNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * -(-len(x) // BATCH))
    for epoch in range(epochs):
        network.train()
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            drawn = draw(BATCH // 2, 32, generator)
            n = len(rows)
            last = network(augment(torch.cat([x[rows].float() / 255, drawn.x]), generator))[-1]
            loss = cross_entropy(network.photographs(last[:n]), y[rows], label_smoothing=0.05)
            loss += 0.5 * cross_entropy(network.kinds(last[n:]), drawn.kind)
            loss += 0.5 * cross_entropy(network.textures(last[n:]), drawn.texture)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.process_time() - started
        print(
            f"epoch {epoch + 1}: loss {loss.item():.3f}, right in {report(network, *test)}, {seconds:.0f} s", flush=True
        )
        torch.save(network.state_dict(), out)


def report(network: ImageNetwork, x: Tensor, y: Tensor) -> str:
    """Return the accuracies on test photographs, and of drawn images the network has not seen."""
    network.eval()
    drawn = draw(1000, 32, torch.Generator().manual_seed(12345))
    with torch.no_grad():
        last, other = network(x.float() / 255)[-1], network(drawn.x)[-1]
        right = (
            network.photographs(last).argmax(1) == y, network.kinds(other).argmax(1) == drawn.kind,
            network.textures(other).argmax(1) == drawn.texture,
        )  # fmt: skip
    return ", ".join(f"{float(each.float().mean()):.1%}" for each in right)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--photographs", type=int, default=50_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(arguments.seed, arguments.epochs, arguments.photographs, arguments.out)
