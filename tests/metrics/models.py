"""Models whose likelihood is known."""

import torch

from gentool.models.base import GenerativeModel


class Normal(GenerativeModel):
    """x ~ N(0, I) exactly; keeps the number of examples it scored."""

    likelihood = "exact"

    def __init__(self, space):
        super().__init__(space, {})
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.scored = 0

    def train_step(self, batches, optimizers):
        return {}

    def sample(self, n, y=None):
        return self.space.quantise(torch.randn(n, *self.space.shape).abs())

    def log_prob(self, x, y=None, *, draws=1):
        self.scored += len(x)
        return torch.distributions.Normal(0.0, 1.0).log_prob(x.float()).flatten(1).sum(1)


class Noisy(Normal):
    """log p(x) by importance sampling of a toy: value + log mean of exp(noise - 1/2)."""

    likelihood = "importance"

    def log_prob(self, x, y=None, *, draws=1):
        eps = torch.randn(draws, len(x)) - 0.5
        return super().log_prob(x) + eps.logsumexp(0) - torch.tensor(float(draws)).log()


class Uniform(Normal):
    """Every one of the levels is as likely."""

    def log_prob(self, x, y=None, *, draws=1):
        return torch.full((len(x),), -self.space.dims * torch.tensor(float(self.space.levels)).log().item())


class Broken(Normal):
    """One example has no likelihood."""

    def log_prob(self, x, y=None, *, draws=1):
        return super().log_prob(x).where(x[:, 0] != 7, float("nan"))
