import numpy as np
import torch
from PIL import Image

from gentool.plots.figures import new_figure, render
from gentool.plots.files import write_gif, write_png
from gentool.plots.grids import annotate, make_grid, single, to_pixels
from gentool.plots.pictures import SHOWN, draw_examples
from gentool.plots.points import draw_points
from tests.spaces import space


def test_the_levels_fill_the_greys():
    shown = to_pixels(torch.tensor([[[[0, 8], [12, 16]]]]), space((1, 2, 2), levels=17))
    assert shown.flatten().tolist() == [0, 128, 191, 255]


def test_a_mean_outside_the_levels_is_clamped_and_a_real_image_spans_its_deviations():
    assert to_pixels(torch.tensor([[[[-3.0, 1.7]]]]), space((1, 1, 2), levels=2)).flatten().tolist() == [0, 255]
    reals = to_pixels(torch.tensor([[[[2.0, 7.0, -3.0]]]]), space((1, 1, 3), loc=2.0, scale=2.0))
    assert reals.flatten().tolist() == [128, 255, 0]


def test_images_stand_in_reading_order_enlarged_and_the_last_cells_are_white():
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    images[0, 0, 0, 7] = 16
    images[1] = 4
    images[2] = 8
    grid = make_grid(images, space((1, 8, 8), levels=17), columns=2)
    assert grid.shape == (2 + 2 * 58, 2 + 2 * 58)
    assert (grid[:2] == 255).all()
    first = grid[2:58, 2:58]
    assert (first[:7, -7:] == 255).all() and int((first == 255).sum()) == 49
    assert (grid[2:58, 60:116] == 64).all()
    assert (grid[60:116, 2:58] == 128).all()
    assert (grid[58:, 58:] == 255).all()


def test_rows_are_full_where_the_count_allows():
    for n, columns in ((32, 8), (40, 8), (64, 8), (10, 5), (7, 3)):
        grid = make_grid(torch.zeros(n, 1, 8, 8, dtype=torch.uint8), space((1, 8, 8), levels=17))
        assert grid.shape[1] == 2 + columns * 58


def test_colours_keep_their_channels_whatever_their_number():
    red = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    red[:, 0] = 255
    assert single(red[0], space((3, 4, 4), levels=256))[1, 1].tolist() == [255, 0, 0]
    two = torch.full((1, 2, 4, 4), 255, dtype=torch.uint8)
    assert single(two[0], space((2, 4, 4), levels=256))[0, 0].tolist() == [255, 255, 0]
    assert make_grid(torch.zeros(1, 5, 4, 4), space((5, 4, 4), levels=256)).shape[2] == 3


def test_vectors_of_levels_are_strips_and_a_grid_has_an_end():
    strips = draw_examples(torch.ones(2, 10, dtype=torch.uint8), space((10,), levels=2), title="")
    assert strips.shape == (2 + 2 * (6 + 2), 2 + 60 + 2)
    many = draw_examples(torch.zeros(SHOWN + 100, 1, 2, 2), space((1, 2, 2), levels=2), title="")
    assert many.shape[1] == 2 + 20 * 58


def test_annotated_pictures_hold_the_grid_pixel_for_pixel():
    grid = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    framed = annotate(grid, title="two lines\nof title", rows=["a", "b"], columns=["0", "1", "2"])
    found = [
        (top, left)
        for top in range(framed.shape[0] - 39)
        for left in range(framed.shape[1] - 59)
        if (framed[top, left : left + 60, 0] == grid[0]).all()
    ]
    assert len(found) == 1
    top, left = found[0]
    assert (framed[top : top + 40, left : left + 60, 1] == grid).all()


def test_points_outside_the_frame_change_the_picture_not_the_frame():
    where = space((2,), loc=0.0, scale=1.0)
    near = draw_points(torch.zeros(5, 2), where, title="t")
    far = draw_points(torch.cat([torch.zeros(5, 2), torch.full((1, 2), 99.0)]), where, title="t")
    assert near.shape == far.shape
    assert (near != far).any()
    for shape in ((1,), (4,)):
        assert draw_points(torch.randn(30, *shape), space(shape), title="t").std() > 1


def test_files_read_back(tmp_path):
    frames = [np.full((6, 5, 3), value, dtype=np.uint8) for value in (0, 120, 255)]
    write_png(tmp_path / "a.png", frames[1])
    assert (np.asarray(Image.open(tmp_path / "a.png")) == 120).all()
    write_gif(tmp_path / "a.gif", frames, 70)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (3, 70, 0)
        values = []
        for i in range(3):
            gif.seek(i)
            values.append(int(np.asarray(gif.convert("L"))[0, 0]))
    assert np.abs(np.array(values) - [0, 120, 255]).max() <= 2


def test_figures_have_the_size_asked_for():
    for width, height in [(113, 57), (115, 229)]:  # whose hundredths times a hundred fall short of them
        assert render(new_figure(width, height)).shape == (height, width, 3)
