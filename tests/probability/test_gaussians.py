import torch
from torch import distributions

from gentool.probability import gaussians


def test_log_density_and_kl_equal_torch_distributions():
    torch.manual_seed(0)
    mu, log_var, x = torch.randn(3, 50).unbind()
    q = distributions.Normal(mu, (0.5 * log_var).exp())
    torch.testing.assert_close(gaussians.log_density(x, mu, 0.5 * log_var), q.log_prob(x))
    prior = distributions.Normal(torch.zeros(50), torch.ones(50))
    torch.testing.assert_close(gaussians.kl(mu, log_var), distributions.kl_divergence(q, prior))


def test_kl_is_not_negative_next_to_the_prior():
    small = torch.linspace(-1e-3, 1e-3, 2001)
    assert gaussians.kl(torch.zeros(2001), small).min() >= 0
    # (exp(v) - v - 1) / 2 is v^2 / 4 there; taken naively in fp32 it is noise of 1e-7.
    torch.testing.assert_close(gaussians.kl(torch.zeros(2001), small), small**2 / 4, atol=1e-9, rtol=2e-2)


def test_log_cdf_and_its_gradient_hold_in_both_tails():
    x = torch.tensor([-1e4, -300.0, -40.0, -5.0, 0.0, 2.0, 30.0], requires_grad=True)
    value = gaussians.log_cdf(x)
    torch.testing.assert_close(value[3:6], distributions.Normal(0.0, 1.0).cdf(x.detach().double())[3:6].log().float())
    assert torch.isfinite(value).all()
    value.sum().backward()
    # phi / Phi: -x - 1/x far below 0, sqrt(2 / pi) at 0, nothing far above.
    torch.testing.assert_close(x.grad[:3], -x.detach()[:3] - 1 / x.detach()[:3], rtol=1e-4, atol=0)
    assert abs(x.grad[4].item() - (2 / torch.pi) ** 0.5) < 1e-6
    assert x.grad[6].item() == 0
    x = torch.randn(20, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gaussians.log_cdf, [x])
