"""Random state: saved, restored, and set aside while something draws from a state of its own."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rich.style  # noqa: F401  draws from Python's generator when it is imported: here, before anything is seeded
import torch


def derive(seed: int, *more: int) -> int:
    """Return a 63-bit seed that is a well-mixed function of its arguments.

    >>> derive(0, 1) == derive(0, 1), derive(0, 1) == derive(1, 0)
    (True, False)
    """
    digest = hashlib.blake2b(repr((seed, *more)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_all(seed: int, *more: int) -> None:
    """Seed Python's, NumPy's and torch's generators (every device) by `derive(seed, *more)`."""
    value = derive(seed, *more)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def get_state() -> dict[str, Any]:
    """Return the state of every global generator as plain types that `weights_only` loading accepts."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).copy()), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_state(state: dict[str, Any]) -> None:
    """Restore what `get_state` returned; CUDA's only where there is CUDA."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy(), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([t.cpu() for t in state["cuda"]])


@contextmanager
def fork(seed: int, *more: int) -> Iterator[None]:
    """Run the body with every generator seeded by (seed, *more); the state outside is as it was, afterwards."""
    state = get_state()
    seed_all(seed, *more)
    try:
        yield
    finally:
        set_state(state)
