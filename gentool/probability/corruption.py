"""Ways to damage examples, as a denoiser is trained on or a reconstruction is asked to mend."""

from typing import Literal

import torch
from torch import Tensor

from gentool.errors import UsageError
from gentool.space import DataSpace

Corruption = Literal["none", "gaussian", "salt_pepper", "masking_noise", "mask"]


def check_corruption(space: DataSpace, key: str, corruption: Corruption) -> None:
    """Refuse a corruption that does not fit the data.

    Args:
        space: facts of the data.
        key: what the value was typed for, named in the message.
        corruption: the value.

    Raises:
        UsageError: where there are no pixels to turn black or white.
    """
    if corruption not in ("none", "gaussian") and not space.is_image:
        raise UsageError(f"{key}={corruption} is for images; this data has shape {space.shape}: {key}=gaussian")


def corrupted(x: Tensor, space: DataSpace, corruption: Corruption, level: float) -> Tensor:
    """Damage examples; they stay inside the space.

    Args:
        x: (n, *space.shape), in data space.
        space: facts of the data.
        corruption: gaussian adds noise of `level` times the range of the levels (of reals: their deviation);
            salt_pepper turns that share of the pixels black or white, masking_noise black, each pixel by chance; mask
            blackens a square in the middle, of that share of the image.
        level: in [0, 1].

    Returns:
        (n, *space.shape), of the dtype of x.

    Reference: Extracting and Composing Robust Features with Denoising Autoencoders, Pascal Vincent, Hugo Larochelle,
        Yoshua Bengio and Pierre-Antoine Manzagol, 2008, https://doi.org/10.1145/1390156.1390294
    """
    if corruption == "gaussian":
        spread = space.scale.to(x.device) if space.levels is None else float(space.levels - 1)
        return space.quantise(x.float() + level * spread * torch.randn(x.shape, device=x.device))
    if corruption == "mask":
        return _without_the_middle(x, level)
    if corruption == "none":
        return x
    chance = torch.rand(len(x), 1, *x.shape[2:], device=x.device).expand_as(x)  # a pixel goes with all its channels
    if corruption == "masking_noise":
        return torch.where(chance < level, torch.zeros_like(x), x)
    white = 0 if space.levels is None else space.levels - 1
    salted = torch.where(chance < level / 2, torch.full_like(x, white), x)
    return torch.where((chance >= level / 2) & (chance < level), torch.zeros_like(x), salted)


def _without_the_middle(x: Tensor, share: float) -> Tensor:
    height, width = x.shape[2:]
    high, wide = (round(side * share**0.5) for side in (height, width))
    top, left = (height - high) // 2, (width - wide) // 2
    x = x.clone()
    x[..., top : top + high, left : left + wide] = 0
    return x
