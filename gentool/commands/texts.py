"""Texts of any length from a model of windows: a prompt written on, a window after the other."""

import torch
from torch import Tensor

from gentool.errors import UsageError
from gentool.models.base import Completes
from gentool.space import DataSpace


def beginning(space: DataSpace, prompt: str | None, length: int | None, n: int) -> tuple[Tensor, int]:
    """Return what texts begin with, and how long they shall be.

    Args:
        space: of text.
        prompt: what each begins with; None: nothing.
        length: tokens of each, the prompt's included; None: as many as the model's window holds, half a window more
            than the prompt where that fills it.
        n: number of texts.

    Returns:
        (n, tokens of the prompt), and the length.

    Raises:
        UsageError: if the data is no text, a symbol is unknown, or the prompt is longer than the text shall be.
    """
    if not space.vocabulary:
        asked = f"prompt={prompt}" if prompt is not None else f"length={length}"
        raise UsageError(f"{asked}: the model's data is no text; for images there is complete=top|left|mask.png")
    try:
        tokens = space.tokens(prompt or "")
    except ValueError as error:
        raise UsageError(f"prompt: {error}; its {len(space.vocabulary)} symbols begin {_few(space)}") from error
    total = length or (space.dims if len(tokens) < space.dims else len(tokens) + space.dims // 2)
    if len(tokens) > total:
        raise UsageError(f"length={length}: the prompt alone has {len(tokens)} tokens")
    return tokens.expand(n, -1), total


def written_on(model: Completes, space: DataSpace, begun: Tensor, length: int) -> Tensor:
    """Write texts on, each token given those before it that its window holds, at least half a window of them.

    A window that is full moves on by half of its length, so what came before is forgotten.

    Args:
        model: of windows of `space`.
        space: of text.
        begun: (n, tokens), what each begins with.
        length: tokens at the end.

    Returns:
        (n, length), of the space's dtype.
    """
    texts = begun
    while texts.shape[1] < length:
        seen = texts if texts.shape[1] < space.dims else texts[:, -(space.dims // 2) :]
        x = torch.zeros(len(texts), space.dims, dtype=space.dtype, device=texts.device)
        x[:, : seen.shape[1]] = seen
        known = torch.zeros_like(x, dtype=torch.bool)
        known[:, : seen.shape[1]] = True
        drawn = model.complete(x, known)
        space.check(drawn)
        texts = torch.cat([texts, drawn[:, seen.shape[1] :]], 1)
    return texts[:, :length]


def _few(space: DataSpace) -> str:
    """Return the first symbols there are, on one line."""
    return repr("".join(space.vocabulary)[:80])
