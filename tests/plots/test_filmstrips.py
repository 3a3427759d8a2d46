import numpy as np
import torch

from gentool.plots.filmstrips import COLUMNS, ROWS, draw_filmstrip
from tests.spaces import space


def test_images_have_a_row_each_from_their_start_to_their_end():
    images = space((1, 4, 4), levels=2)
    moments = (torch.arange(20) >= 10).long()[:, None, None, None, None].expand(20, 9, 1, 4, 4)
    strip = draw_filmstrip(moments, images, None, title="t").astype(int)
    tile = 4 * round(56 / 4)
    assert strip.shape[0] > ROWS * tile and strip.shape[1] > COLUMNS * tile
    left, right = strip[:, : strip.shape[1] // 2], strip[:, strip.shape[1] // 2 :]
    assert (left == 0).mean() > 0.5 and (right == 0).mean() < 0.05
    named = draw_filmstrip(moments, images, torch.arange(9), title="t")
    assert named.shape[0] == strip.shape[0] and named.shape[1] > strip.shape[1] - 10


def test_points_of_any_dimension_have_a_panel_a_moment():
    for dims in (1, 2, 5):
        pixels = draw_filmstrip(torch.randn(12, 30, dims), space((dims,)), None, title="t")
        assert pixels.shape[1] > 4 * pixels.shape[0] and np.unique(pixels).size > 2
