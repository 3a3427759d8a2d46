"""What a run will cost, measured by a few steps of it that leave nothing behind."""

import time
from itertools import islice

import torch

from gentool.training.loop import Loop

WARM_UP, TIMED = 3, 10


def estimate(loop: Loop) -> str:
    """Do a few training steps in memory and say what the whole run would take.

    Args:
        loop: a run that has not begun.

    Returns:
        Lines with the parameter count, the memory and the time.
    """
    model, plan = loop.model, loop.plan
    model.begin(loop.train)
    parameters = sum(p.numel() for p in model.parameters())
    seconds = []
    for _ in range(WARM_UP + TIMED):
        started = time.perf_counter()
        metrics = model.train_step(loop.batches, loop.optimizers)
        next(iter(metrics.values())).item()
        seconds.append(time.perf_counter() - started)
    step = sorted(seconds[WARM_UP:])[TIMED // 2]
    state = sum(
        t.nbytes
        for o in loop.optimizers.state().values()
        for s in o["state"].values()
        for t in s.values()
        if torch.is_tensor(t)
    )
    weights = sum(p.nbytes for p in model.parameters())
    data = sum(t.nbytes for batch in islice(loop.train(), 1) for t in batch if t is not None)
    average = sum(t.nbytes for t in loop.average.shadow) if loop.average else 0
    total = plan.minutes * 60 if plan.minutes else step * plan.steps
    return "\n".join(
        [
            f"parameters  {parameters:,}",
            f"memory      about {(2 * weights + state + average + data) / 2**20:,.1f} MiB for weights, gradients, "
            f"optimiser state{', average' if average else ''} and a batch; activations come on top",
            f"time        about {_duration(total)}: {plan.steps if not plan.minutes else 'as many as fit'} steps of "
            f"{1000 * step:.1f} ms, {plan.examples_per_step / step:,.0f} examples/s, validation and grids apart",
        ]
    )


def _duration(seconds: float) -> str:
    """Say a duration.

    >>> _duration(75), _duration(8)
    ('1 min 15 s', '8 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
