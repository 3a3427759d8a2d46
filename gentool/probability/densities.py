"""Densities of points that are known: log p(x), draws with the part they came from, and the entropy by quadrature."""

import math
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gentool.errors import Unavailable

_REACH = 9.0  # standard deviations a quadrature covers; beyond lies less than 1e-18
_STEP = 0.25  # spacing of a quadrature in standard deviations; the trapezoidal rule then errs by less than 1e-8
_CHUNK = 1 << 14
_HALVINGS = 60  # of an interval: float64 has no more digits


class KnownDensity(ABC):
    """A density of d-dimensional points made of labelled parts.

    Attributes:
        dims: d.
    """

    dims: int = 2

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """Return (batch,) log p(x) in nats, of x (batch, d) float64 on the CPU; may need much memory for many x."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw (n, d) float32 points and (n,) int64, the part each came from."""

    @abstractmethod
    def quadrature(self) -> float:
        """Compute the entropy in nats."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x), computed in float64.

        Args:
            x: (batch, d), on any device.

        Returns:
            (batch,) nats, of the type and on the device of x; -inf off the support.
        """
        chunks = [self.log_density(part) for part in torch.split(x.detach().cpu().double(), _CHUNK)]
        return torch.cat(chunks).to(x.dtype).to(x.device)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw (n, d) float32 points."""
        return self.draw(n, generator)[0]

    def quantile(self, u: Tensor) -> Tensor:
        """Turn uniform numbers into points of this density by inverting its CDF, dimension by dimension.

        Args:
            u: (n, d) float64 in (0, 1).

        Returns:
            (n, d) float64.

        Raises:
            Unavailable: where there is no CDF to invert.
        """
        raise Unavailable(f"inverse_cdf needs a CDF in closed form, which {type(self).__name__} lacks: use another")

    def entropy(self) -> float:
        """Return the entropy in nats; computed once."""
        return self._entropy

    @cached_property
    def _entropy(self) -> float:
        return self.quadrature()


class GaussianMixture(KnownDensity):
    """A mixture of isotropic Gaussians: p(x) = sum_k w_k N(x; mu_k, sigma_k^2 I).

    Args:
        weights: (parts,) > 0; scaled to sum to 1.
        means: (parts, d), d at most 2.
        sigmas: (parts,) > 0, standard deviations.
    """

    def __init__(self, weights: Tensor, means: Tensor, sigmas: Tensor) -> None:
        self.weights = weights.double() / weights.double().sum()
        self.means = means.double()
        self.sigmas = sigmas.double()
        self.dims = self.means.shape[1]

    def log_density(self, x: Tensor) -> Tensor:
        """Return (batch,) log p(x) in nats, of x (batch, d) float64."""
        square = ((x[:, None] - self.means) / self.sigmas[:, None]).square().sum(-1)
        norm = self.weights.log() - x.shape[1] * (self.sigmas.log() + 0.5 * math.log(2 * math.pi))
        return torch.logsumexp(norm - square / 2, dim=1)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw (n, d) float32 points and (n,) int64 components."""
        part = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], dtype=torch.float64, generator=generator)
        return (self.means[part] + self.sigmas[part, None] * noise).float(), part

    def quantile(self, u: Tensor) -> Tensor:
        """Solve F(x_j | x_1, ..., x_{j-1}) = u_j by bisection, F a mixture of CDFs with the weights given so far.

        Args:
            u: (n, d) float64 in (0, 1).

        Returns:
            (n, d) float64.
        """
        log_weights = self.weights.log().expand(len(u), -1)
        columns: list[Tensor] = []
        for wanted, means in zip(u.T, self.means.T, strict=True):
            weights = log_weights.softmax(1)
            low, high = (means - 40 * self.sigmas).min().expand(len(u)), (means + 40 * self.sigmas).max().expand(len(u))
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                cdf = (weights * torch.special.ndtr((middle[:, None] - means) / self.sigmas)).sum(1)
                low, high = torch.where(cdf < wanted, middle, low), torch.where(cdf < wanted, high, middle)
            columns.append((low + high) / 2)
            log_weights = log_weights - ((columns[-1][:, None] - means) / self.sigmas).square() / 2 - self.sigmas.log()
        return torch.stack(columns, 1)

    def quadrature(self) -> float:
        """Compute H = -sum_k w_k E_k[log p], each expectation on a grid around its own component."""
        total = 0.0
        for weight, mean, sigma in zip(self.weights, self.means, self.sigmas, strict=True):
            reach, step = _REACH * float(sigma), _STEP * float(self.sigmas.min())
            points, cell = _grid([(float(m) - reach, float(m) + reach) for m in mean], step)
            for x in torch.split(points, _CHUNK):
                square = ((x - mean) / sigma).square().sum(1)
                mass = torch.exp(-square / 2) * cell / (math.sqrt(2 * math.pi) * sigma) ** x.shape[1]
                total -= float(weight * (mass * self.log_density(x)).sum())
        return total


class Arcs(KnownDensity):
    """Two interleaving half circles of radius 1, uniform in angle, blurred by Gaussian noise.

    p(x) = 1/2 sum_{arcs} 1/pi int_0^pi N(x; c(t), sigma^2 I) dt, with c(t) = (cos t, sin t) or
    (1 - cos t, 1/2 - sin t); the integral is Gauss-Legendre's, fine enough for sigma.

    Args:
        sigma: > 0, standard deviation of the noise.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma
        node, weight = np.polynomial.legendre.leggauss(32 + math.ceil(8 / sigma))
        self._centres = torch.cat([self._centre(torch.from_numpy((node + 1) * math.pi / 2), arc) for arc in (0, 1)])
        self._log_weights = torch.from_numpy(np.tile(weight, 2) / 4).log()

    def log_density(self, x: Tensor) -> Tensor:
        """Return (batch,) log p(x) in nats, of x (batch, 2) float64."""
        parts = []
        for part in torch.split(x, 1024):
            square = torch.cdist(part, self._centres, compute_mode="donot_use_mm_for_euclid_dist").square()
            parts.append(torch.logsumexp(self._log_weights - square / (2 * self.sigma**2), dim=1))
        return torch.cat(parts) - math.log(2 * math.pi * self.sigma**2)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw (n, 2) float32 points and (n,) int64 arcs."""
        arc = torch.randint(2, (n,), generator=generator)
        angle = math.pi * torch.rand(n, dtype=torch.float64, generator=generator)
        centre = torch.where(arc[:, None] == 0, self._centre(angle, 0), self._centre(angle, 1))
        noise = torch.randn(n, 2, dtype=torch.float64, generator=generator)
        return (centre + self.sigma * noise).float(), arc

    def quadrature(self) -> float:
        """Compute H = -int p log p by the trapezoidal rule, on the points near the arcs."""
        reach, step = 7 * self.sigma, 2 * _STEP * self.sigma  # what is left out weighs less than 1e-10
        points, cell = _grid([(-1 - reach, 2 + reach), (-0.5 - reach, 1 + reach)], step)
        distance = [((points - torch.tensor(centre)).norm(dim=1) - 1).abs() for centre in ((0.0, 0.0), (1.0, 0.5))]
        near = points[torch.minimum(*distance) < reach]
        log_p = self.log_density(near)
        return -cell * float((log_p.exp() * log_p).sum())

    @staticmethod
    def _centre(angle: Tensor, arc: int) -> Tensor:
        x, y = angle.cos(), angle.sin()
        return torch.stack([x, y] if arc == 0 else [1 - x, 0.5 - y], dim=1)


class Checkerboard(KnownDensity):
    """Uniform on every other square of a board centred on the origin: p(x) = 1 / (area of those squares).

    Args:
        squares: squares along one side, even.
        side: > 0, of one square.
    """

    def __init__(self, squares: int, side: float) -> None:
        self.squares = squares
        self.side = side
        row, column = torch.meshgrid(torch.arange(squares), torch.arange(squares), indexing="ij")
        self._corners = torch.stack([column, row], dim=-1)[(row + column) % 2 == 0].double()

    def log_density(self, x: Tensor) -> Tensor:
        """Return (batch,) log p(x) in nats, of x (batch, 2) float64; -inf off the board's filled squares."""
        place = (x / self.side + self.squares / 2).floor()
        inside = ((place >= 0) & (place < self.squares)).all(1) & (place.sum(1) % 2 == 0)
        return torch.where(inside, -self.quadrature(), -math.inf)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw (n, 2) float32 points and (n,) int64 squares."""
        square = torch.randint(len(self._corners), (n,), generator=generator)
        within = torch.rand(n, 2, dtype=torch.float64, generator=generator)
        return ((self._corners[square] + within - self.squares / 2) * self.side).float(), square

    def quadrature(self) -> float:
        """Compute H = log of the filled area, which needs no quadrature."""
        return math.log(len(self._corners) * self.side**2)


def _grid(ranges: list[tuple[float, float]], step: float) -> tuple[Tensor, float]:
    """Return the points (n, d) of an even grid no coarser than `step`, and the volume of one cell."""
    axes = [torch.linspace(low, high, math.ceil((high - low) / step) + 1, dtype=torch.float64) for low, high in ranges]
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    return torch.cartesian_prod(*axes).reshape(-1, len(axes)), cell
