"""Batches of a split: batch i is a function of (seed, i), so a resumed run needs no loader state."""

import hashlib
from collections import deque
from collections.abc import Iterator
from itertools import repeat
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.data.dataset import Rows, Source
from gentool.errors import UsageError

_AHEAD = 4  # batches a stream may decode before they are asked for
_AT_ONCE = 32  # batches fetched from memory by one index_select: its fixed cost was 4 % of a small model's step
_BYTES = 2**22  # held by them at most


@runtime_checkable
class _Prepares(Protocol):
    def prepare(self, index: Tensor) -> None: ...


@runtime_checkable
class _Settles(Protocol):
    """A split whose examples move from visit to visit, and that can hold still: in an ordered pass it does."""

    def settled(self) -> Source: ...


class Batches(Iterator[Batch]):
    """Shuffled batches without end.

    Batch i holds positions [i B, (i + 1) B) of the endless concatenation of one seeded permutation an epoch, and its
    noise generator is seeded by (seed, i). A batch may span two epochs; every epoch shows every example once.

    Args:
        source: the split.
        batch_size: B, examples a batch over all processes.
        seed: of the permutations and of the noise.
        position: batches drawn so far, 0 at the start.
        rank: which slice of each batch this process takes, 0..processes-1.
        processes: number of processes that share each batch.

    Raises:
        UsageError: the split is empty, or the batch does not divide among the processes.
    """

    def __init__(
        self, source: Source, batch_size: int, seed: int, position: int = 0, rank: int = 0, processes: int = 1
    ) -> None:
        if len(source) == 0:
            raise UsageError("the training split is empty: lower dataset.validation")
        if batch_size % processes:
            raise UsageError(f"trainer.batch_size={batch_size}: expected a multiple of device.processes={processes}")
        self.position = position
        self._source = source
        self._stream = source if isinstance(source, _Prepares) else None
        self._memory = source if type(source) is Rows and source.is_fixed else None  # rows that need no noise
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._share = batch_size // processes
        self._noise = torch.Generator()
        self._prepared = 0
        self._fetched: deque[Batch] = deque()
        self._permutations: dict[int, Tensor] = {}

    def __next__(self) -> Batch:
        """Return the batch at `position`, and move on."""
        batch = self._fresh() if self._memory is None else self._from(self._memory)
        self.position += 1
        return batch

    def _from(self, memory: Rows) -> Batch:
        """Return the next of several batches fetched together: without noise they are the same either way."""
        if not self._fetched:
            bytes_each = self._share * memory.x[0].numel() * memory.x.element_size()
            count = max(1, min(_AT_ONCE, _BYTES // bytes_each))
            rows = torch.cat([self._rows(self.position + i) for i in range(count)])
            x, y, index = memory.batch(rows, self._noise)
            labels = repeat(None) if y is None else torch.split(y, self._share)
            self._fetched.extend(map(Batch, torch.split(x, self._share), labels, torch.split(index, self._share)))
        return self._fetched.popleft()

    def _fresh(self) -> Batch:
        """Return a batch with noise of its own; a stream starts to decode those that follow."""
        if self._stream is not None:
            for position in range(max(self.position, self._prepared), self.position + _AHEAD):
                self._stream.prepare(self._rows(position))
            self._prepared = self.position + _AHEAD
        self._noise.manual_seed(_derive(self._seed, self.position, self._rank))
        return self._source.batch(self._rows(self.position), self._noise)

    def _rows(self, position: int) -> Tensor:
        start = position * self._batch_size + self._rank * self._share
        parts = []
        missing = self._share
        while missing:
            epoch, offset = divmod(start, len(self._source))
            part = self._permutation(epoch)[offset : offset + missing]
            parts.append(part)
            start += len(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch not in self._permutations:
            self._permutations = {e: p for e, p in self._permutations.items() if abs(e - epoch) <= _AHEAD}
            generator = torch.Generator().manual_seed(_derive(self._seed, "epoch", epoch))
            self._permutations[epoch] = torch.randperm(len(self._source), generator=generator)
        return self._permutations[epoch]


def ordered(source: Source, batch_size: int, seed: int, most: int | None = None) -> Iterator[Batch]:
    """Yield one pass over a split in row order, every example once; the last batch may be smaller.

    One generator serves the whole pass, row after row, so an example's noise does not depend on the batch size.

    Args:
        source: the split.
        batch_size: examples a batch.
        seed: of the noise.
        most: how many examples at most, drawn once and for all where the split has more; None: all.

    Yields:
        Batches of rows 0, 1, 2, …
    """
    source = source.settled() if isinstance(source, _Settles) else source
    noise = torch.Generator().manual_seed(_derive(seed, "ordered"))
    taken = torch.arange(len(source))
    if most is not None and most < len(source):
        draw = torch.Generator().manual_seed(_derive(seed, "taken"))
        taken = torch.randperm(len(source), generator=draw)[:most].sort().values
    rows = torch.split(taken, batch_size)
    for i, index in enumerate(rows):
        if isinstance(source, _Prepares):
            for ahead in rows[i + _AHEAD - 1 : i + _AHEAD] if i else rows[:_AHEAD]:
                source.prepare(ahead)
        yield source.batch(index, noise)


def _derive(*values: int | str) -> int:
    """Hash a tuple to a seed: neighbouring seeds and positions give unrelated streams."""
    digest = hashlib.blake2b(repr(values).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
