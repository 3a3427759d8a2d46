"""Laws of models with an exact likelihood: it is that of a distribution, and `sample` draws from it."""

from math import log

import torch
from torch import Tensor

from gentool.laws.subject import Subject, Untried, distort, gap, hold
from gentool.models.base import GenerativeModel, HasLikelihood
from gentool.space import DataSpace
from gentool.training.rng import fork

STATES = 4096  # the most that are summed over
CENTRES, DRAWS, NEIGHBOUR = 2000, 8000, 10
CHUNK = 4096
FEATURES = 12  # dimensions whose products are compared


def is_exact(model: GenerativeModel) -> bool:
    """Whether log_prob claims the value itself, up to an ODE solver's tolerance."""
    return isinstance(model, HasLikelihood) and model.likelihood in ("exact", "ode")


def is_discrete(model: GenerativeModel) -> bool:
    """Whether the model is exact on integer levels."""
    return is_exact(model) and model.space.levels is not None


def is_real(model: GenerativeModel) -> bool:
    """Whether the model is exact on reals."""
    return is_exact(model) and model.space.levels is None


def is_labelled(model: GenerativeModel) -> bool:
    """Whether the model is exact and conditional."""
    return is_exact(model) and model.conditional


def states(space: DataSpace) -> Tensor:
    """Return every example of a small space of integer levels, (levels ** dims, *space.shape).

    Args:
        space: facts of the data.

    Returns:
        All of them, in data space.

    Raises:
        Untried: where they are too many.
    """
    assert space.levels is not None
    if space.dims * log(space.levels) > log(STATES) + 1e-9:
        raise Untried(f"{space.levels}^{space.dims} examples are too many to sum over")
    digits = torch.arange(space.levels**space.dims)[:, None] // space.levels ** torch.arange(space.dims)
    return (digits % space.levels).reshape(-1, *space.shape).to(space.dtype).to(space.loc.device)


def log_prob(model: GenerativeModel, x: Tensor) -> Tensor:
    """Return log p(x), (n,) float64 nats, in chunks."""
    assert isinstance(model, HasLikelihood)
    with fork(13), torch.no_grad():
        return torch.cat([model.log_prob(part).double() for part in torch.split(x, CHUNK)])


def _sample(model: GenerativeModel, n: int, seed: int) -> Tensor:
    with fork(seed), torch.no_grad():
        return model.sample(n).flatten(1).double()


def probabilities_sum_to_one(subject: Subject) -> str:
    """sum_x p(x) = 1 over every example there can be."""
    x = states(subject.model.space)
    total = float(log_prob(subject.model, x).exp().sum())
    hold(abs(total - 1) < 1e-4, f"those of all {len(x)} examples sum to {total:.6f}")
    return f"those of all {len(x)} examples sum to {total:.7f}"


def samples_follow_the_probabilities(subject: Subject) -> str:
    """Means of samples, and of products of their dimensions, are those of the probabilities."""
    _undistorted(subject.model)
    x = states(subject.model.space)
    p = log_prob(subject.model, x).exp()
    return _moments(x.flatten(1).double(), p / p.sum(), None, _sample(subject.model, DRAWS, 11))


def density_integrates_to_one(subject: Subject) -> str:
    """∫ p(x) dx = 1, by importance sampling: E_q[p(x) / q(x)], q a sum of bumps about samples and a wide Gaussian.

    A grid would need cells thinner than the thinnest arc; the bumps are as wide as the samples are apart.
    """
    ratio = _weighted(subject.model)[1]
    total, error = float(ratio.mean()), float(ratio.std()) / len(ratio) ** 0.5
    hold(abs(total - 1) <= 5 * error + 0.01, f"it integrates to {total:.4f} ± {error:.4f}")
    return f"it integrates to {total:.4f} ± {error:.4f}"


def samples_follow_the_density(subject: Subject) -> str:
    """Means of samples, and of products of their dimensions, are the density's (beyond 4 deviations cut off)."""
    _undistorted(subject.model)
    x, ratio = _weighted(subject.model)
    return _moments(x, ratio / ratio.sum(), len(ratio), _sample(subject.model, DRAWS, 12))


def labels_are_summed_over(subject: Subject) -> str:
    """p(x) = sum_y p(y) p(x | y)."""
    model, x = subject.model, subject.batch.x
    assert isinstance(model, HasLikelihood)
    with fork(13), torch.no_grad():
        mixed = model.each_label(x, lambda y: model.log_prob(x, y)).logsumexp(1)
    off, allowed = gap(log_prob(model, x), mixed), 1e-4 * (1 + float(mixed.abs().max()))
    hold(off <= allowed, f"without a label log p is {off:.4g} nats off the sum over {model.space.classes} classes")
    return f"{model.space.classes} classes, {off:.1g} nats off"


def _undistorted(model: GenerativeModel) -> None:
    if knobs := distort(model):
        raise Untried(f"{knobs} draws from another law than p(x)")


def _weighted(model: GenerativeModel) -> tuple[Tensor, Tensor]:
    """Return draws from q, (n, dims), and p / q at them, (n,)."""
    if model.space.dims > 2:
        raise Untried(f"an integral over {model.space.dims} dimensions is out of reach")
    centres = _sample(model, CENTRES, 10)
    spread = centres.std(0).clamp(min=1e-6)
    width = torch.cdist(centres / spread, centres / spread).kthvalue(NEIGHBOUR + 1, 1).values.clamp(min=1e-3)
    with fork(14):
        which = torch.randint(CENTRES, (DRAWS,), device=centres.device)
        noise = torch.randn_like(centres[which])
        narrow = centres[which] + width[which, None] * spread * noise
        wide = centres.mean(0) + 3 * spread * noise
        x = torch.where(torch.rand(DRAWS, 1, device=centres.device) < 0.9, narrow, wide)
    x = x.float().double()  # as the model sees it
    log_q = torch.cat([_log_bumps(part, centres, width, spread) for part in torch.split(x, 1000)])
    far = _log_bumps(x, centres.mean(0, keepdim=True), torch.full_like(width[:1], 3.0), spread)
    log_q = torch.logaddexp(log_q + log(0.9), far + log(0.1))
    return x, (log_prob(model, x.float().reshape(-1, *model.space.shape)) - log_q).exp()


def _log_bumps(x: Tensor, centres: Tensor, width: Tensor, spread: Tensor) -> Tensor:
    """Return log (1/k) sum_i N(x; centre_i, (width_i spread)²), (n,)."""
    square = torch.cdist(x / spread, centres / spread).square()
    log_volume = x.shape[1] * (width.log() + 0.5 * log(2 * torch.pi)) + spread.log().sum()
    return (-0.5 * square / width.square() - log_volume).logsumexp(1) - log(len(centres))


def _moments(x: Tensor, p: Tensor, draws: int | None, drawn: Tensor) -> str:
    """Hold means of features of samples to those under probabilities p at x; draws: None where p is all there is."""
    mean = p @ x
    scale = (p @ (x - mean).square()).sqrt().clamp(min=1e-6)

    def features(t: Tensor) -> Tensor:
        z = ((t - mean) / scale).clamp(-4, 4)
        some = z[:, :FEATURES]
        return torch.cat([z, (some[:, :, None] * some[:, None]).flatten(1)], 1)

    expected, found = features(x), features(drawn)
    target = p @ expected
    variance = found.var(0) / len(drawn)
    if draws is not None:
        variance = variance + p.square() @ (expected - target).square()
    else:
        variance = torch.maximum(variance, (p @ (expected - target).square()) / len(drawn))
    off = (found.mean(0) - target).abs()
    worst = float((off / (variance.sqrt() + 0.004)).max())
    hold(worst <= 5, f"a moment of {len(drawn)} samples is {float(off.max()):.3f} deviations off, {worst:.1f} s.e.")
    return f"{found.shape[1]} moments of {len(drawn)} samples, at most {worst:.1f} s.e. off"
