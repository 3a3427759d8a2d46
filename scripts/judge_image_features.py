"""Judge features of images: how the Fréchet distance in them answers to faults of known strength.

    nice python scripts/train_image_features.py network.pt
    python scripts/judge_image_features.py --network network.pt --pixels     # minutes of one thread

MNIST and CIFAR-10 are read from $GENTOOL_DATA.

Two halves of 2,000 real images are compared, and a fault is done to the second one. A distance is printed as a multiple
of the noise floor, that of the two halves as they are. Faults have four strengths; a row whose numbers do not grow is
marked.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from drawn_images import coloured_shapes, draw
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad
from train_image_features import ImageNetwork

from gentool.data.colour import cifar10
from gentool.data.dataset import Rows
from gentool.data.images import mnist
from gentool.metrics import scattering
from gentool.metrics.frechet import frechet_distance, moments

N = 2000
"""Images of a half."""

Embed = Callable[[Tensor], Tensor]
"""Maps (n, channels, h, w) in [0, 1] to (n, d)."""


class Images(NamedTuple):
    """Real images in [0, 1] and their classes."""

    x: Tensor
    y: Tensor


# --- faults: each maps (images, strength) to 2,000 images -------------------------------------------------------------


def _blur(real: Images, sigma: float) -> Tensor:
    reach = int(3 * sigma + 1)
    taps = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * sigma**2))
    taps = (taps / taps.sum()).repeat(real.x.shape[1], 1, 1)
    x = pad(real.x[:N], (reach,) * 4, mode="replicate")
    x = conv2d(x, taps[:, :, None], groups=len(taps))
    return conv2d(x, taps[:, :, :, None], groups=len(taps))


def _noise(real: Images, deviation: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return real.x[:N] + deviation * torch.randn(real.x[:N].shape, generator=generator)


def _dropped(real: Images, classes: float) -> Tensor:
    return real.x[real.y >= classes][:N]


def _copies(real: Images, distinct: float) -> Tensor:
    return real.x[: int(distinct)].repeat(N // int(distinct), 1, 1, 1)


def _tint(real: Images, share: float) -> Tensor:
    """Make the first channel brighter and the last one darker; grey images get brighter by half of it everywhere."""
    x = real.x[:N].clone()
    if x.shape[1] == 1:
        return x + share / 2
    x[:, 0] += share
    x[:, 2] -= share
    return x


def _checkerboard(real: Images, height: float) -> Tensor:
    """Add what transposed convolutions leave: a pattern of period two."""
    x = real.x[:N].clone()
    x[..., ::2, ::2] += height
    x[..., 1::2, 1::2] += height
    return x - height / 2


FAULTS: Mapping[str, tuple[Callable[[Images, float], Tensor], tuple[float, ...]]] = {
    "blur, sigma in pixels": (_blur, (0.4, 0.6, 1.0, 2.0)),
    "noise, deviation": (_noise, (0.02, 0.05, 0.1, 0.2)),
    "classes dropped of 10": (_dropped, (1, 3, 5, 8)),
    "distinct images of 2,000": (_copies, (1000, 400, 100, 20)),
    "tint": (_tint, (0.02, 0.05, 0.1, 0.2)),
    "checkerboard": (_checkerboard, (0.02, 0.05, 0.1, 0.2)),
}
"""Faults and their strengths, the weakest first."""


# --- candidates -------------------------------------------------------------------------------------------------------


def network_features(file: Path | None) -> Embed:
    """Return the mean activations of a network's stages: of a trained one, or of random weights that a seed gives."""
    torch.manual_seed(0)
    network = ImageNetwork().eval()
    if file:
        network.load_state_dict(torch.load(file, weights_only=True))
        return network.features
    for stage in network.stages:
        nn.init.kaiming_normal_(stage[0].weight)
    return network.features


def standardised(embed: Embed) -> Embed:
    """Return features in units of their deviation over drawn images."""
    with torch.no_grad():
        known = torch.cat([embed(x) for x in draw(2000, 32, torch.Generator().manual_seed(0)).x.split(500)])
    mean, deviation = known.mean(0), known.std(0).clamp(min=1e-4)
    return lambda x: (embed(x) - mean) / deviation


def pixels(x: Tensor) -> Tensor:
    """Return the image itself."""
    return x.flatten(1)


def candidates(network: Path | None, with_pixels: bool) -> dict[str, Embed]:
    """Return the features that are judged, by name."""
    found = {"images": scattering.features, "random network": standardised(network_features(None))}
    if network:
        found["trained network"] = standardised(network_features(network))
    return {**found, "pixels": pixels} if with_pixels else found


# --- the judging ------------------------------------------------------------------------------------------------------


def real_images() -> dict[str, Images]:
    """Return real images by name, shuffled."""
    root = os.environ.get("GENTOOL_DATA")
    photographs = cifar10(root=root, binarize="none", validation=0.0, seed=0).test
    digits = mnist(root=root, binarize="none", validation=0.0, seed=0).test
    generator = torch.Generator().manual_seed(0)
    found = {"shapes": Images(*coloured_shapes(16_000, 32, generator))}
    for name, split in (("cifar10", photographs), ("mnist", digits)):
        assert isinstance(split, Rows) and split.y is not None
        rows = torch.randperm(len(split.x), generator=generator)
        found[name] = Images(split.x[rows].float() / 255, split.y[rows])
    return found


def features(embed: Embed, x: Tensor) -> Tensor:
    """Return (n, d) float64 features of images rounded to 256 levels, 16 at once."""
    x = (x.clamp(0, 1) * 255).round() / 255
    with torch.no_grad():
        return torch.cat([embed(part).double() for part in x.split(16)])


def distance(a: Tensor, b: Tensor) -> float:
    """Return the Fréchet distance; of more features than images from their products, which are fewer."""
    if a.shape[1] <= len(a):
        return frechet_distance(*moments(a), *moments(b))
    u, v = (x - x.mean(0) for x in (a, b))
    norm = len(u) - 1
    cross = torch.linalg.svdvals(u @ v.T).sum() / norm
    return float((a.mean(0) - b.mean(0)).square().sum() + (u.square().sum() + v.square().sum()) / norm - 2 * cross)


def judge(name: str, embed: Embed, real: Images) -> dict[str, list[float]]:
    """Return for each fault the distances over the floor, by strength."""
    start = time.process_time()
    first = features(embed, real.x[:N])
    rate = N / (time.process_time() - start)
    others = Images(real.x[N:], real.y[N:])
    clean = features(embed, others.x[:N])
    floor = distance(first, clean)
    # the spread of the floor, over other halves of the same 4,000 images
    both, generator = torch.cat([first, clean]), torch.Generator().manual_seed(2)
    halves = [both[torch.randperm(2 * N, generator=generator)].split(N) for _ in range(1 if first.shape[1] > N else 8)]
    floors = torch.tensor([distance(*pair) for pair in halves])
    print(f"{name}: {first.shape[1]} features, {rate:,.0f} images a processor second, floor {floor:.4g}, "
          f"of other halves {floors.mean():.4g} ± {floors.std():.2g}", flush=True)  # fmt: skip
    return {
        fault: [distance(first, features(embed, harm(others, strength))) / floor for strength in strengths]
        for fault, (harm, strengths) in FAULTS.items()
    }


def main(network: Path | None, with_pixels: bool) -> None:
    """Print a table for each set of images."""
    torch.set_num_threads(1)
    judged = candidates(network, with_pixels)
    for data, real in real_images().items():
        print(f"\n## {data}, {tuple(real.x.shape[1:])}")
        found = {name: judge(name, embed, real) for name, embed in judged.items()}
        print(f"\n| fault | strengths | {' | '.join(found)} |\n|---|---|{'---|' * len(found)}")
        for fault, (_, strengths) in FAULTS.items():
            cells = [", ".join(_short(v) for v in of[fault]) + _mark(of[fault]) for of in found.values()]
            print(f"| {fault} | {', '.join(f'{s:g}' for s in strengths)} | {' | '.join(cells)} |", flush=True)


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _mark(values: list[float]) -> str:
    return "" if all(a < b for a, b in zip([1.0, *values], values, strict=False)) else " (!)"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", type=Path, help="weights that train_image_features.py wrote")
    parser.add_argument("--pixels", action="store_true", help="judge the pixels, too: minutes more")
    arguments = parser.parse_args()
    main(arguments.network, arguments.pixels)
