"""The same flows by normflows, nflows and zuko, so many steps a turn; runs in the peers' environment (see flows.py)."""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from turns import Serve

BINS, BOUND, HIDDEN = 8, 5.0, (64, 64)
COUPLINGS = {"realnvp": 8, "nsf": 6}


class Perceptron(nn.Module):
    """The network of a coupling, for libraries whose own has another form."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        a, b = HIDDEN
        self.layers = nn.Sequential(nn.Linear(inputs, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, outputs))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (batch, inputs) to (batch, outputs)."""
        return self.layers(x)


def normflows(flow: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Return the module and its -log p of a batch."""
    import normflows as nf
    from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling

    steps: list[nn.Module] = []
    for i in range(COUPLINGS[flow]):
        if flow == "realnvp":
            steps += [nf.flows.AffineCouplingBlock(nf.nets.MLP([1, *HIDDEN, 2])), nf.flows.Permute(2, mode="swap")]
            continue
        mask = torch.tensor([i % 2, 1 - i % 2])
        steps.append(_flipped(PiecewiseRationalQuadraticCoupling(
            mask, lambda n, m: Perceptron(n, m), num_bins=BINS, tails="linear", tail_bound=BOUND,
            apply_unconditional_transform=False,
        )))  # fmt: skip
    model = nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), steps)
    return model, model.forward_kld


def _flipped(transform: nn.Module) -> nn.Module:
    """Its splines run from data to noise as `forward`, its flows from noise to data: wrapped."""

    class Flipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transform = transform

        def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return self.transform.inverse(z)

        def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
            z, log_det = self.transform(x)
            return z, log_det.view(-1)

    return Flipped()


def nflows(flow: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Return the module and its -log p of a batch."""
    from nflows import distributions, flows, transforms

    def coupling(i: int) -> nn.Module:
        mask = torch.tensor([i % 2, 1 - i % 2])
        if flow == "realnvp":
            return transforms.AffineCouplingTransform(mask, Perceptron)
        return transforms.PiecewiseRationalQuadraticCouplingTransform(
            mask, Perceptron, num_bins=BINS, tails="linear", tail_bound=BOUND
        )

    stack = transforms.CompositeTransform([coupling(i) for i in range(COUPLINGS[flow])])
    model = flows.Flow(stack, distributions.StandardNormal([2]))
    return model, lambda x: -model.log_prob(x).mean()


def zuko(flow: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Return the module and its -log p of a batch."""
    from zuko.distributions import DiagNormal
    from zuko.flows import Flow, GeneralCouplingTransform, UnconditionalDistribution
    from zuko.transforms import MonotonicRQSTransform

    spline = {"univariate": MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]} if flow == "nsf" else {}
    stack = [
        GeneralCouplingTransform(2, mask=torch.tensor([i % 2 == 0, i % 2 == 1]), hidden_features=HIDDEN, **spline)
        for i in range(COUPLINGS[flow])
    ]
    base = UnconditionalDistribution(DiagNormal, torch.zeros(2), torch.ones(2), buffer=True)
    model = Flow(stack, base)
    return model, lambda x: -model().log_prob(x).mean()


def main(flow: str, data: str, steps: int, batch: int, library: str) -> None:
    """Train when told to, by the loop one writes by hand over points in memory.

    Args:
        flow: realnvp or nsf.
        data: `.npz` with x (n, 2).
        steps: training steps a turn.
        batch: examples a batch.
        library: which.
    """
    serve = Serve()
    x = torch.from_numpy(np.load(data)["x"])
    model, loss = {"normflows": normflows, "nflows": nflows, "zuko": zuko}[library](flow)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    while serve.asked():
        started = time.process_time()
        for _ in range(steps):
            optimizer.zero_grad()
            value = loss(x[torch.randint(len(x), (batch,))])
            value.backward()
            optimizer.step()
        serve.answer(steps * batch / (time.process_time() - started))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
