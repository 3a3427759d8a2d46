"""Batches: a function of (seed, i), every example once an epoch, slices for processes, and the facts of a pass."""

import pytest
import torch

from gentool.data.batches import Batches, ordered
from gentool.data.dataset import Rows, partition
from gentool.errors import UsageError


def rows(n: int = 23, draws: int | None = None) -> Rows:
    x = torch.arange(n * 12).remainder(256).to(torch.uint8).view(n, 1, 3, 4)
    return Rows(x, torch.arange(n) % 5, draws)


def same(a, b) -> bool:
    return torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and torch.equal(a.index, b.index)


@pytest.mark.parametrize("draws", [None, 256])
def test_a_batch_is_a_function_of_the_seed_and_its_number(draws):
    whole = Batches(rows(draws=draws), 5, seed=3)
    batches = [next(whole) for _ in range(12)]
    assert whole.position == 12
    for i in (0, 4, 5, 11):
        assert same(next(Batches(rows(draws=draws), 5, seed=3, position=i)), batches[i])
    assert not same(next(Batches(rows(draws=draws), 5, seed=4)), batches[0])


def test_every_epoch_shows_every_example_once_in_another_order():
    source, drawn = rows(23), Batches(rows(23), 5, seed=0)
    index = torch.cat([next(drawn).index for _ in range(23)]).view(5, 23)  # 23 batches of 5 are 5 epochs
    assert all(torch.equal(epoch.sort().values, torch.arange(23)) for epoch in index)
    assert len({tuple(epoch.tolist()) for epoch in index}) == 5
    batch = next(Batches(source, 5, seed=0))
    assert torch.equal(batch.x, source.x[batch.index]) and torch.equal(batch.y, source.y[batch.index])


def test_a_batch_may_be_larger_than_the_split():
    batch = next(Batches(rows(4), 10, seed=0))
    assert batch.index.bincount().min() >= 2 and len(batch.index) == 10


def test_four_small_batches_are_one_large():
    small, large = Batches(rows(), 3, seed=1), Batches(rows(), 12, seed=1)
    assert torch.equal(torch.cat([next(small).index for _ in range(4)]), next(large).index)


def test_processes_take_slices_of_the_same_batch():
    whole = Batches(rows(), 8, seed=1, position=2)
    parts = [Batches(rows(), 8, seed=1, position=2, rank=rank, processes=4) for rank in range(4)]
    for _ in range(4):
        assert torch.equal(torch.cat([next(part).index for part in parts]), next(whole).index)
    with pytest.raises(UsageError, match=r"multiple of device.processes=3"):
        Batches(rows(), 8, seed=1, processes=3)


def test_an_empty_split_is_refused():
    with pytest.raises(UsageError, match="empty"):
        Batches(rows(0), 8, seed=1)


@pytest.mark.parametrize("draws", [None, 256])
def test_a_pass_shows_every_example_once_whatever_the_batch_size(draws):
    def pixels(batch_size):
        return torch.cat([batch.x for batch in ordered(rows(draws=draws), batch_size, seed=7)])

    index = torch.cat([batch.index for batch in ordered(rows(), 5, seed=7)])
    assert torch.equal(index, torch.arange(23))
    assert torch.equal(pixels(5), pixels(23)) and torch.equal(pixels(5), pixels(1))


def test_batches_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    next(Batches(rows(draws=256), 5, seed=0))
    list(ordered(rows(draws=256), 5, seed=0))
    assert torch.equal(before, torch.get_rng_state())


def test_a_stream_is_told_what_comes_once_each():
    class Stream(Rows):
        told: list[torch.Tensor]

        def prepare(self, index):
            self.told.append(index)

    stream = Stream(rows().x, None)
    stream.told = []
    drawn = [batch for batch, _ in zip(Batches(stream, 4, seed=0), range(5), strict=False)]
    assert torch.equal(torch.cat(stream.told)[:20], torch.cat([batch.index for batch in drawn]))
    stream.told = []
    list(ordered(stream, 4, seed=0))
    assert torch.equal(torch.cat(stream.told), torch.arange(23))


def test_parts_are_disjoint_fixed_and_of_the_stated_sizes():
    parts = partition(1000, [0.1, 0.25], seed=0)
    assert [len(part) for part in parts] == [650, 100, 250]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(1000))
    assert all(torch.equal(a, b) for a, b in zip(parts, partition(1000, [0.1, 0.25], seed=0), strict=True))
    assert not torch.equal(parts[1], partition(1000, [0.1, 0.25], seed=1)[1])
    assert [len(part) for part in partition(3, [0.01, 0.01], seed=0)] == [1, 1, 1]  # a share above 0 is never empty
    with pytest.raises(UsageError, match="leave none for training"):
        partition(2, [0.1, 0.1], seed=0)
