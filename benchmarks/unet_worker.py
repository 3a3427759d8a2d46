"""Training steps of a U-Net, so many a turn: the peers' in their environment, gentool's in its own (see unet.py)."""

import contextlib
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from turns import Serve


def serve(network: nn.Module, noise: Callable[[Tensor, Tensor], Tensor], side: int, steps: int, batch: int) -> None:
    """Train when told to, and answer how many GFLOP/s that were.

    Args:
        network: has the parameters.
        noise: maps x (batch, 1, side, side) and t (batch,) in [0, 1] to the noise in x.
        side: of the images.
        steps: a turn.
        batch: examples a batch.
    """
    answers = Serve()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    x, added, t = torch.randn(batch, 1, side, side), torch.randn(batch, 1, side, side), torch.rand(batch)

    def step() -> None:
        loss = (noise(x + added, t) - added).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step()
    while answers.asked():
        started = time.perf_counter()
        for _ in range(steps):
            step()
        answers.answer(steps * counter.get_total_flops() / (time.perf_counter() - started) / 1e9)


def diffusers(side: int) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """Return diffusers' U-Net, and how it is called."""
    from diffusers import UNet2DModel

    network = UNet2DModel(
        sample_size=side, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return network, lambda x, t: network(x, 1000 * t).sample


def lucidrains(side: int) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """Return lucidrains' U-Net, and how it is called; full attention at the lowest resolution, as is its default."""
    from denoising_diffusion_pytorch import Unet

    network = Unet(dim=32, dim_mults=(1, 2, 2), channels=1)
    return network, lambda x, t: network(x, 1000 * t)


def main() -> None:
    """Serve one peer."""
    name, precision, side, steps, batch = sys.argv[1:]
    network, call = {"diffusers": diffusers, "lucidrains": lucidrains}[name](int(side))

    def noise(x: Tensor, t: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext():
            out = call(x, t)
        return out.float()

    serve(network, noise, int(side), int(steps), int(batch))


if __name__ == "__main__":
    main()
