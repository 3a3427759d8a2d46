"""What the commands that read a checkpoint share: announce it, find held-out examples, write files, name the folder."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.data.batches import ordered
from gentool.data.dataset import Dataset, Source
from gentool.data.places import root_here
from gentool.errors import UsageError, nearest
from gentool.plots.files import write_gif, write_png
from gentool.plots.grids import Pixels
from gentool.training.checkpoints import atomic_write
from gentool.training.folders import output_folder
from gentool.training.rng import fork
from gentool.training.runs import Loaded, build_dataset

CHUNK = 512
"""Examples encoded or decoded at once: bounds the memory."""


def announce(loaded: Loaded) -> None:
    """Print which checkpoint and which weights are read."""
    print(f"{loaded.name}: {loaded.path}, step {loaded.step}, {loaded.weights} weights")


def dataset_of(loaded: Loaded, overrides: Mapping[str, Any], device: torch.device) -> Dataset:
    """Rebuild the dataset a run was trained on.

    Args:
        loaded: the run's model.
        overrides: where its files are now (root, path); None leaves the run's own.
        device: where the examples shall be.

    Returns:
        The dataset, on the device.

    Raises:
        UsageError: if the run's dataset has no such key, or its data is not here.
    """
    recorded = loaded.config["dataset"]
    keys = [key for key in recorded if not key.startswith("_")]
    given = {key: value for key, value in overrides.items() if value is not None}
    for key in given:
        if key not in keys:
            raise UsageError(f"dataset.{key}: the data of {loaded.name} has no such key; {nearest(key, keys)}")
    here = {"root": root_here(recorded["root"])} if "root" in recorded else {}
    dataset: Dataset = build_dataset(loaded, here | given)
    return dataset.to(device)


@dataclass(frozen=True)
class Examples:
    """A split, in row order.

    Attributes:
        source: the split.
        split: its name.
        n: how many of its first rows are used.
        seed: of its noise (dynamic binarisation).
    """

    source: Source
    split: str
    n: int
    seed: int

    def blocks(self, size: int, *, with_labels: bool) -> Iterator[Batch]:
        """Yield the examples in row order, the same ones and the same noise whatever the block's size.

        Args:
            size: examples a block; the last may be smaller.
            with_labels: whether y is handed on.

        Yields:
            At most `size` examples, on the source's device.
        """
        left = self.n
        for x, y, index in islice(ordered(self.source, size, self.seed), -(-self.n // size)):
            keep = min(left, len(x))
            yield Batch(x[:keep], y[:keep] if y is not None and with_labels else None, index[:keep])
            left -= keep

    def pick(self, n: int) -> Batch:
        """Return at most n examples spread at random over the split; the same ones for the same seed."""
        with fork(self.seed):
            rows = torch.randperm(self.n)[:n]
        return self.source.batch(rows, torch.Generator().manual_seed(self.seed))


def held_out(dataset: Dataset, seed: int, *, split: str | None = None, n: int | None = None) -> Examples:
    """Return a split's examples; by default those the model never saw: test, else validation, else training.

    Args:
        dataset: the data.
        seed: of its noise.
        split: test, valid or train; None: the first of these that has examples.
        n: how many of the first rows; None: all.

    Returns:
        The first n examples of the split.

    Raises:
        UsageError: if the split is empty, or shorter than n.
    """
    sources = {"test": dataset.test, "valid": dataset.valid, "train": dataset.train}
    filled = [name for name, source in sources.items() if len(source)]
    name = split or filled[0]
    if name not in filled:
        raise UsageError(f"split={name} is empty for this data; with examples: {', '.join(filled)}")
    source = sources[name]
    if n is not None and n > len(source):
        raise UsageError(f"n={n}: the {name} split has {len(source)} examples")
    return Examples(source, name, n or len(source), seed)


def in_chunks(function: Callable[..., Tensor], *tensors: Tensor | None, size: int = CHUNK) -> Tensor:
    """Apply a function to chunks of tensors of equal length (None is handed through), and join what it returns."""
    n = next(len(t) for t in tensors if t is not None)
    parts = [
        function(*(None if t is None else t[start : start + size] for t in tensors)) for start in range(0, n, size)
    ]
    return torch.cat(parts)


class Named(Protocol):
    """What was read."""

    @property
    def name(self) -> str:
        """`<model>-<dataset>`."""
        ...


class Output:
    """The files of one reader: gathered first, then written at once, so a command that cannot start writes nothing."""

    def __init__(self) -> None:
        self._files: dict[str, Callable[[BinaryIO], object]] = {}

    def png(self, name: str, pixels: Pixels) -> None:
        """Add a picture."""
        self._files[name] = partial(write_png, pixels=pixels)

    def gif(self, name: str, frames: list[Pixels], milliseconds: int) -> None:
        """Add a moving picture."""
        self._files[name] = partial(write_gif, frames=frames, milliseconds=milliseconds)

    def npz(self, name: str, **arrays: Tensor | str | float | None) -> None:
        """Add named arrays; None is left out."""
        plain = {
            key: value.detach().cpu().numpy() if isinstance(value, Tensor) else np.array(value)
            for key, value in arrays.items()
            if value is not None
        }
        self._files[name] = lambda file: np.savez_compressed(file, **plain)  # type: ignore[arg-type]

    def text(self, name: str, text: str) -> None:
        """Add a text file."""
        self._files[name] = lambda file: file.write(text.encode())

    def write(self, verb: str, subject: Named, out: str | None) -> Path:
        """Make the folder, write the files, and print its path as the last line.

        Args:
            verb: the command.
            subject: what was read.
            out: a folder of the user's choice; None: a fresh one.

        Returns:
            The folder.

        Raises:
            RunError: if the disk refuses.
        """
        folder = output_folder(verb, subject.name, out, self._files)
        for name, write in self._files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            atomic_write(path, write)
        print(folder, flush=True)
        return folder
