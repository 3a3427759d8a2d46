"""Text: any UTF-8 file as a sequence of characters or bytes, its splits cut by position."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from gentool.batch import Batch
from gentool.data.dataset import Dataset, Share
from gentool.data.download import Remote, downloaded, offline_advice, place
from gentool.data.facts import frequencies
from gentool.data.places import data_root
from gentool.errors import UsageError
from gentool.space import DataSpace

SHAKESPEARE = Remote(
    "input.txt",
    "6fb458f1232090904fb40fe944165e91",
    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare",),
)
_FOLDER = "tinyshakespeare"
_CHUNK = 1 << 20  # symbols that are widened at a time
_UNICODE = 0x110000  # code points there are
_BYTES = tuple(bytes(range(256)).decode("ascii", "surrogateescape"))  # how Python spells bytes that are no text

Symbol = Literal["character", "byte"]


class Windows:
    """A stretch of text as windows of equal length.

    Args:
        tokens: (length,) of the space's dtype.
        context: tokens a window.
        is_shifted: whether a batch's windows begin anywhere: window i of R at a uniform draw from the i-th of R equal
            parts of all places there are, so that one epoch covers the text evenly; else they are its tiles.
    """

    def __init__(self, tokens: Tensor, context: int, *, is_shifted: bool) -> None:
        self.tokens, self.context, self.is_shifted = tokens, context, is_shifted
        self._steps = torch.arange(context, device=tokens.device)

    def __len__(self) -> int:
        """Return the number of tiles: tokens // context."""
        return len(self.tokens) // self.context

    def batch(self, index: Tensor, noise: torch.Generator) -> Batch:
        """Return windows (batch, context): the tiles `index`, or windows near them that `noise` draws."""
        starts = index * self.context
        if self.is_shifted:
            places = len(self.tokens) - self.context + 1
            share = torch.rand(len(index), generator=noise, dtype=torch.float64)
            starts = ((index + share) * (places / len(self))).long().clamp(max=places - 1)
        rows = starts.to(self.tokens.device, non_blocking=True)
        return Batch(self.tokens[rows[:, None] + self._steps], None, index.to(self.tokens.device, non_blocking=True))

    def settled(self) -> "Windows":
        """Return the stretch as tiles, which show each token once: what an ordered pass reads."""
        return Windows(self.tokens, self.context, is_shifted=False)

    def to(self, device: torch.device) -> "Windows":
        """Return the stretch in the memory of `device`."""
        return Windows(self.tokens.to(device), self.context, is_shifted=self.is_shifted)


def text(
    *,
    path: str | None = None,
    root: str | None = None,
    symbol: Symbol = "character",
    context: Annotated[int, Field(ge=2)] = 256,
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Read a text; its first part is for training, then comes validation, and last the test.

    Args:
        path: a UTF-8 file; None: tiny Shakespeare, a million characters of plays.
        root: folder that holds tinyshakespeare/input.txt; None: this user's cache.
        symbol: what a token is: character (those of the file) or byte (256, any text).
        context: tokens an example, 2 or more: what a model sees at once, and the length of a sample.
        validation: fraction of the text held out to choose the best checkpoint, before the test's; 0 = none.
        test: fraction of the text held out for the test: its end; 0 = none.

    Returns:
        The dataset: levels are the symbols, examples their windows.

    Raises:
        UsageError: the file is absent, no UTF-8, empty or too short.
    """
    file = _shakespeare(root) if path is None else Path(path).expanduser()
    tokens, vocabulary = tokenise(read_text(file), symbol, file)
    total = len(tokens)
    valid, held = (max(1, round(total * share / context)) * context if share else 0 for share in (validation, test))
    rest = total - valid - held
    if rest < context:
        raise UsageError(
            f"{file}: {total:,} tokens, {valid + held:,} of them held out, leave no window of "
            f"dataset.context={context} for training"
        )
    splits = torch.split(tokens, [rest, valid, held])
    train, validated, tested = (Windows(part, context, is_shifted=i == 0) for i, part in enumerate(splits))
    return Dataset(_space(train, vocabulary), train, validated, tested, density=None)


def tokenise(content: str, symbol: Symbol, file: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Number the symbols of a text.

    Args:
        content: the text.
        symbol: character or byte.
        file: where it is from, for the message.

    Returns:
        (length,) uint8, int64 beyond 256 symbols; and the symbols: characters in the order of Unicode, or all 256 bytes
        as `bytes.decode("ascii", "surrogateescape")` spells them.

    Raises:
        UsageError: the text holds no symbol, or one and the same throughout.
    """
    if not content:
        raise UsageError(f"{file}: is empty; expected text")
    if symbol == "byte":
        return torch.from_numpy(np.frombuffer(bytearray(content.encode()), np.uint8)), _BYTES
    starts = range(0, len(content), _CHUNK)
    used = np.zeros(_UNICODE, bool)
    for start in starts:
        used[_codes(content[start : start + _CHUNK])] = True
    if used.sum() < 2:
        raise UsageError(f"{file}: holds nothing but {content[0]!r}; expected text of several symbols")
    number = np.cumsum(used) - 1
    kind = np.uint8 if used.sum() <= 256 else np.int64
    number, tokens = number.astype(kind), np.empty(len(content), kind)
    for start in starts:
        tokens[start : start + _CHUNK] = number[_codes(content[start : start + _CHUNK])]
    return torch.from_numpy(tokens), tuple(map(chr, np.flatnonzero(used).tolist()))


def _codes(content: str) -> npt.NDArray[np.uint32]:
    """Return the code points of a text."""
    return np.frombuffer(content.encode("utf-32-le"), np.uint32)


def _space(train: Windows, vocabulary: tuple[str, ...]) -> DataSpace:
    shape = (train.context,)
    total = sum(int(part.sum(dtype=torch.int64)) for part in torch.split(train.tokens, _CHUNK))
    return DataSpace(
        shape=shape,
        levels=len(vocabulary),
        classes=0,
        examples=len(train),
        loc=torch.full(shape, total / len(train.tokens)),
        scale=torch.full(shape, len(vocabulary) - 1.0),
        frequencies=frequencies(None, 0),
        vocabulary=vocabulary,
    )


def read_text(file: Path) -> str:
    """Return what a UTF-8 file holds, without a byte order mark.

    Args:
        file: its path.

    Returns:
        The text, line ends as they are.

    Raises:
        UsageError: the file is absent, unreadable or no UTF-8; the first offending byte is named.
    """
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "no such file"
        raise UsageError(f"{file}: {what}; expected a UTF-8 text file")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise UsageError(f"{file}: byte {error.start:,} (0x{byte:02x}, line {line:,}) is no UTF-8") from error


def _shakespeare(root: str | None) -> Path:
    folder = data_root(root) / _FOLDER
    file = folder / SHAKESPEARE.name
    if not file.is_file():
        advice = offline_advice("text", folder, [SHAKESPEARE.name])
        with downloaded(SHAKESPEARE, folder, f"{advice}; dataset.path=FILE reads a text of your own") as stream:
            place(stream, file)
    return file
