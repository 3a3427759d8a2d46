"""Mixtures of Gaussians: log densities, draws, and the two steps of EM, as functions of tensors."""

from collections.abc import Callable
from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gentool.errors import Diverged

NEGLIGIBLE = 1e-8  # responsibility below which an example is left out of a covariance: most are, in many dimensions
LLOYD = 20  # rounds of k-means before EM; it starts from them, so they need not end


class Mixture(NamedTuple):
    """sum_k weights_k N(means_k, S_k).

    Attributes:
        weights: (K,), sums to 1.
        means: (K, d).
        factors: (K, d, d) lower Cholesky factors of S_k; where S_k is diagonal (K, d) standard deviations.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor


def log_joint(x: Tensor, mixture: Mixture, noise: float) -> Tensor:
    """Return log w_k + E_u[log N(x + u; mu_k, S_k)], u of mean 0 and variance `noise` in every dimension.

    The expectation is log N(x; mu_k, S_k) - noise tr(S_k^-1) / 2. Its logsumexp over k is log p(x) where noise = 0,
    and a lower bound of E_u[log p(x + u)] else, since logsumexp is convex.

    Args:
        x: (n, d).
        mixture: of K components.
        noise: variance of u, 0 or more.

    Returns:
        (n, K) nats.
    """
    columns = []
    for mean, factor in zip(mixture.means, mixture.factors, strict=True):
        centred = x - mean
        if factor.dim() == 1:
            square = (centred / factor).square().sum(1)
            scales, trace = factor, factor.pow(-2).sum()
        else:
            square = torch.linalg.solve_triangular(factor, centred.T, upper=False).square().sum(0)
            scales, trace = factor.diagonal(), _trace_of_inverse(factor) if noise else 0.0
        columns.append(-0.5 * square - scales.log().sum() - 0.5 * noise * trace)
    return torch.stack(columns, 1) + mixture.weights.log() - 0.5 * x.shape[1] * log(2 * pi)


def _trace_of_inverse(factor: Tensor) -> Tensor:
    """Return tr((L L^T)^-1) = |L^-1|^2."""
    eye = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    inverse: Tensor = torch.linalg.solve_triangular(factor, eye, upper=False)
    return inverse.square().sum()


def m_step(
    x: Tensor,
    responsibilities: Tensor,
    *,
    diagonal: bool,
    ridge: float,
    total: Callable[[Tensor], Tensor] = lambda t: t,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted moments of each component: n_k = sum_n r_nk, mu_k, S_k + ridge I.

    Args:
        x: (n, d).
        responsibilities: (n, K), rows sum to 1.
        diagonal: whether only variances are measured.
        ridge: added to every variance.
        total: sums a tensor over processes that share the examples.

    Returns:
        counts (K,), means (K, d), and covariances (K, d, d) or variances (K, d).
    """
    counts = total(responsibilities.sum(0))
    safe = counts.clamp(min=torch.finfo(x.dtype).tiny)
    means = total(responsibilities.T @ x) / safe[:, None]
    squares = []
    for r, mean in zip(responsibilities.T, means, strict=True):
        rows = r > NEGLIGIBLE
        centred, weight = x[rows] - mean, r[rows, None]
        squares.append((weight * centred.square()).sum(0) if diagonal else (weight * centred).T @ centred)
    spread = total(torch.stack(squares))
    if diagonal:
        return counts, means, spread / safe[:, None] + ridge
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return counts, means, spread / safe[:, None, None] + ridge * eye


def blend(old: Mixture, counts: Tensor, means: Tensor, covariances: Tensor, rate: Tensor) -> Mixture:
    """Mix a mixture's moments with newly measured ones; the whole split (rate 1) replaces them, which is EM's M-step.

    Smaller rates average over batches: EM on part of the data at a time (Cappé and Moulines, 2009). A component that
    explains nothing stays where it is.

    Args:
        old: the mixture so far.
        counts: (K,) examples each component explains.
        means: (K, d).
        covariances: (K, d, d), or (K, d) variances.
        rate: scalar in (0, 1], the share of all examples that was measured.

    Returns:
        The new mixture.
    """
    weights = torch.lerp(old.weights, counts / counts.sum().clamp(min=1e-30), rate * (counts.sum() > 0))
    share = rate * counts / counts.sum().clamp(min=1e-30)
    part = torch.where(share > 0, share / (share + (1 - rate) * old.weights), 0.0)
    shift, part_of = means - old.means, part[:, None]
    if covariances.dim() == 2:
        spread = torch.lerp(old.factors.square(), covariances, part_of) + part_of * (1 - part_of) * shift.square()
        return Mixture(weights, torch.lerp(old.means, means, part_of), spread.sqrt())
    before = old.factors @ old.factors.mT
    outer = shift[:, :, None] * shift[:, None, :]
    part_of_square = part_of[:, :, None]
    spread = torch.lerp(before, covariances, part_of_square) + part_of_square * (1 - part_of_square) * outer
    return Mixture(weights, torch.lerp(old.means, means, part_of), cholesky(spread))


def cholesky(covariances: Tensor) -> Tensor:
    """Return Cholesky's lower factors, computed in float64.

    Args:
        covariances: (…, d, d).

    Returns:
        (…, d, d).

    Raises:
        Diverged: where one is not positive definite.
    """
    factors, failed = torch.linalg.cholesky_ex(covariances.cpu().double())
    if failed.any():
        raise Diverged("a covariance is not positive definite: raise model.floor, or choose model.covariance=diagonal")
    lower: Tensor = factors.to(covariances)
    return lower


def k_means(x: Tensor, k: int) -> Tensor:
    """Cluster by k-means from a greedy k-means++ start.

    The next centre is, of a few examples drawn by squared distance from those so far, the one that lowers its sum most.

    Args:
        x: (n, d), n >= k.
        k: number of clusters.

    Returns:
        (n, k) one-hot assignments.

    Reference: k-means++: The Advantages of Careful Seeding, Arthur and Vassilvitskii, 2007,
        https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf
    """
    centres = x[torch.randint(len(x), (1,), device=x.device)]
    nearest = (x - centres).square().sum(1)
    for _ in range(k - 1):
        # Not multinomial, which takes no more than 2^24 rows; where every point is a centre, any will do.
        targets = torch.rand(2 + int(log(k)), device=x.device).to(x.dtype) * nearest.sum()
        rows = torch.searchsorted(nearest.cumsum(0), targets).clamp(max=len(x) - 1)
        tried = torch.stack([torch.minimum(nearest, (x - x[row]).square().sum(1)) for row in rows])
        best = tried.sum(1).argmin()
        centres, nearest = torch.cat([centres, x[rows[best]][None]]), tried[best]
    for _ in range(LLOYD):
        assigned = torch.cdist(x, centres).argmin(1)
        counts = torch.bincount(assigned, minlength=k).to(x.dtype)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, assigned, x)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return one_hot(torch.cdist(x, centres).argmin(1), k).to(x.dtype)


def draw(component: Tensor, mixture: Mixture, temperature: float) -> Tensor:
    """Draw from given components.

    Args:
        component: (n,) int64.
        mixture: of the components.
        temperature: factor on the standard deviations.

    Returns:
        (n, d).
    """
    eps = temperature * torch.randn(len(component), mixture.means.shape[1], device=mixture.means.device)
    if mixture.factors.dim() == 2:
        return mixture.means[component] + eps.to(mixture.means) * mixture.factors[component]
    x = mixture.means[component]
    for k in torch.unique(component).tolist():  # a factor for each example would not fit in memory for images
        rows = component == k
        x[rows] += eps[rows].to(x) @ mixture.factors[k].T
    return x
