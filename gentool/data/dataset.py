"""What a dataset is: three splits of rows, the facts of its space, and a density where one is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from gentool.batch import Batch
from gentool.data import binarise
from gentool.data.binarise import Binarize
from gentool.data.facts import image_space, point_space
from gentool.data.moments import tie_noise
from gentool.errors import UsageError
from gentool.space import DataSpace

Share = Annotated[float, Field(ge=0, lt=1)]
"""A share of the examples, 0 <= share < 1."""


class Source(Protocol):
    """One split."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(self, index: Tensor, noise: torch.Generator) -> Batch:
        """Return the examples at `index` (batch,) int64; `noise` drives dynamic binarisation. Both are on the CPU."""
        ...

    def to(self, device: torch.device) -> "Source":
        """Return the split with its batches on `device`."""
        ...


class Density(Protocol):
    """The density points were drawn from."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return (batch,) log p(x) in nats, of x (batch, d)."""
        ...

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw (n, d) float32."""
        ...

    def entropy(self) -> float:
        """Return the entropy in nats, by quadrature."""
        ...


class Factors(NamedTuple):
    """What the examples of drawn data were made from, row by row of each split.

    Attributes:
        names: of the factors.
        train: (examples, factors) float32; factors that count something hold whole numbers.
        valid: the same of the validation split.
        test: the same of the test split.
    """

    names: tuple[str, ...]
    train: Tensor
    valid: Tensor
    test: Tensor


@dataclass(frozen=True)
class Dataset:
    """Three splits of one space; `valid` and `test` may be empty.

    Attributes:
        space: facts of the data, from the training split.
        train: what is trained on.
        valid: what chooses the best checkpoint; never part of `test`.
        test: what `evaluate` reports.
        density: what points were drawn from, where it is known.
        factors: what drawn images were made from, where it is known.
    """

    space: DataSpace
    train: Source
    valid: Source
    test: Source
    density: Density | None
    factors: Factors | None = None

    def to(self, device: torch.device) -> "Dataset":
        """Return the dataset with its batches on `device`."""
        return replace(self, train=self.train.to(device), valid=self.valid.to(device), test=self.test.to(device))


class Rows:
    """A split held in memory, as stored: one index_select a batch, no work per example.

    Args:
        x: (examples, *shape), uint8 levels or float32.
        y: (examples,) int64 labels, or None.
        draws: grey levels to draw binary pixels from at each visit; None: x as it is.
        jitter: (*shape,) standard deviations of Gaussian noise that is added at each visit; None: none is.
    """

    def __init__(self, x: Tensor, y: Tensor | None, draws: int | None = None, jitter: Tensor | None = None) -> None:
        self.x = x
        self.y = y
        self.draws = draws
        self.jitter = jitter

    @property
    def is_fixed(self) -> bool:
        """Whether an example is the same at each visit."""
        return self.draws is None and self.jitter is None

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.x)

    def batch(self, index: Tensor, noise: torch.Generator) -> Batch:
        """Return the examples at `index`, drawn afresh or jittered by `noise` where they are."""
        rows = index.to(self.x.device, non_blocking=True)
        x = self.x.index_select(0, rows)
        if self.draws is not None:
            x = binarise.bernoulli(x, binarise.fresh_words(len(x), x[0].numel(), noise), self.draws)
        if self.jitter is not None:
            x += torch.randn(x.shape, generator=noise).to(x.device, non_blocking=True) * self.jitter
        return Batch(x, None if self.y is None else self.y.index_select(0, rows), rows)

    def to(self, device: torch.device) -> "Rows":
        """Return the split in the memory of `device`."""
        y, jitter = (None if part is None else part.to(device) for part in (self.y, self.jitter))
        return Rows(self.x.to(device), y, self.draws, jitter)


class Table(NamedTuple):
    """Examples as they were read.

    Attributes:
        x: (examples, *shape) uint8 or float32.
        y: (examples,) int64 labels, or None.
    """

    x: Tensor
    y: Tensor | None

    def rows(self, index: Tensor) -> "Table":
        """Return the table of some rows."""
        return Table(self.x[index], None if self.y is None else self.y[index])


def partition(n: int, shares: Sequence[float], seed: int) -> list[Tensor]:
    """Cut 0..n-1 into seeded random parts: what remains first, then one part a share.

    Args:
        n: number of examples.
        shares: of all n, each in [0, 1); a share above 0 gets at least one example.
        seed: of the shuffle.

    Returns:
        len(shares) + 1 tensors of sorted int64 rows; disjoint, and together all.

    Raises:
        UsageError: nothing would remain for training.
    """
    counts = [max(round(n * share), 1) if share else 0 for share in shares]
    rest = n - sum(counts)
    if rest < 1:
        held = " + ".join(f"{share:g}" for share in shares)
        raise UsageError(f"{n} examples, of which the shares {held} are held out, leave none for training")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return [part.sort().values for part in torch.split(order, [rest, *counts])]


def shares(
    train: Table, test: Table | None, validation: float, test_share: float, seed: int
) -> list[tuple[int, Tensor]]:
    """Say which rows of which table are the training, validation and test split.

    Args:
        train: all examples, or those a dataset keeps for training.
        test: a test split of the dataset's own, or None.
        validation: fraction of `train` held out for validation.
        test_share: share of `train` held out for the test, where `test` is None.
        seed: of the shuffle.

    Returns:
        For train, valid and test: (0 for `train` or 1 for `test`, rows).
    """
    if test is None:
        return [(0, rows) for rows in partition(len(train.x), [validation, test_share], seed)]
    kept, valid = partition(len(train.x), [validation], seed)
    return [(0, kept), (0, valid), (1, torch.arange(len(test.x)))]


def image_dataset(
    train: Table,
    test: Table | None,
    *,
    levels: int,
    classes: int,
    class_names: tuple[str, ...] = (),
    binarize: Binarize,
    validation: float,
    test_share: float,
    seed: int,
) -> Dataset:
    """Build a dataset of images in memory.

    Args:
        train: all examples, or those a dataset keeps for training; x (n, channels, height, width) uint8.
        test: a test split of the dataset's own, or None.
        levels: grey levels of x, at most 256.
        classes: number of classes, 0 without labels.
        class_names: names of the classes, where they have names.
        binarize: how levels become 0 and 1. Validation and test are fixed by (seed, row), whatever the batches.
        validation: fraction of `train` held out for validation.
        test_share: share of `train` held out for the test, where `test` is None.
        seed: of the split and of fixed binarisation.

    Returns:
        The dataset; `space.levels` is 2 where it is binarised.
    """
    splits = []
    for split, (which, rows) in enumerate(shares(train, test, validation, test_share, seed)):
        table = test if test is not None and which else train
        part = table if len(rows) == len(table.x) else table.rows(rows)
        draws = levels if split == 0 and binarize == "dynamic" and levels > 2 else None
        x = part.x if draws else binarise.settled(part.x, rows, levels, binarize, 2 * seed + which)
        splits.append(Rows(x, part.y, draws))
    space = image_space(
        splits[0].x,
        splits[0].y,
        stored_levels=2 if binarize in ("static", "threshold") else levels,
        levels=levels if binarize == "none" else 2,
        classes=classes,
        examples=len(splits[0]),
        class_names=class_names,
    )
    return Dataset(space, splits[0], splits[1], splits[2], density=None)


def point_dataset(
    table: Table,
    classes: int,
    *,
    class_names: tuple[str, ...] = (),
    has_ties: bool = False,
    validation: float,
    test_share: float,
    seed: int,
) -> Dataset:
    """Build a dataset of real vectors.

    Args:
        table: all examples; x (n, d) float32.
        classes: number of classes, 0 without labels.
        class_names: names of the classes, where they have names.
        has_ties: whether columns may hold few distinct values; in training they get the noise of `tie_noise`.
        validation: fraction of the examples held out for validation.
        test_share: share of the examples held out for the test.
        seed: of the split.

    Returns:
        The dataset, cut into three seeded parts.
    """
    parts = [table.rows(rows) for rows in partition(len(table.x), [validation, test_share], seed)]
    space = point_space(parts[0].x, parts[0].y, classes, class_names)
    jitter = tie_noise(parts[0].x) if has_ties else torch.zeros(space.shape)
    is_constant = (parts[0].x == parts[0].x[0]).all(0) & (jitter > 0)
    space = replace(space, scale=torch.where(is_constant, jitter, space.scale))
    train = Rows(parts[0].x, parts[0].y, jitter=jitter if jitter.any() else None)
    valid, test = (Rows(part.x, part.y) for part in parts[1:])
    return Dataset(space, train, valid, test, density=None)
