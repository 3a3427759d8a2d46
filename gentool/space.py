"""The public space of x: what the data is, and how models see it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from gentool.errors import nearest


def caption_words(text: str) -> list[str]:
    """Split a caption into words and marks, in lower case.

    >>> caption_words("A red disc, left of it: nothing.")
    ['a', 'red', 'disc', ',', 'left', 'of', 'it', ':', 'nothing', '.']
    """
    return re.findall(r"\w+|[^\w\s]", text.lower())


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSpace:
    """Facts of the data: built by the dataset, kept in the checkpoint, never options of a model.

    Attributes:
        shape: of one x: (2,) for points, (channels, height, width) for images, (length,) for text.
        levels: x holds the integers 0..levels-1 (images 256, binarised 2, text its vocabulary); None where x is real.
        classes: number of classes, 0 where there are no labels.
        examples: size of the training split.
        loc: per-dimension mean of the training split, (*shape,), in data space.
        scale: per-dimension standard deviation of the training split, (*shape,), > 0; where `levels` is set, levels - 1
            in every dimension (a pixel that is always black has no deviation).
        frequencies: (classes,) share of each class in the training split; sums to 1.
        vocabulary: the symbols of text, empty otherwise.
        class_names: names of the classes, in the order of their numbers; empty where they have none.
        words: of captions, the empty word of the padding first; empty where examples have no captions.
        captions: (n, length) int64 tokens of some training captions, by their frequency, 0 behind a caption's end.
    """

    shape: tuple[int, ...]
    levels: int | None
    classes: int
    examples: int
    loc: Tensor
    scale: Tensor
    frequencies: Tensor
    vocabulary: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    captions: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))

    @property
    def dims(self) -> int:
        """Number of dimensions of one x."""
        return prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether x is (channels, height, width)."""
        return len(self.shape) == 3

    @property
    def is_points(self) -> bool:
        """Whether x is a vector of reals."""
        return len(self.shape) == 1 and self.levels is None

    def to_model(self, x: Tensor) -> Tensor:
        """Map data space to model space: integers to [-1, 1], reals to zero mean and unit variance.

        Args:
            x: (batch, *shape), in data space.

        Returns:
            (batch, *shape) float32.
        """
        if self.levels is None:
            return self.standardise(x)
        return torch.mul(x, 2 / (self.levels - 1)).sub_(1)

    def standardise(self, x: Tensor) -> Tensor:
        """Map data space to what a network likes to see: every dimension's mean at zero, in units of `scale`.

        Args:
            x: (batch, *shape), in data space.

        Returns:
            (batch, *shape) float32; of reals it is `to_model`.
        """
        return (x - self.loc.to(x.device)) / self.scale.to(x.device)

    def to_data(self, x: Tensor) -> Tensor:
        """Map model space back to data space without rounding: the inverse of `to_model`, clamped to the levels.

        Args:
            x: (batch, *shape) float, in model space.

        Returns:
            (batch, *shape) float, in data space: within [0, levels - 1] where x is discrete.
        """
        if self.levels is None:
            return x * self.scale.to(x.device) + self.loc.to(x.device)
        return ((x + 1) * ((self.levels - 1) / 2)).clamp(0, self.levels - 1)

    def quantise(self, x: Tensor) -> Tensor:
        """Round a float in data space to what the dataset itself would hold: integers, or float32.

        Args:
            x: (batch, *shape) float, in data space.

        Returns:
            (batch, *shape) of `dtype`.
        """
        return x if self.levels is None else x.round().clamp(0, self.levels - 1).to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of x in data space: uint8, int64 beyond 256 levels, float32."""
        if self.levels is None:
            return torch.float32
        return torch.uint8 if self.levels <= 256 else torch.int64

    def texts(self, x: Tensor) -> list[str]:
        """Spell tokens (n, length) as n texts; bytes that form no UTF-8 become U+FFFD."""
        spelled = ["".join(self.vocabulary[token] for token in row) for row in x.tolist()]
        return [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in spelled]

    def tokens(self, text: str) -> Tensor:
        """Number the symbols of a text: the inverse of `texts`.

        Args:
            text: any text; by bytes, where the vocabulary is bytes.

        Returns:
            (length,) of `dtype`.

        Raises:
            ValueError: names the first symbol that the vocabulary lacks.
        """
        is_bytes = "\udc80" in self.vocabulary  # how Python spells a byte that is no character
        symbols = text.encode().decode("ascii", "surrogateescape") if is_bytes else text
        numbers = {symbol: i for i, symbol in enumerate(self.vocabulary)}
        for symbol in symbols:
            if symbol not in numbers:
                raise ValueError(f"the data has no {symbol!r}")
        return torch.tensor([numbers[symbol] for symbol in symbols], dtype=self.dtype)

    def class_number(self, label: int | str) -> int:
        """Return the number of a class that is given by its number or its name.

        Args:
            label: a number in 0..classes-1, or one of `class_names`.

        Returns:
            The number.

        Raises:
            ValueError: there is no such class; the nearest name is given.
        """
        if isinstance(label, str) and label in self.class_names:
            return self.class_names.index(label)
        if str(label).isdecimal() and int(label) < self.classes:
            return int(label)
        if not self.classes:
            raise ValueError("the data has no classes")
        numbers = f"0..{self.classes - 1}"
        hint = f" or a name: {nearest(label, self.class_names)}" if self.class_names else ""
        raise ValueError(f"there is no class {label!r}; expected a number in {numbers}{hint}")

    @property
    def condition(self) -> Literal["none", "labels", "tokens"]:
        """What y of a batch is: None, labels (batch,), or tokens of captions (batch, length)."""
        return "tokens" if self.words else "labels" if self.classes else "none"

    def caption_tokens(self, text: str) -> Tensor:
        """Number the words of a caption.

        Args:
            text: words that the data's captions have, in any case.

        Returns:
            (length,) int64, 0 behind its end; `length` is that of `captions`.

        Raises:
            ValueError: the data has no captions or no such word, which is named with the nearest one it has, or the
                caption is longer than any of the data.
        """
        if not self.words:
            raise ValueError("the data has no captions")
        number = {word: i for i, word in enumerate(self.words) if word}
        found = caption_words(text)
        length = self.captions.shape[1]
        for word in found:
            if word not in number:
                raise ValueError(f"the data's captions have no word {word!r}; {nearest(word, number)}")
        if len(found) > length:
            raise ValueError(f"the caption has {len(found)} words; the data's have at most {length}")
        return torch.tensor([number[word] for word in found] + [0] * (length - len(found)), dtype=torch.int64)

    def caption_texts(self, tokens: Tensor) -> list[str]:
        """Spell tokens (n, length) as n captions: the inverse of `caption_tokens`, but for case and spaces."""
        return [" ".join(self.words[token] for token in row if token) for row in tokens.tolist()]

    def check(self, x: Tensor) -> None:
        """Raise ValueError, naming the first offender, where x is not (batch, *shape) inside the space.

        Args:
            x: what claims to be examples.

        Raises:
            ValueError: on a wrong shape, a non-finite value, or a level out of range.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"examples have shape {tuple(x.shape[1:])}; expected {self.shape}")
        if self.levels is None:
            bad = ~torch.isfinite(x)
            claim = "is not finite"
        elif x.is_floating_point() and not torch.equal(x, x.round()):
            bad = x != x.round()  # also of what is not a number
            claim = f"is no level; expected the integers 0..{self.levels - 1}, no fractions"
        else:
            bad = (x < 0) | (x > self.levels - 1)
            claim = f"lies outside 0..{self.levels - 1}"
        if bad.any():
            row = int(bad.flatten(1).any(1).nonzero()[0])
            raise ValueError(f"example {row}: {x[row][bad[row]][0].item()} {claim}")

    def to(self, device: torch.device) -> "DataSpace":
        """Return the space with its tensors on `device`."""
        loc, scale, frequencies, captions = (
            t.to(device) for t in (self.loc, self.scale, self.frequencies, self.captions)
        )
        return replace(self, loc=loc, scale=scale, frequencies=frequencies, captions=captions)

    def state(self) -> dict[str, Any]:
        """The space as plain types and tensors, for a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "DataSpace":
        """Rebuild a space from `state()`."""
        tuples = {key: tuple(state[key]) for key in ("shape", "vocabulary", "class_names", "words") if key in state}
        return cls(**{**state, **tuples})
