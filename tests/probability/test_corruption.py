"""What each kind of corruption makes of grey images, and that one kind is not taken for another."""

import pytest
import torch
from torch import Tensor

from gentool.probability.corruption import corrupted
from gentool.training.rng import fork
from tests.spaces import space

GREY = torch.full((100, 3, 16, 16), 8, dtype=torch.uint8)
COLOUR = space((3, 16, 16), levels=17)


def is_damage(kind: str, damaged: Tensor, level: float) -> bool:
    """Whether this is what a kind of corruption makes of GREY."""
    noise, black, white = damaged.float() - 8, damaged == 0, damaged == 16
    if kind == "gaussian":
        right = noise.std() == pytest.approx(16 * level, rel=0.1) and (noise == 0).float().mean() < 0.3
        return bool(right and noise.mean().abs() < 0.1)
    shares = (level / 2, level / 2) if kind == "salt_pepper" else (level, 0)
    together = (black.any(1) == black.all(1)).all() and (white.any(1) == white.all(1)).all()
    in_the_middle = bool(black[..., 4:12, 4:12].all())
    return bool(
        (black.float().mean().item(), white.float().mean().item()) == pytest.approx(shares, abs=0.01)
        and (noise[~black & ~white] == 0).all()
        and together
        and in_the_middle == (kind == "mask")
    )


@pytest.mark.parametrize("kind", ["gaussian", "salt_pepper", "masking_noise", "mask"])
def test_each_corruption_does_what_it_says_and_not_what_another_says(kind):
    with fork(0):
        assert is_damage(kind, corrupted(GREY, COLOUR, kind, 0.25), 0.25)
        assert not is_damage(kind, corrupted(GREY, COLOUR, kind, 0.5), 0.25)
        for other in {"none", "gaussian", "salt_pepper", "masking_noise", "mask"} - {kind}:
            assert not is_damage(kind, corrupted(GREY, COLOUR, other, 0.25), 0.25)
        if kind in ("salt_pepper", "masking_noise"):  # a pixel goes with all its channels
            apart = corrupted(GREY.reshape(300, 1, 16, 16), COLOUR, kind, 0.25).reshape(GREY.shape)
            assert not is_damage(kind, apart, 0.25)
