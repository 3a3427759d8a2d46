"""Laws of models with a likelihood, a bound of it, or labels."""

import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.models.base import GenerativeModel, HasLikelihood
from gentool.models.vae import VAE, Posterior
from gentool.probability.priors import StandardNormal
from gentool.training.rng import fork
from tests.laws.laws import same

# At 256 levels the posterior after training is too narrow for a grid of this size or for a few draws to find.
CONVERGE = ("points", "binary", "grey")


def quadrature(model: VAE, x: Tensor, y: Tensor | None, reach: float = 5.5, points: int = 61) -> Tensor:
    """log p(x) of a VAE with a 2-D latent: the log of sum_ij p(z_ij) p(x | z_ij) h²."""
    axis = torch.linspace(-reach, reach, points)
    z = torch.cartesian_prod(axis, axis)
    values = []
    with torch.no_grad():
        log_prior = log_prior_of(model, z) + 2 * (axis[1] - axis[0]).log()
        for i in range(len(x)):
            label = None if y is None else y[i : i + 1].expand(len(z))
            outputs = model.decoder(z, label) + model.start
            values.append((model.observation.log_prob(x[i], outputs) + log_prior).logsumexp(0))
    return torch.stack(values)


def log_prior_of(model: VAE, z: Tensor) -> Tensor:
    """log p(z), by torch's own densities."""
    normal = torch.distributions.Normal
    if isinstance(model.prior, StandardNormal):
        return normal(0.0, 1.0).log_prob(z).sum(1)
    parts = torch.distributions.Independent(normal(model.prior.means, model.prior.log_sigmas.exp()), 1)
    weights = torch.distributions.Categorical(logits=model.prior.logits)
    log_p: Tensor = torch.distributions.MixtureSameFamily(weights, parts).log_prob(z)
    return log_p


def averaged_log_prob(model: HasLikelihood, batch: Batch, draws: int, repeats: int) -> tuple[Tensor, Tensor]:
    """Mean and standard error of log_prob over repeats of each example."""
    x = batch.x.repeat_interleave(repeats, 0)
    y = None if batch.y is None else batch.y.repeat_interleave(repeats, 0)
    values = model.log_prob(x, y, draws=draws).double().unflatten(0, (-1, repeats))
    return values.mean(1), values.std(1) / repeats**0.5


def bound_lies_below_and_rises(model: VAE, batch: Batch, enough: int = 400) -> None:
    """E log_prob(draws=1) <= E log_prob(draws=8) <= log p(x), and many draws reach it."""
    y = batch.y if model.conditional else None
    exact = quadrature(model, batch.x, y).double()
    with fork(0):
        one, e1 = averaged_log_prob(model, batch, 1, 200)
        eight, e8 = averaged_log_prob(model, batch, 8, 60)
        many, em = averaged_log_prob(model, batch, enough, 4)
    assert (eight <= exact + 4 * e8 + 1e-3).all(), "the bound of 8 draws lies above log p"
    assert (one <= eight + 4 * (e1**2 + e8**2).sqrt() + 1e-3).all(), "the bound falls with draws"
    gap, error = (exact - one).mean(), (e1.square().sum() + e8.square().sum()).sqrt() / len(e1)
    assert gap < 0.05 + 5 * error or (exact - eight).mean() < 0.7 * gap, "the bound does not rise with draws"
    assert ((many - exact).abs() <= 5 * em + 0.03).all(), "many draws do not reach log p(x)"


def elbo_terms_hold(model: VAE, batch: Batch) -> None:
    """The report's elbo = reconstruction - kl = mean log_prob(draws=1) = mean elbo; kl_per_dim sums to kl, is >= 0."""
    repeated = Batch(*(t.repeat_interleave(200, 0) for t in batch))
    with fork(0), torch.no_grad():
        report = model.report(lambda: iter([repeated]))
        value = model.log_prob(repeated.x, repeated.y, draws=1)
        other = model.elbo(repeated.x, repeated.y)
    torch.testing.assert_close(report["elbo"], report["reconstruction"] - report["kl"])
    if isinstance(model.prior, StandardNormal):
        torch.testing.assert_close(report["kl_per_dim"].sum(), report["kl"])
        assert (report["kl_per_dim"] >= 0).all()
    noise = [v.unflatten(0, (-1, 200)).var(1) for v in (value, other)]
    error = (sum(noise) / 200).mean().div(len(batch.x)).sqrt().item()
    for found in (value, other):
        assert abs(found.mean().item() - report["elbo"].item()) <= 6 * error + 1e-3, "the ELBO is not E log w"
    if model.space.levels is not None:
        bits = -report["elbo"] / (model.space.dims * torch.tensor(2.0).log())
        torch.testing.assert_close(report["bits_per_dim"], bits)


def gradient_is_unbiased(model: VAE, batch: Batch, draws: int = 4000) -> None:
    """The reparameterised gradient of E_q log p(x | z) has the score function's mean.

    (Not always less variance: log p(x | z) of several modes has steep slopes, and was seen to reverse it.)
    """
    y = batch.y[:1].expand(draws) if model.conditional and batch.y is not None else None
    x = batch.x[:1].expand(draws, *batch.x.shape[1:])
    mu = torch.full((draws, 2), 0.3, requires_grad=True)
    log_var = torch.full((draws, 2), -0.7, requires_grad=True)
    with fork(0):
        z = model._draw(Posterior(mu, log_var), 1)
    f = model._reconstruction(x, z, y)[0]
    ours = torch.cat(torch.autograd.grad(f.sum(), (mu, log_var)), 1).double()
    q = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    score = torch.autograd.grad(q.log_prob(z[0].detach()).sum(), (mu, log_var))
    theirs = (torch.cat(score, 1) * (f - f.mean()).detach()[:, None]).double()
    error = ((ours.var(0) + theirs.var(0)) / draws).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() <= 4.5 * error + 1e-6).all(), "the gradient is biased"


def equals_a_gaussian(model: VAE, exact: torch.distributions.MultivariateNormal, draws: int) -> None:
    """A linear-Gaussian VAE whose encoder is its posterior: every draw weighs p(x), so the bound is log p(x)."""
    torch.manual_seed(0)
    x = exact.sample((20,))
    torch.testing.assert_close(model.log_prob(x, draws=draws), exact.log_prob(x), atol=1e-4, rtol=1e-4)


def labels_matter(model: VAE, batch: Batch) -> None:
    """Another label gives another mean, sample and likelihood."""
    z = torch.zeros(4, model.latent_dim)
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert not torch.allclose(model.decode(z, zeros), model.decode(z, ones)), "decode ignores the label"
    assert not torch.allclose(model.encode(batch.x[:4], zeros), model.encode(batch.x[:4], ones)), "encode ignores it"
    with fork(0):
        a = model.log_prob(batch.x[:4], zeros, draws=4)
    with fork(0):
        b = model.log_prob(batch.x[:4], ones, draws=4)
    assert not torch.allclose(a, b), "log_prob ignores the label"


def unlabelled_log_prob_is_the_mixture(model: VAE, batch: Batch) -> None:
    """log p(x) = log sum_y p(y) p(x | y), where each p(x | y) is known: quadrature stands in for the draws."""
    x = batch.x
    model.__dict__["_bound"] = lambda x, y, draws: quadrature(model, x, y, points=31)
    parts = [model._bound(x, torch.full((len(x),), c), 1) for c in range(model.space.classes)]
    exact = (torch.stack(parts, 1) + model.space.frequencies.log()).logsumexp(1)
    torch.testing.assert_close(model.log_prob(x, draws=1), exact, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(model.log_prob(x, torch.zeros_like(batch.y), draws=1), parts[0], atol=1e-4, rtol=1e-5)


def labels_are_drawn_by_frequency(model: GenerativeModel, n: int = 4000) -> None:
    """draw_labels follows the training frequencies, and sample(n) draws as sample(n, those labels) does."""
    with fork(0):
        y = model.draw_labels(n)
        x = model.sample(n, y)
    share = torch.bincount(y, minlength=model.space.classes) / n
    assert ((share - model.space.frequencies).abs() < 4.5 * (0.25 / n) ** 0.5).all(), "labels follow another law"
    with fork(0):
        same(x, model.sample(n), "sample(n) draws its labels otherwise")
