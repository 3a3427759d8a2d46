"""Drawing a level from a given uniform number: the same number, the same level, however it was computed."""

import torch
from torch import Tensor


def sharpen(log_p: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """Make a distribution over levels keener: p^(1/T), then only its likeliest levels.

    Args:
        log_p: (…, levels), log probabilities up to a constant.
        temperature: T; 1 leaves it, 0 keeps the likeliest level alone.
        top_k: how many of the likeliest levels are kept; None: all.
        top_p: the likeliest levels are kept until they hold this share, at least one; None: all.

    Returns:
        (…, levels) log probabilities up to a constant, -infinity where a level is dropped.
    """
    if temperature == 0:
        top_k = 1
    elif temperature != 1:
        log_p = log_p / temperature
    if top_k is None and top_p is None:
        return log_p
    ranked, levels = log_p.sort(dim=-1, descending=True, stable=True)
    dropped = torch.zeros_like(ranked, dtype=torch.bool)
    if top_k is not None:
        dropped[..., top_k:] = True
    if top_p is not None:
        share = ranked.softmax(-1)
        dropped |= share.cumsum(-1) - share >= top_p
    return log_p.masked_fill(torch.zeros_like(dropped).scatter(-1, levels, dropped), -torch.inf)


def inverse_cdf(log_p: Tensor, u: Tensor) -> Tensor:
    """Return the level at which the distribution function passes u: exactly p(level) of all u lead to it.

    Args:
        log_p: (n, levels), up to a constant.
        u: (n,) in [0, 1).

    Returns:
        (n,) int64.
    """
    below = log_p.softmax(-1).cumsum(-1)
    # Never quite the whole sum, which rounding could reach: the last level with a share is then the last that is drawn.
    reached = u.to(below.dtype).clamp(max=1 - 2.0**-20)[:, None] * below[:, -1:]
    return (below <= reached).sum(-1)
