"""A codebook that follows what is assigned to it: k-means, online."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from gentool.space import DataSpace

REBORN = 1.0
"""What a revived code counts for, in shares of uniform use: as much as any, so that it is given time to be found."""


class Codebook(nn.Module):
    """K vectors e_k, each the running mean of the features nearest to it.

    With n_k of the features z of a batch nearest to e_k, N_k <- g N_k + (1 - g) n_k, m_k <- g m_k + (1 - g) sum z,
    e_k = m_k / N_k. A code whose N_k falls below `revive` times the mean of N moves to a feature drawn from the
    batch; all N_k start at 0, so that the first batch places every code it does not use.

    The statistics are buffers that only `follow` writes.

    Args:
        codes: K.
        features: dimensions of each e_k.
        decay: g, in [0, 1).
        revive: share of uniform use below which a code is dead; 0: none ever is.

    Reference: Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017,
        https://arxiv.org/abs/1711.00937 (appendix A.1); revived as in Jukebox: A Generative Model for Music, Dhariwal,
        Jun, Payne, Kim, Radford and Sutskever, 2020, https://arxiv.org/abs/2005.00341
    """

    vectors: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, features: int, decay: float, revive: float) -> None:
        super().__init__()
        self.decay, self.revive = decay, revive
        self.register_buffer("vectors", torch.randn(codes, features))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, features))

    def nearest(self, z: Tensor) -> Tensor:
        """Return argmin_k |z - e_k|².

        Args:
            z: (…, features).

        Returns:
            (…,) int64.
        """
        squares = self.vectors.square().sum(1)
        # The flat product is one large matrix product, whatever the axes before it.
        return torch.addmm(squares, z.flatten(0, -2), self.vectors.T, alpha=-2).argmin(1).view(z.shape[:-1])

    def embed(self, codes: Tensor) -> Tensor:
        """Return (…, features) the vectors of codes (…,)."""
        return self.vectors[codes.long()]

    @torch.no_grad()
    def follow(self, z: Tensor, codes: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
        """Move the codebook after a batch.

        Args:
            z: (n, features).
            codes: (n,) int64, the nearest codes to them.
            total: sums a tensor over the processes that train together.

        Returns:
            Scalar, how many codes were revived.
        """
        sums = total(torch.zeros_like(self.sums).index_add_(0, codes, z))
        counts = total(torch.bincount(codes, minlength=len(self.counts)).to(z.dtype))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        # Where nothing was assigned, sum and count fade alike: their ratio stays, and none is taken of tiny numbers.
        means = self.sums / self.counts[:, None]
        self.vectors.copy_(torch.where(counts[:, None] > 0, means, self.vectors))
        mean = self.counts.mean()
        dead = self.counts < self.revive * mean
        # Each process draws its own features: that of the first goes for all, or the codebooks would part.
        chosen = total(z[torch.randint(len(z), (len(dead),), device=z.device)] * _is_first())
        self.vectors.copy_(torch.where(dead[:, None], chosen, self.vectors))
        self.counts.copy_(torch.where(dead, REBORN * mean, self.counts))
        self.sums.copy_(torch.where(dead[:, None], self.vectors * self.counts[:, None], self.sums))
        return dead.sum().to(z.dtype)


def perplexity(counts: Tensor) -> Tensor:
    """Return exp(-sum_k p_k log p_k), p = counts / sum: how many codes there would be, were they used alike.

    Args:
        counts: (K,) uses of each code.

    Returns:
        Scalar in [1, K].

    >>> round(perplexity(torch.tensor([3.0, 3.0, 0.0])).item(), 4)
    2.0
    """
    p = counts / counts.sum()
    effective: Tensor = torch.special.entr(p).sum().exp()
    return effective


def _is_first() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def space_of_codes(space: DataSpace, codes: int, shape: tuple[int, int, int]) -> DataSpace:
    """Return the space of grids of codes: integer levels, and the labels of the data.

    Args:
        space: of the examples that are encoded.
        codes: vectors in the codebook.
        shape: (1, height, width) of a grid.

    Returns:
        The space.
    """
    loc, scale = torch.full(shape, (codes - 1) / 2), torch.full(shape, codes - 1.0)
    return replace(space, shape=shape, levels=codes, loc=loc, scale=scale, vocabulary=())
