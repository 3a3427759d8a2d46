"""On a known expectation, the gradient a VAE takes is right, and quieter than the score function's."""

import pytest
import torch

from gentool.models.vae import VAE, Posterior


def test_gradient_of_a_known_expectation_is_unbiased_and_of_lower_variance():
    """E z² = mu² + sigma² for z ~ N(mu, sigma²): d/dmu = 2 mu, and d/dlog_var = sigma²."""
    torch.manual_seed(0)
    n, mean, log_variance = 200_000, 1.5, -0.4
    mu = torch.full((n, 1), mean, dtype=torch.float64, requires_grad=True)
    log_var = torch.full((n, 1), log_variance, dtype=torch.float64, requires_grad=True)
    z = VAE._draw(None, Posterior(mu, log_var), 1)[0]  # type: ignore[arg-type]  the draw needs nothing of the model
    ours = torch.cat(torch.autograd.grad(z.square().sum(), (mu, log_var)), 1)
    density = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    score = torch.cat(torch.autograd.grad(density.log_prob(z.detach()).sum(), (mu, log_var)), 1)
    theirs = score * z.detach().square()
    truth = torch.tensor([2 * mean, torch.tensor(log_variance).exp().item()], dtype=torch.float64)
    for estimate in (ours, theirs):
        error = estimate.std(0) / n**0.5
        assert ((estimate.mean(0) - truth).abs() <= 4.5 * error).all()
    assert (ours.var(0) < 0.5 * theirs.var(0)).all()
    assert ours.var(0)[0].item() == pytest.approx(4 * torch.tensor(log_variance).exp().item(), rel=0.03)
