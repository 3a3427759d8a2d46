"""Mixtures as p(x | network outputs): of discretised logistics for integer levels, of Gaussians for reals."""

from math import log, sqrt

import torch
from torch import Tensor
from torch.nn import functional

from gentool.probability.gaussians import log_density
from gentool.probability.inverse_cdf import inverse_cdf, sharpen
from gentool.probability.location_scale import LOG_SIGMA_FLOOR, log_logistic_bin
from gentool.probability.observation import Likelihood
from gentool.space import DataSpace

SHARPEST = 2.0**-24
"""A uniform number that stands for 0, so that no quantile is infinite."""


class _Mixture(Likelihood):
    """sum_k w_k q((x - mu_k) / sigma_k), its outputs the logits of w, then mu, then log sigma, in model space.

    Args:
        space: the data's facts.
        components: K, the number of components.
    """

    def __init__(self, space: DataSpace, components: int) -> None:
        super().__init__(space)
        self.components = components
        self.outputs_per_dim = 3 * components

    def start(self) -> Tensor:
        """Return components side by side over the range of the data, which together are nearly flat."""
        k = self.components
        reach = 2.0 if self.space.levels is None else 1.0
        centres = reach * ((2 * torch.arange(k) + 1) / k - 1)
        per_dim = torch.cat([torch.zeros(k), centres, torch.full((k,), log(reach / k))])
        return per_dim.reshape(-1, *(1,) * len(self.space.shape)).expand(-1, *self.space.shape).clone()

    def parts(self, outputs: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return log weights, locations and log scales, K along `axis` each."""
        logits, mu, raw = outputs.chunk(3, axis)
        return logits.log_softmax(axis), mu, LOG_SIGMA_FLOOR + functional.softplus(raw - LOG_SIGMA_FLOOR)


class LogisticMixture(_Mixture):
    """Integer levels as the bins of a mixture of logistic distributions.

    Reference: PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications,
        Salimans, Karpathy, Chen and Kingma, 2017, https://arxiv.org/abs/1701.05517
    """

    def log_prob(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Return sum_d log sum_k w_k of the mass of x's bin."""
        return self._sum(self._log_mass(x.unsqueeze(self._axis), outputs, self._axis))

    def _log_mass(self, x: Tensor, outputs: Tensor, axis: int) -> Tensor:
        assert self.space.levels is not None
        log_w, mu, log_sigma = self.parts(outputs, axis)
        precision, last = (-log_sigma).exp(), self.space.levels - 1
        seen = torch.mul(x, 2 / last).sub(1)
        bins = log_logistic_bin((seen - mu) * precision, precision * (2 / last), x == 0, x == last)
        return (log_w + bins).logsumexp(axis)

    def log_table(self, outputs: Tensor) -> Tensor:
        """Return log p of every level, (…, levels), of outputs (…, outputs_per_dim) for one dimension."""
        assert self.space.levels is not None
        levels = torch.arange(self.space.levels, device=outputs.device, dtype=outputs.dtype)
        return self._log_mass(levels, outputs.unsqueeze(-1), -2)

    def sample(self, outputs: Tensor) -> Tensor:
        """Draw levels."""
        log_p = self.log_table(outputs.movedim(self._axis, -1))
        noise = -torch.empty_like(log_p).exponential_().log()
        return (log_p + noise).argmax(-1).to(self.space.dtype)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return sum_{k=1}^{L-1} p(x >= k)."""
        assert self.space.levels is not None
        log_w, mu, log_sigma = self.parts(outputs, self._axis)
        weights, precision = log_w.exp(), (-log_sigma).exp()
        total = torch.zeros_like(mu.select(self._axis, 0))
        for k in range(1, self.space.levels):
            edge = (2 * k - 1) / (self.space.levels - 1) - 1
            total += (weights * ((mu - edge) * precision).sigmoid()).sum(self._axis)
        return total


class GaussianMixture(_Mixture):
    """Reals by a mixture of Gaussians."""

    def __init__(self, space: DataSpace, components: int) -> None:
        super().__init__(space, components)
        self.log_volume = float(space.scale.double().log().sum())  # of a unit cube of model space, in data space

    def log_prob(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Return sum_d log sum_k w_k N(x; mu_k, sigma_k²), in data space."""
        log_w, mu, log_sigma = self.parts(outputs, self._axis)
        seen = self.space.to_model(x).unsqueeze(self._axis)
        return self._sum((log_w + log_density(seen, mu, log_sigma)).logsumexp(self._axis)) - self.log_volume

    def draw(self, outputs: Tensor, u: Tensor, temperature: float) -> Tensor:
        """Draw one dimension of x from given uniform numbers.

        Args:
            outputs: (n, outputs_per_dim).
            u: (n, 2) uniform on [0, 1): one chooses the component, one the place in it.
            temperature: T of weights^(1/T) and variances T sigma²; 1 leaves them, 0 takes the likeliest mean.

        Returns:
            (n,) in model space.
        """
        log_w, mu, log_sigma = self.parts(outputs, -1)
        k = inverse_cdf(sharpen(log_w, temperature, None, None), u[:, 0])[:, None]
        eps: Tensor = torch.special.ndtri(u[:, 1].to(mu.dtype).clamp(min=SHARPEST))
        sigma = log_sigma.gather(1, k)[:, 0].exp() * sqrt(temperature)
        return mu.gather(1, k)[:, 0] + sigma * eps

    def sample(self, outputs: Tensor) -> Tensor:
        """Draw x, each dimension by itself."""
        log_w, mu, log_sigma = self.parts(outputs.movedim(self._axis, -1), -1)
        k = (log_w - torch.empty_like(log_w).exponential_().log()).argmax(-1, keepdim=True)
        mu, sigma = mu.gather(-1, k)[..., 0], log_sigma.gather(-1, k)[..., 0].exp()
        return self.space.to_data(mu + sigma * torch.randn_like(mu))

    def mean(self, outputs: Tensor) -> Tensor:
        """Return sum_k w_k mu_k, in data space."""
        log_w, mu, _ = self.parts(outputs, self._axis)
        return self.space.to_data((log_w.exp() * mu).sum(self._axis))
