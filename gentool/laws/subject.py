"""What a law is held against, and how it says that it does not hold."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.models.base import GenerativeModel, sampler_options
from gentool.training.rng import fork

NEUTRAL = {"temperature": 1, "top_k": None, "top_p": None, "guidance": 1}
"""Sampling knobs that make samples follow another law than the model's, and the values at which they do not."""


class Broken(Exception):
    """A law does not hold; the message says where and by how much."""


class Untried(Exception):
    """A law cannot be tried on this model; the message says why."""


@dataclass(frozen=True)
class Subject:
    """A model and what it is tried on.

    Attributes:
        model: in eval mode.
        batch: examples, by default the model's own samples; y None where it is not conditional.
        rebuild: builds the same model with other weights.
    """

    model: GenerativeModel
    batch: Batch
    rebuild: Callable[[], GenerativeModel]

    def double(self) -> GenerativeModel:
        """Return a copy of the model in double precision."""
        return copy.deepcopy(self.model).double()

    def few(self, n: int) -> Batch:
        """Return the first n examples."""
        return first(self.batch, n)


def first(batch: Batch, n: int) -> Batch:
    """Return the first n examples of a batch."""
    return Batch(batch.x[:n], None if batch.y is None else batch.y[:n], batch.index[:n])


def examples(model: GenerativeModel, n: int, seed: int) -> Batch:
    """Draw what laws are tried on: the model's own samples, so that no data is needed.

    Args:
        model: in eval mode.
        n: how many.
        seed: of the draws.

    Returns:
        n examples inside the space: noise, where the model's samples are not.
    """
    space = model.space
    device = space.loc.device
    with fork(seed), torch.no_grad():
        y = model.labels(n, None)
        try:
            x = model.sample(n, y)
            space.check(x)
        except Exception:  # the law of samples says what is wrong with them; the others go on
            x = space.quantise(space.to_data(0.5 * torch.randn(n, *space.shape, device=device)))
    return Batch(x, y, torch.arange(n, device=device) % space.examples)


def hold(condition: bool | Tensor, message: str) -> None:
    """Raise `Broken` with the message unless the condition is true."""
    if not bool(condition):
        raise Broken(message)


def gap(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference of two tensors; infinite where one is not a number."""
    return float((a.double() - b.double()).abs().nan_to_num(nan=torch.inf).max())


def distort(model: GenerativeModel) -> str:
    """Return the sampling knobs that make samples follow another law than p(x), as typed; empty where there is none."""
    options = sampler_options(model)
    found = {k: options[k] for k, v in NEUTRAL.items() if k in options and options[k] != v}
    return ", ".join(f"sampler.{key}={value}" for key, value in found.items())
