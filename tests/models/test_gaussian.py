"""One Gaussian: maximum likelihood by its closed form, and three divergences that see the same data differently."""

from dataclasses import replace
from math import log, pi

import pytest
import torch

from gentool.batch import Batch
from gentool.data import toy
from gentool.errors import UsageError
from gentool.models.gaussian import Gaussian
from gentool.probability import toys
from gentool.training.optimizers import Optimizers
from gentool.training.rng import fork
from tests.laws.subjects import SPACES, examples
from tests.spaces import space

# configs/dataset/mixture.yaml
MIXTURE = toys.mixture(weights=[0.6, 0.3, 0.1], means=[[-1.0, -0.5], [1.5, 1.0], [1.0, -1.5]], sigmas=[0.5, 0.35, 0.2])
X = MIXTURE.sample(3000, torch.Generator().manual_seed(0))
POINTS = replace(space((2,)), loc=X.mean(0), scale=X.std(0, correction=0), examples=len(X))


def built(where=POINTS, divergence="ml", covariance="isotropic", density=MIXTURE, floor=1e-6, **changes):
    options = {"bandwidth": 0.5, "sampler": {"temperature": 1.0}, **changes}
    return Gaussian(where, divergence=divergence, covariance=covariance, floor=floor, density=density, **options)


def whole(x):
    return Batch(x, None, torch.arange(len(x)))


def fitted(divergence, steps=120, lr=0.05):
    model = built(divergence=divergence)
    with fork(0):
        model.begin(lambda: iter([whole(X)]))
        factory = lambda ps: torch.optim.Adam(ps, lr)  # noqa: E731
        optimizers = Optimizers(model, factory, lambda t: 1.0 - t, steps=steps, accumulate=1, clip_norm=None)
        for _ in range(steps):
            model.train_step(iter([whole(X)]), optimizers)
            optimizers.step += 1
    found = model.report(lambda: iter([]))
    return torch.stack([found["mean_1"], found["mean_2"], found["variance_1"].sqrt()])


def test_heights_give_the_lectures_numbers():
    data = toy.heights()
    batch = data.train.batch(torch.arange(10), torch.Generator())
    model = built(data.space, covariance="full", density=None)
    model.begin(lambda: iter([batch]))
    found = model.report(lambda: iter([batch]))
    assert round(found["mean"].item(), 3) == 1.683 and round(found["variance"].item(), 6) == 0.002921
    metrics = model.train_step(iter([batch]), Optimizers(model, {}, lambda t: 1, steps=1, accumulate=1, clip_norm=None))
    assert metrics["model/mean"] == found["mean"] and metrics["model/variance"] == found["variance"]
    entropy = 0.5 * log(2 * pi * 0.002921) + 0.5
    assert model.objective(batch).mean().item() == pytest.approx(entropy, abs=1e-5) == metrics["model/loss"].item()


@pytest.mark.parametrize("covariance", ["full", "diagonal", "isotropic"])
def test_maximum_likelihood_is_the_sample_mean_and_covariance(covariance):
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) @ torch.tensor(
        [[2.0, 0.5, 0.0], [0.0, 0.3, 0.1], [0.0, 0.0, 1.0]]
    ) + torch.tensor([5.0, 0.0, -1.0])
    where = replace(space((3,)), loc=x.mean(0), scale=x.std(0))
    model = built(where, covariance=covariance, density=None, floor=0.0)
    model.begin(lambda: (whole(part) for part in x.split(200)))
    exact = x.T.cov(correction=0)
    if covariance != "full":
        exact = exact.diag().diag() if covariance == "diagonal" else torch.eye(3) * exact.diag().mean()
    normal = torch.distributions.MultivariateNormal(x.mean(0), exact)
    torch.testing.assert_close(model.log_prob(x[:50]), normal.log_prob(x[:50]), atol=1e-3, rtol=1e-4)
    with fork(1):
        drawn = model.sample(20000)
    torch.testing.assert_close(drawn.T.cov(), exact, atol=0.12, rtol=0)


def test_variances_are_reported_of_each_dimension():
    model = built(covariance="full")
    model.begin(lambda: iter([whole(X)]))
    found = model.report(lambda: iter([whole(X)]))
    variances = torch.stack([found["variance_1"], found["variance_2"]])
    torch.testing.assert_close(variances, X.var(0, correction=0), rtol=1e-3, atol=0)


def test_temperature_scales_the_deviations_about_the_mean():
    model = built(covariance="full")
    model.begin(lambda: iter([whole(X)]))
    draws = []
    for temperature in (0.0, 0.5, 1.0):
        model.sampler["temperature"] = temperature
        with fork(0):
            draws.append(model.sample(5))
    torch.testing.assert_close(draws[0], X.mean(0).expand(5, 2))
    torch.testing.assert_close(draws[1] - draws[0], (draws[2] - draws[0]) / 2)


def test_one_gaussian_near_three_is_three_different_ones():
    """Theis et al., figure 1: KL covers the mixture, JS picks its largest mode, MMD lies between.

    The optima of the divergences to the mixture itself, by quadrature and by closed forms: see the gallery.
    """
    kl, mmd, js = fitted("kl"), fitted("mmd"), fitted("js")
    torch.testing.assert_close(kl, torch.tensor([-0.05, -0.15, 1.097]), atol=0.04, rtol=0)  # the mixture's moments
    torch.testing.assert_close(js, torch.tensor([-0.993, -0.501, 0.507]), atol=0.04, rtol=0)  # almost its first part
    torch.testing.assert_close(mmd, torch.tensor([-0.914, -0.503, 0.821]), atol=0.04, rtol=0)
    torch.testing.assert_close(fitted("ml", steps=1), kl, atol=0.01, rtol=0)
    means, sigmas = MIXTURE.means.float(), MIXTURE.sigmas.float()
    covered = [((means - fit[:2]).norm(dim=1) < 2.2 * fit[2]).tolist() for fit in (kl, mmd, js)]
    assert covered[0] == [True, True, True], "KL covers every mode"
    assert covered[2] == [True, False, False], "JS leaves the others alone"
    assert sigmas[0] - 0.02 < js[2] < 0.55 < mmd[2] < 0.95 < kl[2]


@pytest.mark.parametrize("covariance", ["full", "isotropic"])
def test_mmd_in_closed_form_is_that_of_draws(covariance):
    mmd_is_that_of_draws(covariance, lambda model: None)


def _forgets_the_second_draw(model):
    density = model._log_density
    model._log_density = lambda x, more=0.0, twice=False: density(x, more=more)


def _forgets_the_kernel(model):
    density = model._log_density
    model._log_density = lambda x, more=0.0, twice=False: density(x, more=1e-12, twice=twice)


@pytest.mark.parametrize("fault", [_forgets_the_second_draw, _forgets_the_kernel])
def test_a_wrong_mmd_is_caught(fault):
    with pytest.raises(AssertionError):
        mmd_is_that_of_draws("full", fault)


def mmd_is_that_of_draws(covariance, plant):
    model = built(divergence="mmd", covariance=covariance, bandwidth=0.7)
    with torch.no_grad():
        model.mean += torch.tensor([0.3, -0.2])
        model.log_sigma -= 0.4
        if covariance == "full":
            model.lower[1, 0] = 0.5
    plant(model)
    unit = POINTS.scale.square().mean().sqrt()
    with fork(0):
        a, b = (model.sample(4000) / unit for _ in range(2))

    def kernel(u, v):
        return torch.exp(-torch.cdist(u, v).square() / (2 * 0.7**2)).mean(1)

    by_draws = kernel(a, b).mean() - 2 * kernel(X[:20] / unit, a)
    torch.testing.assert_close(model.objective(whole(X[:20])).detach(), by_draws, atol=0.015, rtol=0)


def test_js_of_a_gaussian_to_itself_is_zero_and_to_a_far_one_log_2():
    density = toys.mixture(weights=[1.0], means=[[0.3, 0.1]], sigmas=[1.2])
    where = replace(space((2,)), loc=torch.tensor([0.3, 0.1]), scale=torch.full((2,), 1.2))
    model = built(where, divergence="js", density=density)
    x = density.sample(500, torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.objective(whole(x)).detach(), torch.zeros(500), atol=1e-5, rtol=0)
    with torch.no_grad():
        model.mean += 30
    torch.testing.assert_close(model.objective(whole(x)).detach(), torch.full((500,), log(2)), atol=1e-4, rtol=0)


def test_levels_are_a_bound_as_the_mixture_of_one():
    from gentool.models.mixture import Mixture

    batch = examples("grey", 200)
    one = built(SPACES["grey"], covariance="full", density=None)
    other = Mixture(
        SPACES["grey"],
        components=1,
        covariance="full",
        floor=1e-6,
        conditional=False,
        sampler={"mean": False, "temperature": 1.0},
    )
    for model in (one, other):
        with fork(0):
            model.begin(lambda: iter([batch]))
    torch.testing.assert_close(one.log_prob(batch.x), other.log_prob(batch.x), atol=1e-2, rtol=1e-4)
    assert one.likelihood == "bound"


@pytest.mark.parametrize(
    ("where", "divergence", "message"),
    [
        (POINTS, "js", "not known"),
        (SPACES["grey"], "mmd", "for points"),
        (SPACES["grey"], "js", "for points"),
        (SPACES["words"], "ml", "symbols"),
    ],
)
def test_what_does_not_fit_is_refused(where, divergence, message):
    with pytest.raises(UsageError, match=message):
        built(where, divergence=divergence, density=None)
