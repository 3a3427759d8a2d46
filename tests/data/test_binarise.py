"""Bernoulli draws of grey levels: exact probabilities, fixed where they must be, fresh where they must be."""

import pytest
import torch

from gentool.data import binarise
from gentool.data.batches import ordered
from gentool.data.dataset import Table, image_dataset


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tabled(levels: int) -> Table:
    x = torch.arange(40 * 16).remainder(levels).to(torch.uint8).view(40, 1, 4, 4)
    return Table(x, torch.arange(40) % 4)


def built(how: str, levels: int = 256, validation: float = 0.25, seed: int = 0):
    return image_dataset(
        tabled(levels), None, levels=levels, classes=4, binarize=how, validation=validation, test_share=0.25, seed=seed
    )


@pytest.mark.parametrize("levels", [2, 3, 17, 200, 256])
def test_the_share_of_ones_is_the_level_exactly(levels):
    """Count over all 256 first bytes: whole bytes below the cut, and the tie by its part, sum to x / (levels - 1)."""
    whole, part = binarise._tables(levels, torch.device("cpu"))
    x = torch.arange(levels)
    assert torch.equal((levels - 1) * whole.long() + part, 256 * x)
    assert int(part.min()) >= 0 and int(part.max()) <= levels - 1
    assert int(part[0]) == 0 and int(whole[0]) == 0  # level 0 never wins, not even a tie
    assert int(whole[-1]) == 255 and int(part[-1]) == levels - 1  # the highest level always does


@pytest.mark.parametrize("levels", [17, 256])
def test_draws_have_the_mean_of_the_level(levels):
    x = torch.arange(levels).to(torch.uint8).repeat(4000, 1)
    for words in (
        binarise.fresh_words(4000, levels, generator()),
        binarise.fixed_words(torch.arange(4000), levels, key=5),
    ):
        share = binarise.bernoulli(x, words, levels).double().mean(0)
        p = torch.arange(levels) / (levels - 1)
        error = (share - p) / (p * (1 - p) / 4000).sqrt().clamp(min=1e-9)
        assert error.abs().max() < 4.5
        assert error[1:-1].square().mean() == pytest.approx(1, abs=1.0 if levels == 17 else 0.3)


def test_ties_are_settled_in_proportion():
    """With one tied byte for every pixel, what is left is Bernoulli(part / 255), which a plain u < x would miss."""
    x = torch.full((2000, 64), 128, dtype=torch.uint8)
    words = binarise.fresh_words(2000, 64, generator())
    words.view(torch.uint8)[:, :64] = 128
    ones = binarise.bernoulli(x, words, 256).double()
    assert ones.mean() == pytest.approx(128 / 255, abs=0.01)
    assert ones.mean(1).std() == pytest.approx(0.5 / 64**0.5, rel=0.1)  # the pixels of a row are settled apart


def test_dense_settling_for_accelerators_gives_the_same():
    """The dense branch is written for devices; it must draw what the sparse branch draws."""
    x = torch.randint(256, (64, 300), generator=generator()).to(torch.uint8)
    words = binarise.fresh_words(64, 300, generator(1))
    draws = words.view(torch.uint8)[:, :300]
    settled = binarise._settle(words[:, -1:], torch.arange(300), x.long(), 256)
    dense = torch.where(draws == torch.where(x == 255, 255, x), torch.where(x == 255, True, settled), draws < x)
    assert torch.equal(dense.to(torch.uint8), binarise.bernoulli(x, words, 256))


def test_neighbouring_pixels_and_rows_are_independent():
    x = torch.full((4000, 32), 128, dtype=torch.uint8)
    ones = binarise.bernoulli(x, binarise.fixed_words(torch.arange(4000), 32, key=0), 256).double()
    correlation = torch.corrcoef(ones.T) - torch.eye(32)
    assert correlation.abs().max() < 5 / 4000**0.5
    assert (torch.corrcoef(ones[:30]) - torch.eye(30)).abs().max() < 0.8


def test_threshold_cuts_at_half():
    assert binarise.threshold(torch.tensor([0, 127, 128, 255]).to(torch.uint8), 256).tolist() == [0, 0, 1, 1]
    assert binarise.threshold(torch.tensor([7, 8, 9, 16]).to(torch.uint8), 17).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("how", ["static", "dynamic", "threshold"])
def test_binarised_data_has_two_levels(how):
    data = built(how)
    assert data.space.levels == 2
    for split in (data.train, data.valid, data.test):
        batch = next(ordered(split, 100, seed=0))
        assert batch.x.dtype == torch.uint8 and set(batch.x.unique().tolist()) == {0, 1}
        data.space.check(batch.x)
    assert built("none").space.levels == 256


def test_dynamic_is_fresh_in_training_and_fixed_in_validation_and_test():
    data = built("dynamic")

    def visit(split, seed, size=7):
        return torch.cat([batch.x for batch in ordered(split, size, seed)])

    assert not torch.equal(visit(data.train, 0), visit(data.train, 1))
    for split in (data.valid, data.test):
        assert torch.equal(visit(split, 0), visit(split, 1, size=3))


def test_static_is_fixed_and_a_row_keeps_its_noise_whatever_the_split():
    wide, narrow = built("static", validation=0.5), built("static", validation=0.25)
    assert torch.equal(wide.test.x, built("static", validation=0.5).test.x)
    assert not torch.equal(wide.test.x, built("static", validation=0.5, seed=1).test.x)
    drawn = binarise.fix(tabled(256).x, torch.arange(40), 256, key=0)
    lines = {tuple(row) for row in drawn.flatten(1).tolist()}
    for data in (wide, narrow):
        for split in (data.train, data.valid, data.test):
            assert {tuple(row) for row in split.x.flatten(1).tolist()} <= lines


def test_two_levels_stay_as_they_are():
    data = built("dynamic", levels=2)
    batch = next(ordered(data.train, 100, seed=0))
    assert data.space.levels == 2 and data.train.draws is None
    assert torch.equal(batch.x, tabled(2).x[: len(batch.x)])
