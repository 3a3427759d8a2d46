"""The training steps of torch-mimicry and torchgan, so many a turn; runs in the peers' environment (see gan.py)."""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from time import process_time
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from turns import Serve

SIDE = 32
Game = tuple[nn.Module, nn.Module, Callable[[Tensor], None]]


def adam(network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser that gentool gives a player."""
    return torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)


def serve(game: Game, steps: int, batch: int) -> None:
    """Train when told to: the first turns answer the parameters and GFLOP a step, the others the examples a second.

    Args:
        game: both networks, and what takes one training step on real images in [-1, 1].
        steps: a turn.
        batch: examples a batch.
    """
    answers = Serve()
    *networks, step = game
    x = 2 * torch.rand(batch, 3, SIDE, SIDE) - 1
    with FlopCounterMode(display=False) as counter:
        step(x)
    facts = [sum(p.numel() for network in networks for p in network.parameters()), counter.get_total_flops() / 1e9]
    while answers.asked():
        started = process_time()
        for _ in range(steps):
            step(x)
        rate = steps * batch / (process_time() - started)
        answers.answer(facts.pop(0) if facts else rate)


def mimicry(spectral: bool, width: int) -> Game:
    """Return torch-mimicry's SNGAN, or its DCGAN, whose players are residual too, each with the steps it gives them."""
    for missing in ("torch_mimicry.metrics", "torch_mimicry.datasets", "skimage"):  # no training step needs these three
        sys.modules[missing] = ModuleType(missing)
        sys.modules[missing].__spec__ = ModuleSpec(missing, None)
    sys.modules["skimage"].io = None
    from torch_mimicry.nets import dcgan, sngan
    from torch_mimicry.training.metric_log import MetricLog

    generator = (sngan.SNGANGenerator32 if spectral else dcgan.DCGANGenerator32)(ngf=width)
    critic = (sngan.SNGANDiscriminator32 if spectral else dcgan.DCGANDiscriminator32)(ndf=width)
    own, critics = adam(generator), adam(critic)
    device = torch.device("cpu")

    def step(x: Tensor) -> None:
        real, log = (x, torch.zeros(len(x))), MetricLog()
        for _ in range(5 if spectral else 1):
            critic.train_step(real_batch=real, netG=generator, optD=critics, log_data=log, device=device)
        generator.train_step(real_batch=real, netD=critic, optG=own, log_data=log, device=device)

    return generator, critic, step


def torchgan(width: int) -> Game:
    """Return torchgan's DCGAN with the steps that its losses define."""
    from torchgan.losses import MinimaxDiscriminatorLoss, MinimaxGeneratorLoss
    from torchgan.models import DCGANDiscriminator, DCGANGenerator

    generator = DCGANGenerator(100, SIDE, 3, width, nonlinearity=nn.ReLU())
    critic = DCGANDiscriminator(SIDE, 3, width)
    own, critics = adam(generator), adam(critic)
    wants, judges = MinimaxGeneratorLoss(nonsaturating=True), MinimaxDiscriminatorLoss()
    device = torch.device("cpu")

    def step(x: Tensor) -> None:
        judges.train_ops(generator, critic, critics, x, device)
        wants.train_ops(generator, critic, own, device, len(x))

    return generator, critic, step


def main() -> None:
    """Serve one peer."""
    name, steps, batch, width = sys.argv[1], *map(int, sys.argv[2:])
    game = torchgan(width) if name == "dcgan" else mimicry(name == "sngan", width)
    serve(game, steps, batch)


if __name__ == "__main__":
    main()
