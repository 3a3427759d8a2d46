"""A density of codes: followed while the codes still move, fitted once they stand still."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gentool.probability import mixtures

MEMORY = 100
"""Batches that the running moments remember."""

MOST = 20_000
"""Codes of a class a mixture is fitted to: more do not change it and cost time."""

ROUNDS, GAIN = 100, 1e-3
"""EM's most rounds, and the nats a code from which one more is worth its time."""


class CodeDensity(nn.Module):
    """p(z | class) = sum_k w_k N(z; m_k, S_k), the covariances full; all in buffers, so it is saved with the model.

    `follow` keeps the first component at the codes' running moments and gives it all the weight; `fit` fits them all.

    Args:
        dims: of a code.
        components: of each class's mixture; 1 is a Gaussian.
        classes: densities, one a class; 1 where labels play no part.
    """

    seen: Tensor
    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __init__(self, dims: int, components: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(classes))
        self.register_buffer("weights", functional.one_hot(torch.zeros(classes).long(), components).float())
        self.register_buffer("means", torch.zeros(classes, components, dims))
        self.register_buffer("covariances", torch.eye(dims).repeat(classes, components, 1, 1))

    @torch.no_grad()
    def follow(self, z: Tensor, y: Tensor) -> None:
        """Move the running moments of each class towards those of a batch; its first batch replaces what was there.

        Args:
            z: (batch, dims) codes.
            y: (batch,) int64 classes.
        """
        member = functional.one_hot(y, len(self.seen)).to(z.dtype)
        count = member.sum(0)
        present, count = (count > 0).to(z.dtype), count.clamp(min=1)
        self.seen += present
        rate = present / self.seen.clamp(1, MEMORY)
        self.means[:, 0].lerp_((member.T @ z) / count[:, None], rate[:, None])
        centred = z - self.means[y, 0]
        squares = (member.T[:, :, None] * centred).mT @ centred
        self.covariances[:, 0].lerp_(squares / count[:, None, None], rate[:, None, None])
        self.weights.zero_()[:, 0] = 1

    @torch.no_grad()
    def fit(self, z: Tensor, y: Tensor) -> None:
        """Fit each class's mixture to its codes by EM; a class with fewer than two takes those of all.

        Args:
            z: (n, dims) codes.
            y: (n,) int64 classes.
        """
        for c in range(len(self.seen)):
            own = z[y == c]
            codes = own if len(own) > 1 else z
            rows = torch.randperm(len(codes), device=z.device)[:MOST]
            weights, means, covariances = _em(codes[rows].double(), min(len(rows), self.weights.shape[1]))
            self.weights[c] = functional.pad(weights, (0, self.weights.shape[1] - len(weights)))
            self.means[c, : len(weights)] = means.float()
            self.covariances[c, : len(weights)] = covariances.float()
        self.seen.zero_()  # should training go on, running moments start afresh

    def sample(self, y: Tensor, temperature: float) -> Tensor:
        """Draw a code for each label.

        Args:
            y: (n,) int64 classes.
            temperature: factor on the standard deviations about the components' means.

        Returns:
            (n, dims).
        """
        component = torch.multinomial(self.weights[y], 1)[:, 0]
        eps = temperature * torch.randn(len(y), self.means.shape[-1], device=y.device)
        z = self.means[y, component]
        for c, k in sorted(set(zip(y.tolist(), component.tolist(), strict=True))):
            drawn = (y == c) & (component == k)
            z[drawn] += eps[drawn] @ _root(self.covariances[c, k])
        return z


def _em(z: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights, means and covariances by EM from k-means, until a round gains less than `GAIN` nats a code."""
    ridge = 1e-6 * float(z.var(0, correction=0).mean()) + torch.finfo(torch.float32).tiny
    responsibilities, before = mixtures.k_means(z, components), -torch.inf
    for _ in range(ROUNDS):
        counts, means, covariances = mixtures.m_step(z, responsibilities, diagonal=False, ridge=ridge)
        weights = counts / counts.sum()
        joint = mixtures.log_joint(z, mixtures.Mixture(weights, means, mixtures.cholesky(covariances)), 0.0)
        responsibilities, now = joint.softmax(1), float(joint.logsumexp(1).mean())
        if now - before < GAIN:
            break
        before = now
    return weights, means, covariances


def _root(covariance: Tensor) -> Tensor:
    """Return the symmetric square root, which exists also where codes do not fill their space."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors @ (values.clamp(min=0).sqrt()[:, None] * vectors.T)
    return root
