"""Likelihoods of a location and a scale: Gaussian, and the bins of a logistic distribution."""

from abc import abstractmethod
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from gentool.probability import bernoulli
from gentool.probability.gaussians import log_cdf, log_density
from gentool.probability.observation import Likelihood
from gentool.space import DataSpace

Sigma = PositiveFloat | Literal["learned", "per_pixel", "decoder"]

LOG_SIGMA_FLOOR = -7.0
"""Learned scales stay above e^-7 of model space, a quarter of one of 256 levels: no density can run off to infinity."""

LOG_SIGMA_SPEED = 10.0
"""Log sigma over its parameter: Adam moves a parameter by about its rate a step, and a lone sigma has far to go."""


class _LocationScale(Likelihood):
    """A location from the network and a scale, both in model space; integer levels get the mass of their bin.

    Level k's bin reaches half a level to each side; the first and last reach to infinity. So the levels' probabilities
    sum to 1, and bits a dimension compare with those of any other model of the same levels.

    Args:
        space: the data's facts.
        sigma: the scale in model space (reals: in standard deviations of the data; levels: where they span [-1, 1]):
            a fixed number, one learned number, one a dimension, or an output of the network.
    """

    def __init__(self, space: DataSpace, sigma: Sigma) -> None:
        super().__init__(space)
        self.outputs_per_dim = 2 if sigma == "decoder" else 1
        self.raw_log_sigma: nn.Parameter | None = None
        if sigma in ("learned", "per_pixel"):
            shape = (1,) * len(space.shape) if sigma == "learned" else space.shape
            self.raw_log_sigma = nn.Parameter(torch.zeros(shape))
        elif sigma != "decoder":
            fixed = torch.as_tensor(float(sigma)).log()
            self.register_buffer("fixed_log_sigma", fixed, persistent=False)

    def start(self) -> Tensor:
        """Return the mean of each dimension as the location."""
        zeros = super().start()
        zeros[0] = self.space.to_model(self.space.loc)
        return zeros

    @abstractmethod
    def log_bin(self, centre: Tensor, width: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Return the log mass of the standard distribution in a bin.

        Args:
            centre: the bin's middle.
            width: its width, > 0; broadcasts to the rest.
            first: where it reaches down to -infinity instead.
            last: where it reaches up to infinity instead.

        Returns:
            Nats a dimension.
        """

    @abstractmethod
    def cdf(self, x: Tensor) -> Tensor:
        """Return the standard distribution function."""

    @abstractmethod
    def standard(self, like: Tensor) -> Tensor:
        """Draw from the standard distribution, in the shape of `like`."""

    def location_and_log_sigma(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the location and the log scale in model space, each broadcasting to (…, *space.shape)."""
        if self.outputs_per_dim == 2:
            raw = self._output(outputs, 1)
        elif self.raw_log_sigma is not None:
            raw = self.raw_log_sigma * LOG_SIGMA_SPEED
        else:
            fixed: Tensor = self.fixed_log_sigma  # type: ignore[assignment]
            return self._output(outputs), fixed
        return self._output(outputs), LOG_SIGMA_FLOOR + functional.softplus(raw - LOG_SIGMA_FLOOR)

    def log_prob(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Return sum_d of the log mass of x's bin."""
        assert self.space.levels is not None
        mu, log_sigma = self.location_and_log_sigma(outputs)
        precision = (-log_sigma).exp()
        centre, width = (self.space.to_model(x) - mu) * precision, precision * (2 / (self.space.levels - 1))
        return self._sum(self.log_bin(centre, width, x == 0, x == self.space.levels - 1))

    def sample(self, outputs: Tensor) -> Tensor:
        """Draw in model space, then round to the levels: the mass of a bin is what rounds to it."""
        mu, log_sigma = self.location_and_log_sigma(outputs)
        return self.space.quantise(self.space.to_data(mu + log_sigma.exp() * self.standard(mu)))

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the mean; of levels 0..L-1 it is sum_{k=1}^{L-1} p(x >= k)."""
        mu, log_sigma = self.location_and_log_sigma(outputs)
        if self.space.levels is None:
            return self.space.to_data(mu)
        precision = (-log_sigma).exp()
        total = torch.zeros_like(mu)
        for k in range(1, self.space.levels):
            edge = (2 * k - 1) / (self.space.levels - 1) - 1
            total += self.cdf((mu - edge) * precision)  # symmetric, so this is p(x >= k)
        return total


class Gaussian(_LocationScale):
    """Reals, or integer levels by the mass of their bins: x ~ N(output, sigma²)."""

    def __init__(self, space: DataSpace, sigma: Sigma) -> None:
        super().__init__(space, sigma)
        self.log_volume = float(space.scale.double().log().sum())  # of a unit cube of model space, in data space

    def log_prob(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Return sum_d log N(x; mu, sigma²) in data space, or of the log mass of x's bin."""
        if self.space.levels is not None:
            return super().log_prob(x, outputs)
        mu, log_sigma = self.location_and_log_sigma(outputs)
        return self._sum(log_density(self.space.to_model(x), mu, log_sigma)) - self.log_volume

    def log_bin(self, centre: Tensor, width: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Return log(Phi(high) - Phi(low)), taken in the lower tail, where neither term rounds to 1."""
        # An edge bin is a whole tail: its own side of `centre` decides, not the sign of `centre`.
        edge = first | last
        lower = torch.where(edge, torch.where(first, centre, -centre), -centre.abs())
        log_near, log_far = log_cdf(lower + width / 2), log_cdf(lower - width / 2)
        # -1 stands where nothing is taken away, so that no gradient there is 0 times infinity; a bin too narrow for
        # fp32 keeps a small mass instead of none.
        gap = (log_far - log_near).masked_fill(edge, -1.0).clamp(max=-1e-7)
        return log_near + _log1m_exp(gap).masked_fill(edge, 0.0)

    def cdf(self, x: Tensor) -> Tensor:
        """Return Phi(x)."""
        below: Tensor = torch.special.ndtr(x)
        return below

    def standard(self, like: Tensor) -> Tensor:
        """Draw N(0, 1)."""
        return torch.randn_like(like)


class DiscretisedLogistic(_LocationScale):
    """Integer levels as the bins of a logistic distribution, whose tails forgive outliers.

    Reference: Improving Variational Inference with Inverse Autoregressive Flow, Kingma, Salimans, Jozefowicz, Chen,
    Sutskever and Welling, 2016, https://arxiv.org/abs/1606.04934
    """

    def log_bin(self, centre: Tensor, width: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Return log(sigmoid(high) - sigmoid(low))."""
        return log_logistic_bin(centre, width, first, last)

    def cdf(self, x: Tensor) -> Tensor:
        """Return sigmoid(x)."""
        return x.sigmoid()

    def standard(self, like: Tensor) -> Tensor:
        """Draw logit(u) for u uniform, as the difference of two exponentials' logarithms."""
        return torch.empty_like(like).exponential_().log() - torch.empty_like(like).exponential_().log()


def log_logistic_bin(centre: Tensor, width: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Return log(sigmoid(high) - sigmoid(low)), high and low the edges of a bin.

    It equals log sigmoid(high) + log sigmoid(-low) + log(1 - exp(-width)), which cancels nowhere: no tail needs an
    approximation. A side that reaches to infinity loses its term.

    Args:
        centre: the bin's middle.
        width: its width, > 0.
        first: where it reaches down to -infinity instead.
        last: where it reaches up to infinity instead.

    Returns:
        Nats, in the broadcast shape.
    """
    below = bernoulli.log_sigmoid(centre + width / 2).masked_fill(last, 0.0)
    above = bernoulli.log_sigmoid(width / 2 - centre).masked_fill(first, 0.0)
    return below + above + _log1m_exp(-width).masked_fill(first | last, 0.0)


def _log1m_exp(x: Tensor) -> Tensor:
    """Return log(1 - exp(x)) for x < 0, without cancellation (Machler 2012)."""
    near_zero = x > -0.6931472
    # Each branch is fed a harmless value where the other is taken, so that no gradient is 0 times infinity.
    return torch.where(
        near_zero,
        torch.log(-torch.expm1(torch.where(near_zero, x, -1.0))),
        torch.log1p(-torch.exp(torch.where(near_zero, -1.0, x))),
    )
