"""Diffusion on Gaussian data with the best denoiser: samples, bound, flow, codes and completion have closed forms."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gentool.batch import Batch
from gentool.errors import Unavailable, UsageError
from gentool.models import diffusion
from gentool.models.diffusion import Diffusion
from gentool.probability import diffusion_likelihood
from gentool.training.rng import fork
from gentool.training.runs import override_sampler
from tests.laws.subjects import build, examples
from tests.models.gaussian_denoiser import SCALE, STD, best_diffusion, density

FINE = ("model.sampler.steps=60", "model.sampler.ode_steps=40", "model.noise.sigma_min=0.05")
X = 1 + 2 * STD * torch.tensor([[0.0, 0.0], [1.0, -1.0], [2.0, 0.5], [-0.3, 1.7]])


def samples_have_the_moments(model: Diffusion, n: int = 4000) -> None:
    with fork(0):
        x = model.sample(n)
    error = 5 / n**0.5
    assert (((x.mean(0) - 1) / (2 * STD)).abs() < error).all()
    assert ((x.std(0) / (2 * STD) - 1).abs() < error + 0.01).all()


def flow_is_the_density(model: Diffusion) -> None:
    model.sampler.likelihood = "ode"
    torch.testing.assert_close(model.log_prob(X), density(model.noise.sigma_min).log_prob(X), atol=2e-3, rtol=0)


def bound_is_below_by_a_known_gap(model: Diffusion, draws: int = 3000) -> None:
    """E log p(x | z) - KL(N(x, low²) || N(0, s² + low²)): the reverse of a Gaussian's diffusion is itself Gaussian.

    But for the prior: it starts from N(0, high² + scale²), a little off.
    """
    model.sampler.likelihood = "bound"
    low = model.noise.sigma_min
    v = model.space.to_model(X)
    read = -torch.distributions.Normal(0.0, low).entropy() * 2 - model.space.scale.log().sum()
    exact = read - kl_divergence(Normal(v, low), Normal(0.0, (STD**2 + low**2).sqrt())).sum(1)
    with fork(0), torch.no_grad():
        values = model.log_prob(X.repeat(draws, 1), draws=1).double().unflatten(0, (draws, -1))
    error = values.std(0) / draws**0.5
    assert (error < 0.07).all()
    assert ((values.mean(0) - exact).abs() < 4.5 * error + 1e-3).all(), (values.mean(0) - exact, error)
    truth = density(2**0.5 * low).log_prob(X)
    assert (values.mean(0) < truth + 4 * error).all(), "the bound lies above log p"


KINDS = [f"model.parameterisation={kind}" for kind in ("eps", "x0", "v")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "law", [samples_have_the_moments, flow_is_the_density, bound_is_below_by_a_known_gap], ids=lambda law: law.__name__
)
def test_is_what_is_known(kind, law):
    law(best_diffusion(kind, *FINE))


def decodes_what_it_encodes(model: Diffusion) -> None:
    u = model.encode(X)
    torch.testing.assert_close(model.decode(u), X, atol=1e-3, rtol=0)
    low = (STD**2 + model.noise.sigma_min**2).sqrt()
    torch.testing.assert_close(u, (X - 1) / 2 / low, atol=2e-3, rtol=1e-3)


def test_codes_are_those_of_a_gaussian():
    decodes_what_it_encodes(best_diffusion(*FINE))


def test_error_of_codes_falls_with_the_fourth_order():
    gaps = []
    for steps in (10, 20):
        model = best_diffusion(*FINE, f"model.sampler.ode_steps={steps}", "model.noise.sigma_max=20").double()
        field = model._flow(lambda z, r: STD**2 / (STD**2 + r[:, None] ** 2) * z)
        u = field.up(X.double())
        gaps.append(float((u - X.double() / (STD**2 + 0.05**2).sqrt() * _shrink(model)).abs().max()))
    assert 10 < gaps[0] / gaps[1] < 40, gaps


def _shrink(model: Diffusion) -> torch.Tensor:
    """How N(0, s² + high²) differs from unit noise."""
    high = model.noise.sigma_max
    return ((STD**2 + high**2) / (SCALE**2 + high**2)).sqrt()


def _wrong(name, make):
    return lambda patch: patch.setattr(diffusion_likelihood, name, make(getattr(diffusion_likelihood, name)))


def _std_for_variance(cost):
    return lambda denoise, x, low, high, draws: cost(denoise, x, low, high, draws=draws) ** 0.5


def _wide_prior(cost):
    return lambda x, high, scale: cost(x, high, scale) + 0.2


class _WrongDrift(diffusion_likelihood.Flow):
    def field(self, u, log_r):
        return -super().field(u, log_r)


class _SquaredNoise(diffusion_likelihood.Flow):
    def field(self, u, log_r):
        return super().field(u, 2 * log_r)


@pytest.mark.parametrize("fault", [_wrong("diffusion_cost", _std_for_variance), _wrong("prior_cost", _wide_prior)])
def test_bound_law_catches(fault, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        bound_is_below_by_a_known_gap(best_diffusion(*FINE))


@pytest.mark.parametrize("fault", [_WrongDrift, _SquaredNoise])
@pytest.mark.parametrize("law", [flow_is_the_density, decodes_what_it_encodes])
def test_flow_laws_catch(fault, law, monkeypatch):
    monkeypatch.setattr(diffusion, "Flow", fault)
    with pytest.raises(AssertionError):
        law(best_diffusion(*FINE))


def test_score_is_that_of_the_noisy_density():
    for name, field in best_diffusion().fields().items():
        noisy = density(float(name.rsplit(" ", 1)[1]))
        x = X.clone().requires_grad_()
        [exact] = torch.autograd.grad(noisy.log_prob(x).sum(), x)
        torch.testing.assert_close(field(X), exact, atol=1e-4, rtol=1e-4)


def test_training_finds_the_best_denoiser():
    """The loss of a Gaussian's denoiser is lowest where its weight is 1."""
    model = best_diffusion()
    batch = Batch(density().sample((4000,)), None, torch.arange(4000))
    losses = []
    for weight in (0.9, 1.0, 1.1):
        model.denoiser.weight.data.fill_(weight)
        with fork(0), torch.no_grad():
            losses.append(float(model.objective(batch).mean()))
    assert losses[1] < min(losses[0], losses[2])


def test_begin_measures_the_data():
    model = build("ddpm", "grey", "model.sigma_data=null")
    batches = [examples("grey", 64, seed) for seed in (1, 2)]
    model.begin(lambda: iter(batches))
    x = torch.cat([model.space.to_model(batch.x) for batch in batches])
    torch.testing.assert_close(model.scale, x.square().mean().sqrt())


def test_clipping_is_of_levels_only():
    for data, clipped in (("grey", True), ("points", False)):
        model = build("ddpm", data)
        denoise = model._path(3, None)[0]
        assert bool(denoise(9 * torch.ones(3, *model.space.shape), 0.01).max() <= 1) is clipped


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["model.sampler.eta=0.5"], "eta=0.5: ancestral has no such option; ddim has it"),
        (["model.sampler.method=ddim", "model.sampler.churn=3"], "churn=3: ddim has no such option; heun has it"),
        (["model.sampler=ddim", "model.sampler.inner_steps=3"], "inner_steps=3: ddim .* annealed_langevin has it"),
        (["model.sampler.guidance=2"], "guidance=2"),
        (["model.sampler.guidance=2", "model.conditional=true", "model.label_dropout=0"], "guidance=2"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(typed, why):
    with pytest.raises(UsageError, match=why):
        build("ddpm", "points", *typed)


def test_readers_are_refused_the_same():
    model = build("ddpm", "points")
    model.sampler.guidance = 3.0
    with pytest.raises(UsageError, match="guidance"):
        model.sample(2)


def test_every_method_draws():
    model = build("ddpm", "points")
    drawn = []
    for method in ("ancestral", "ddim", "heun", "dpmpp_2m", "dpmpp_2m_sde", "annealed_langevin"):
        override_sampler(model, {"method": method, "steps": 4, "rho": None})
        with fork(0):
            drawn.append(model.sample(3))
        counts = {"heun": 7, "annealed_langevin": 21}
        assert model.remarks() == {"network evaluations": counts.get(method, 4)}
        assert torch.isfinite(drawn[-1]).all()
    assert len({tuple(x.flatten().tolist()) for x in drawn}) == 6


LABELLED = ("model.conditional=true", "model.label_dropout=0.4")


def labels_are_hidden_one_by_one(model: Diffusion, n: int = 1000) -> None:
    """A share of 0.4 of the labels is hidden, each by a draw of its own; the others arrive."""
    y = torch.arange(n) % 2
    shares = []
    with fork(0):
        for _ in range(5):
            hidden = model._hidden(y) == model.space.classes
            assert torch.equal(model._hidden(y).where(hidden, y), y) or hidden.any()
            shares.append(float(hidden.float().mean()))
    assert all(0.3 < share < 0.5 for share in shares), shares


def test_labels_are_hidden_one_by_one():
    labels_are_hidden_one_by_one(build("ddpm", "points", *LABELLED))


def test_validation_sees_the_labels_as_they_are():
    model, seen = build("ddpm", "points", *LABELLED), []
    denoise = model.denoiser.forward
    model.denoiser.forward = lambda z, r, y: (seen.append(y), denoise(z, r, y))[1]
    batch = examples("points", 64)
    with fork(0):
        for mode in (True, False):
            model.train(mode).objective(batch)
    assert (seen[0] == model.space.classes).any() and torch.equal(seen[1], batch.y)


def test_hiding_a_whole_batch_is_caught(monkeypatch):
    def whole(self, y):
        return torch.full_like(y, self.space.classes) if torch.rand(()) < self.label_dropout else y

    monkeypatch.setattr(Diffusion, "_hidden", whole)
    with pytest.raises(AssertionError):
        labels_are_hidden_one_by_one(build("ddpm", "points", *LABELLED))


def labelled() -> Diffusion:
    model = build("ddpm", "points", *LABELLED)
    for parameter in model.parameters():  # a network that is not all zeros at its end
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
    return model.eval()


def test_guidance_goes_from_no_label_through_the_label():
    model, y = labelled(), torch.tensor([0, 1, 1])
    z, r = torch.randn(3, 2), torch.full((3,), 0.7)
    found = {}
    for w in (0.0, 1.0, 3.0):
        model.sampler.guidance = w
        found[w] = model._guided(y)(z, r)
    free, given = model._denoise(z, r, torch.full((3,), 2)), model._denoise(z, r, y)
    assert not torch.allclose(free, given)
    for w, x0 in found.items():
        torch.testing.assert_close(x0, free + w * (given - free))


def test_unlabelled_log_prob_is_the_mixture():
    model, x = labelled(), torch.randn(3, 2)
    model.sampler.likelihood = "ode"
    parts = torch.stack([model.log_prob(x, torch.full((3,), c)) for c in range(2)], 1)
    torch.testing.assert_close(model.log_prob(x), (parts + model.space.frequencies.log()).logsumexp(1))
    likeliest = (parts + model.space.frequencies.log()).argmax(1)
    assert torch.equal(model.encode(x), model.encode(x, likeliest))


def test_score_of_labels_needs_hidden_ones():
    assert labelled().fields()["score at sigma 0.3"](torch.randn(4, 2)).shape == (4, 2)
    with pytest.raises(Unavailable):
        build("ddpm", "points", "model.conditional=true", "model.label_dropout=0").fields()


@pytest.mark.parametrize("data", ["points", "grey"])
def test_completion_keeps_what_is_known(data):
    model, x = build("ddpm", data), examples(data, 6).x
    known = torch.rand(x.shape) < 0.5
    with fork(0):
        out = model.complete(x, known)
    assert torch.equal(out[known], x[known]) and out.dtype == x.dtype
    assert not torch.equal(out[~known], x[~known])
    model.space.check(out)


@pytest.mark.parametrize("method", ["ancestral", "heun", "annealed_langevin"])
def test_chains_end_in_the_samples(method):
    model = build("ddpm", "grey", f"model.sampler.method={method}")
    with fork(0):
        x = model.sample(3)
    with fork(0):
        moments = model.chain(3, frames=4)
    assert moments.shape == (4, 3, *model.space.shape) and torch.equal(moments[-1], x)
    assert not torch.equal(moments[0], moments[-1])
