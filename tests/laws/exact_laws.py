"""Laws of models whose log_prob is exact: it is that of a distribution, and `sample` draws from that distribution."""

import torch
from torch import Tensor

from gentool.models.base import GenerativeModel, HasLikelihood
from gentool.space import DataSpace
from gentool.training.rng import fork

STATES = 1024  # the most that are enumerated
DRAWS = 3000
CELLS = 160  # of the plane, a dimension
CHUNK = 1 << 15


def is_exact(model: GenerativeModel) -> bool:
    """Whether log_prob claims the exact value; it may depend on the space, so it is asked of the instance."""
    return isinstance(model, HasLikelihood) and model.likelihood == "exact"


def states(space: DataSpace) -> Tensor:
    """All examples of a small space of integer levels, (levels ** dims, *space.shape)."""
    assert space.levels is not None and space.levels**space.dims <= STATES
    digits = torch.arange(space.levels**space.dims)[:, None] // space.levels ** torch.arange(space.dims)
    return (digits % space.levels).reshape(-1, *space.shape).to(space.dtype)


def labels_of(model: GenerativeModel) -> list[int | None]:
    """What a model may be asked for: nothing, and each class where it is conditional."""
    return [None, *range(model.space.classes)] if model.conditional else [None]


def _labels(y: int | None, n: int) -> Tensor | None:
    return None if y is None else torch.full((n,), y)


def _log_prob(model: GenerativeModel, x: Tensor, y: int | None) -> Tensor:
    assert isinstance(model, HasLikelihood)
    with torch.no_grad():
        return torch.cat([model.log_prob(part, _labels(y, len(part))).double() for part in x.split(CHUNK)])


def _sample(model: GenerativeModel, y: int | None, n: int = DRAWS) -> Tensor:
    with fork(11), torch.no_grad():
        return model.sample(n, _labels(y, n)).flatten(1).double()


def sums_to_one(model: GenerativeModel, y: int | None = None) -> None:
    """sum_x p(x) = 1 over every example there can be."""
    total = _log_prob(model, states(model.space), y).exp().sum().item()
    assert abs(total - 1) < 1e-4, f"the probabilities of all {len(states(model.space))} states sum to {total:.6f}"


def samples_have_the_states_moments(model: GenerativeModel, y: int | None = None) -> None:
    """First and second moments of samples are those of the probabilities."""
    x = states(model.space)
    flat = x.flatten(1).double()
    p = _log_prob(model, x, y).exp()
    drawn = _sample(model, y)
    spread = (p @ flat.square() - (p @ flat).square()).clamp(min=1 / DRAWS).sqrt()  # a pixel that is all but certain
    gap = (drawn.mean(0) - p @ flat).abs()
    assert (gap <= 5 * spread / DRAWS**0.5).all(), f"a mean of samples is {float((gap / spread).max()):.3f} s.d. off"
    second = (flat * p[:, None]).T @ flat
    fourth = (flat.square() * p[:, None]).T @ flat.square()
    error = (fourth - second.square()).clamp(min=1 / DRAWS).sqrt() / DRAWS**0.5
    assert ((drawn.T @ drawn / DRAWS - second).abs() <= 5 * error).all(), "pairs of dimensions vary otherwise"


def _grid(low: Tensor, high: Tensor, cells: int = CELLS) -> tuple[Tensor, float]:
    """Middles of the cells of a box of the plane, (cells², 2), and the area of one."""
    line = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    points = low + (high - low) * torch.cartesian_prod(line, line)
    return points.float(), float((high - low).prod()) / cells**2


def integrates_to_one(model: GenerativeModel, y: int | None = None) -> None:
    """The integral over a box about 99 % of samples is the share of samples there; far around it is no more than 1.

    So tails too heavy for any grid are no obstacle, and a density that lacks a Jacobian still fails.
    """
    drawn = _sample(model, y)
    low, high = drawn.quantile(0.003, 0), drawn.quantile(0.997, 0)
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    inside = drawn[((drawn >= low) & (drawn <= high)).all(1)]
    points, cell = _grid(low, high)
    p = _log_prob(model, points, y).exp() * cell
    share = len(inside) / len(drawn)
    error = 5 * (share * (1 - share) / len(drawn)) ** 0.5
    assert abs(p.sum().item() - share) <= error + 0.01, f"{p.sum().item():.4f} in a box with {share:.4f} of samples"
    wide, area = _grid(low - (high - low), high + (high - low))
    total = _log_prob(model, wide, y).exp().sum().item() * area
    assert total <= 1.02, f"the density integrates to {total:.4f}"
    _moments_agree(points.double(), p / p.sum(), inside)


def _moments_agree(points: Tensor, p: Tensor, drawn: Tensor) -> None:
    mean = p @ points
    centred = points - mean
    covariance = (centred * p[:, None]).T @ centred
    spread = covariance.diag().sqrt()
    root = len(drawn) ** 0.5
    off = ((drawn.mean(0) - mean).abs() / spread).max().item()
    assert off <= 5 / root + 0.02, f"the samples' mean is {off:.3f} s.d. from the density's"
    fourth = (centred.square() * p[:, None]).T @ centred.square()
    error = (fourth - covariance.square()).clamp(min=0).sqrt() / root
    gap = (drawn.T.cov() - covariance).abs()
    assert (gap <= 5 * error + 0.03 * spread.outer(spread)).all(), "samples do not have the density's covariance"
