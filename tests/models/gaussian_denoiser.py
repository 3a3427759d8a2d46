"""A diffusion model whose denoiser is the best there is for Gaussian data, so that everything about it is known."""

from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from gentool.models.diffusion import Diffusion
from gentool.probability.noise import output_of
from gentool.space import DataSpace
from tests.laws.subjects import composed
from tests.spaces import space

STD = torch.tensor([0.6, 1.3])
"""Of the data in model space; its root mean square is `SCALE`."""

SCALE = float(STD.square().mean().sqrt())


class Best(nn.Module):
    """x0(z, r) = s² / (s² + r²) z, as an output of any parameterisation."""

    def __init__(self, kind: Any, scale: float) -> None:
        super().__init__()
        self.kind, self.scale = kind, torch.tensor(scale)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, u: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        r = (4 * t).exp()[:, None]
        z = u * (r * r + self.scale**2).sqrt()
        x0 = self.weight * STD**2 / (STD**2 + r * r) * z
        return output_of(self.kind, x0, z, r, self.scale)


def best_diffusion(*overrides: str, where: DataSpace | None = None) -> Diffusion:
    """Build a ddpm of 2-D points, loc 1 and scale 2, whose standardised data is N(0, STD²)."""
    config = composed("ddpm", f"model.sigma_data={SCALE}", *overrides).model
    made = instantiate(config, _convert_="all")
    kind = config["parameterisation"]
    model: Diffusion = made.func(
        where or space((2,), loc=1.0, scale=2.0),
        **{**made.keywords, "denoiser": lambda space, outputs, classes: Best(kind, SCALE)},
    )
    return model.eval()


def density(extra: float = 0.0) -> torch.distributions.Distribution:
    """Return what the data is drawn from, in data space, with so much noise added in model space."""
    deviation = 2 * (STD**2 + extra**2).sqrt()
    return torch.distributions.Independent(torch.distributions.Normal(torch.ones(2), deviation), 1)
