"""Learning-rate schedules: the factor on the base rate as a pure function of progress.

A schedule has no state: the factor at step s of S is `schedule(s / S)` (times the warm-up), so resuming needs the
step alone, and a run whose length is given in minutes fits itself to the clock.
"""

from collections.abc import Callable, Sequence
from math import cos, pi
from typing import Annotated

from pydantic import Field

Schedule = Callable[[float], float]
"""Maps progress in [0, 1] to a factor on the learning rate."""

Share = Annotated[float, Field(ge=0, le=1)]


def _ramp(progress: float, warm_up: float) -> float:
    """Rise linearly from 0 to 1 over the first `warm_up` of the run."""
    return min(1.0, progress / warm_up) if warm_up > 0 else 1.0


def constant(progress: float, *, warm_up: Share = 0.0) -> float:
    """Return 1 after the warm-up.

    Args:
        progress: fraction of the run that is done, 0 to 1.
        warm_up: fraction of the run over which the rate rises linearly from 0, 0 to 1.

    Returns:
        The factor on the base rate.

    >>> constant(0.5, warm_up=0.0), constant(0.05, warm_up=0.1)
    (1.0, 0.5)
    """
    return _ramp(progress, warm_up)


def cosine(progress: float, *, warm_up: Share = 0.0, final: Share = 0.0) -> float:
    """Fall from 1 to `final` along half a cosine: final + (1 - final) (1 + cos(pi p)) / 2.

    Args:
        progress: fraction of the run that is done, 0 to 1.
        warm_up: fraction of the run over which the rate rises linearly from 0, 0 to 1.
        final: factor at the end of the run, 0 to 1.

    Returns:
        The factor on the base rate.

    >>> cosine(0.0, warm_up=0.0, final=0.1), round(cosine(1.0, warm_up=0.0, final=0.1), 12)
    (1.0, 0.1)
    """
    return _ramp(progress, warm_up) * (final + (1 - final) * (1 + cos(pi * progress)) / 2)


def one_cycle(progress: float, *, rise: Share = 0.3, start: Share = 0.04, final: Share = 0.0) -> float:
    """Rise from `start` to 1 over the first `rise` of the run, then fall to `final`, both along half a cosine.

    Reference: Super-Convergence, Leslie Smith and Nicholay Topin, 2018, https://arxiv.org/abs/1708.07120

    Args:
        progress: fraction of the run that is done, 0 to 1.
        rise: fraction of the run over which the rate rises, 0 to 1.
        start: factor at the start, 0 to 1.
        final: factor at the end of the run, 0 to 1.

    Returns:
        The factor on the base rate.

    >>> one_cycle(0.0, rise=0.3, start=0.04, final=0.0), one_cycle(0.3, rise=0.3, start=0.04, final=0.0)
    (0.04, 1.0)
    """
    if progress < rise:
        return start + (1 - start) * (1 - cos(pi * progress / rise)) / 2
    return final + (1 - final) * (1 + cos(pi * (progress - rise) / max(1 - rise, 1e-12))) / 2


def linear(progress: float, *, warm_up: Share = 0.0, final: Share = 0.0) -> float:
    """Fall from 1 to `final` along a line.

    Args:
        progress: fraction of the run that is done, 0 to 1.
        warm_up: fraction of the run over which the rate rises linearly from 0, 0 to 1.
        final: factor at the end of the run, 0 to 1.

    Returns:
        The factor on the base rate.

    >>> linear(0.5, warm_up=0.0, final=0.0)
    0.5
    """
    return _ramp(progress, warm_up) * (1 - (1 - final) * progress)


def step(progress: float, *, warm_up: Share = 0.0, factor: Share = 0.1, at: Sequence[Share] = (0.5, 0.75)) -> float:
    """Multiply by `factor` at each of the given shares of the run.

    Args:
        progress: fraction of the run that is done, 0 to 1.
        warm_up: fraction of the run over which the rate rises linearly from 0, 0 to 1.
        factor: what the rate is multiplied by at each step down.
        at: fractions of the run at which it steps down.

    Returns:
        The factor on the base rate.

    >>> step(0.6, warm_up=0.0, factor=0.1, at=[0.5, 0.75])
    0.1
    """
    return _ramp(progress, warm_up) * factor ** sum(progress >= share for share in at)
