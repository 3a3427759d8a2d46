"""Mixtures of Gaussians by EM: against scikit-learn, against closed forms, and against EM's own promise."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from threading import Barrier

import pytest
import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.data.images import digits
from gentool.errors import UsageError
from gentool.metrics.classes import LabelAccuracy
from gentool.models.mixture import Mixture
from gentool.probability import mixtures, toys
from gentool.training.optimizers import Optimizers
from gentool.training.rng import fork
from tests.laws import exact_laws
from tests.laws.subjects import SPACES, examples
from tests.metrics.evaluations import evaluation
from tests.spaces import space

DENSITY = toys.mixture(weights=[0.5, 0.3, 0.2], means=[[-1.0, -0.5], [1.5, 1.0], [1.0, -1.5]], sigmas=[0.5, 0.35, 0.2])
N = 800
DIGITS = digits(binarize="none", validation=0.1, test=0.2, seed=0)
X = DENSITY.sample(N, torch.Generator().manual_seed(0))


def built(where, components=3, covariance="full", floor=1e-6, conditional=False):
    with fork(0):
        model = Mixture(
            where,
            components=components,
            covariance=covariance,
            floor=floor,
            conditional=conditional,
            sampler={"mean": False, "temperature": 1.0},
        )
    model.space = replace(where, examples=N)
    return model


def steps(model, batch: Batch, n: int) -> list[float]:
    """Take n steps of EM; return the loss each set out from."""
    optimizers = Optimizers(model, {}, lambda t: 1.0, steps=n, accumulate=1, clip_norm=None)
    losses = [model.train_step(iter([batch]), optimizers)["model/loss"].item() for _ in range(n)]
    optimizers.check()
    return losses


def whole(x: Tensor, y: Tensor | None = None) -> Batch:
    return Batch(x, y, torch.arange(len(x)))


def started(model, batch: Batch):
    with fork(3):
        model.begin(lambda: iter([batch]))
    return model


def equals_scikit_learn(covariance: str) -> None:
    """Fifteen steps from the same start end in the same mixture."""
    from sklearn.mixture import GaussianMixture

    model = built(space((2,)), covariance=covariance).double()
    with torch.no_grad():
        model.means[0] = X[:3].double()
    theirs = GaussianMixture(
        3,
        covariance_type="full" if covariance == "full" else "diag",
        reg_covar=1e-6,
        max_iter=15,
        tol=0,
        weights_init=torch.full((3,), 1 / 3).numpy(),
        means_init=X[:3].numpy(),
        precisions_init=(torch.eye(2).repeat(3, 1, 1) if covariance == "full" else torch.ones(3, 2)).numpy(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has not converged
        theirs.fit(X.double().numpy())
    steps(model, whole(X.double()), 15)
    torch.testing.assert_close(model.weights[0], torch.from_numpy(theirs.weights_), atol=1e-6, rtol=0)
    torch.testing.assert_close(model.means[0], torch.from_numpy(theirs.means_), atol=1e-6, rtol=0)
    ours = model.factors[0] @ model.factors[0].mT if covariance == "full" else model.factors[0].square()
    torch.testing.assert_close(ours, torch.from_numpy(theirs.covariances_), atol=1e-6, rtol=0)
    log_prob = model.log_prob(X.double())
    torch.testing.assert_close(log_prob, torch.from_numpy(theirs.score_samples(X.double().numpy())), atol=1e-5, rtol=0)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_equals_scikit_learn_from_the_same_start(covariance):
    equals_scikit_learn(covariance)


def unweighted(old):
    return lambda x, mixture, noise: old(x, mixture, noise) - mixture.weights.log()


def unbiased(old):
    def wrong(x, r, **options):
        counts, means, covariances = old(x, r, **options)
        return counts, means, covariances * (len(x) / (len(x) - 1))

    return wrong


def keeps_the_weights(old):
    return lambda mixture, *moments: old(mixture, *moments)._replace(weights=mixture.weights)


@pytest.mark.parametrize(
    ("name", "fault"), [("log_joint", unweighted), ("m_step", unbiased), ("blend", keeps_the_weights)]
)
def test_another_em_than_scikit_learns_is_caught(name, fault, monkeypatch):
    monkeypatch.setattr(mixtures, name, fault(getattr(mixtures, name)))
    with pytest.raises(AssertionError):
        equals_scikit_learn("full")


def em_never_lowers_the_likelihood(model, batch: Batch, n: int = 12) -> None:
    losses = steps(model, batch, n)
    assert all(b <= a + 1e-6 * abs(a) for a, b in pairwise(losses)), f"it rose: {losses}"
    assert losses[-1] < losses[0] - 0.1, "EM stands still"


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_em_never_lowers_the_likelihood_of_points(covariance):
    em_never_lowers_the_likelihood(built(space((2,)), covariance=covariance).double(), whole(X))


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("conditional", [False, True])
def test_em_never_lowers_the_bound_of_levels(covariance, conditional):
    batch = examples("grey", 400)
    model = built(SPACES["grey"], covariance=covariance, conditional=conditional, floor=0.0).double()
    model.space = replace(model.space, examples=400)
    em_never_lowers_the_likelihood(model, batch)


def _wrong_covariance(x, r, **options):
    counts, means, covariances = mixtures.m_step(x, r, **options)
    return counts, means, covariances * 2


def _hard(x, r, **options):
    return mixtures.m_step(x, torch.nn.functional.one_hot(r.argmin(1), r.shape[1]).to(r), **options)


@pytest.mark.parametrize("fault", [_wrong_covariance, _hard])
def test_law_of_em_catches_a_wrong_step(fault):
    model = built(space((2,))).double()
    model._moments = lambda x, r, optimizers=None: fault(x, r, diagonal=False, ridge=1e-6)
    with pytest.raises(AssertionError):
        em_never_lowers_the_likelihood(model, whole(X))


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_one_component_is_the_sample_mean_and_covariance(covariance):
    where = space((2,), loc=0.7, scale=1.3)
    model = started(built(where, components=1, covariance=covariance, floor=0.0), whole(X))
    before = model.means.clone()
    steps(model, whole(X), 2)
    torch.testing.assert_close(model.means, before)  # the start is the end
    exact = X.double().T.cov(correction=0)
    exact = exact if covariance == "full" else exact.diag().diag()
    normal = torch.distributions.MultivariateNormal(X.double().mean(0), exact)
    torch.testing.assert_close(model.log_prob(X[:50]).double(), normal.log_prob(X[:50].double()), atol=1e-4, rtol=0)


def test_more_components_come_nearer_to_the_entropy():
    test = DENSITY.sample(4000, torch.Generator().manual_seed(1))
    truth = DENSITY.log_prob(test.double())
    gaps = []
    for k in (1, 2, 3):
        model = started(built(space((2,)), components=k), whole(X))
        steps(model, whole(X), 30)
        gaps.append((truth - model.log_prob(test)).mean().item())
    assert gaps[0] > gaps[1] + 0.1 > gaps[2] + 0.2
    assert gaps[2] < 0.03  # 17 free numbers fitted to 800 points cost 17 / 1600 in the mean


def test_responsibilities_say_which_component_made_x():
    model = started(built(space((2,))), whole(X))
    steps(model, whole(X), 30)
    x, part = DENSITY.draw(500, torch.Generator().manual_seed(2))
    r = model.encode(x)
    torch.testing.assert_close(r.sum(1), torch.ones(500))
    named = torch.stack([part[r.argmax(1) == k].mode().values for k in range(3)])  # the part each component stands for
    assert (named[r.argmax(1)] == part).float().mean() > 0.97
    by_hand = mixtures.log_joint(x, mixtures.Mixture(model.weights[0], model.means[0], model.factors[0]), 0.0)
    torch.testing.assert_close(r, (by_hand - by_hand.logsumexp(1, keepdim=True)).exp())


def test_the_bound_of_levels_lies_below_and_near_the_mass_of_bins():
    """With diagonal covariances p(x) is a sum of products of bins' masses."""
    where = SPACES["grey"]
    batch = examples("grey", 300)
    model = started(built(where, covariance="diagonal"), batch)
    x, scale = batch.x.flatten(1).double(), where.scale.flatten().double()
    mu = model.means[0].double() * scale + where.loc.flatten()
    normal = torch.distributions.Normal(mu, model.factors[0].double() * scale)
    mass = normal.cdf(x[:, None] + 0.5) - normal.cdf(x[:, None] - 0.5)
    exact = (mass.log().sum(2) + model.weights[0].double().log()).logsumexp(1)
    gap = exact - model.log_prob(batch.x)
    assert (gap > -1e-4).all() and gap.mean() < 0.02 * where.dims, gap.mean()


def test_the_bound_of_levels_sums_to_less_than_one():
    where = SPACES["states"]
    model = started(built(where), examples("states", 200))
    total = model.log_prob(exact_laws.states(where)).double().exp().sum()
    assert 0.01 < total < 1


def test_parts_of_the_split_move_the_moments_by_their_share():
    model = started(built(space((2,))), whole(X))
    for _ in range(30):
        for part in X.split(200):
            steps(model, whole(part), 1)
    test = DENSITY.sample(4000, torch.Generator().manual_seed(1))
    assert (DENSITY.log_prob(test) - model.log_prob(test)).mean() < 0.06


@pytest.mark.parametrize("diagonal", [False, True])
def test_parts_blend_to_the_moments_of_the_whole(diagonal):
    """The parts' means lie apart, which is a part of the whole's spread."""
    x = X.double()[X[:, 0].argsort()]

    def moments(part):
        return mixtures.m_step(part, torch.ones(len(part), 1).double(), diagonal=diagonal, ridge=0.0)

    def mixture(means, covariances):
        factors = covariances.sqrt() if diagonal else mixtures.cholesky(covariances)
        return mixtures.Mixture(torch.ones(1).double(), means, factors)

    part, rest = x[:200], x[200:]
    found = mixtures.blend(mixture(*moments(part)[1:]), *moments(rest), torch.tensor(len(rest) / len(x)).double())
    expected = mixture(*moments(x)[1:])
    torch.testing.assert_close(found.means, expected.means)
    torch.testing.assert_close(found.factors, expected.factors)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_have_the_covariance_of_their_component(temperature):
    factor = torch.tensor([[1.0, 0.0], [1.0, 0.5]])
    mixture = mixtures.Mixture(torch.ones(1), torch.zeros(1, 2), factor[None])
    with fork(0):
        x = mixtures.draw(torch.zeros(20_000, dtype=torch.int64), mixture, temperature)
    torch.testing.assert_close(x.T.cov(), temperature**2 * factor @ factor.T, atol=0.05, rtol=0)


def test_two_halves_on_two_processes_are_one_step_on_the_whole():
    one, *two = (started(built(space((2,))).double(), whole(X)) for _ in range(3))
    steps(one, whole(X), 1)
    shared, barrier = [None, None], Barrier(2)

    class Half:
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def sum_over_processes(self, t: Tensor) -> Tensor:
            shared[self.rank] = t
            barrier.wait()
            total = shared[0] + shared[1]
            barrier.wait()
            return total

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: two[i].train_step(iter([whole(X[i::2])]), Half(i)), range(2)))
    for half in two:
        for a, b in zip(half.parameters(), one.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_conditional_mixtures_are_one_a_class():
    x, y = DENSITY.draw(N, torch.Generator().manual_seed(0))
    where = space((2,), classes=3)
    model = started(built(where, components=1, conditional=True), whole(x, y))
    steps(model, whole(x, y), 1)
    for c in range(3):
        own = x[y == c]
        torch.testing.assert_close(model.means[c, 0], own.mean(0), atol=1e-5, rtol=0)
        with fork(0):
            drawn = model.sample(2000, torch.full((2000,), c))
        torch.testing.assert_close(drawn.mean(0), own.mean(0), atol=0.06, rtol=0)
    torch.testing.assert_close(model.reconstruct(x[:20], y[:20]), model.means[y[:20], 0])
    one = torch.stack([model.log_prob(x, torch.full_like(y, c)) for c in range(3)], 1)
    torch.testing.assert_close(model.log_prob(x), (one + where.frequencies.log()).logsumexp(1))
    assert ((one + where.frequencies.log()).argmax(1) == y).float().mean() > 0.97  # Bayes


def test_components_in_use_are_counted_class_by_class():
    model = built(space((2,), classes=2), conditional=True)
    with torch.no_grad():
        model.weights.copy_(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    assert model.report(lambda: iter([]))["components"].item() == pytest.approx(1.5)


def test_components_are_drawn_by_their_share_of_all_classes():
    where = replace(space((2,), classes=2), frequencies=torch.tensor([0.75, 0.25]))
    model = built(where, components=2, conditional=True)
    with torch.no_grad():
        model.weights.copy_(torch.tensor([[1.0, 0.0], [0.2, 0.8]]))
    model.space = where
    with fork(0):
        z = model.sample_latent(4000)
    torch.testing.assert_close(z.mean(0), torch.tensor([0.8, 0.2]), atol=0.03, rtol=0)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(UsageError, match="more than the 2 examples"):
        started(built(space((2,))), whole(X[:2]))
    with pytest.raises(UsageError, match="of class 1"):
        started(built(space((2,), classes=2), conditional=True), whole(X[:8], torch.tensor([0] * 7 + [1])))
    with pytest.raises(UsageError, match="symbols"):
        built(space((5,), levels=3, vocabulary=("a", "b", "c")))
    with pytest.raises(UsageError, match="classes"):
        built(space((2,)), conditional=True)


def k_means_finds_clusters_that_lie_apart() -> None:
    x, part = toys.ring(modes=8, radius=1.0, sigma=0.01).draw(800, torch.Generator().manual_seed(0))
    for seed in range(5):
        with fork(seed):
            r = mixtures.k_means(x, 8)
        assert len({tuple(pair) for pair in torch.stack([r.argmax(1), part], 1).tolist()}) == 8


def starts_as_near_as_scikit_learns() -> None:
    """Before any round, greedy k-means++ leaves as much spread as theirs: 7.0 of a square; drawn plainly it is 7.9."""
    from sklearn.cluster import kmeans_plusplus

    x = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)).double()
    spreads = torch.zeros(2)
    for seed in range(30):
        with fork(seed):
            ours = mixtures.k_means(x, 8)
        centres = torch.from_numpy(kmeans_plusplus(x.numpy(), 8, random_state=seed)[0])
        theirs = torch.nn.functional.one_hot(torch.cdist(x, centres).argmin(1), 8).double()
        spreads += torch.stack([(x - r @ (r.T @ x / r.sum(0)[:, None])).square().sum() for r in (ours, theirs)])
    assert abs(spreads[0] / spreads[1] - 1) < 0.06


def test_k_means_finds_clusters_that_lie_apart(monkeypatch):
    k_means_finds_clusters_that_lie_apart()
    monkeypatch.setattr(mixtures, "LLOYD", 0)
    starts_as_near_as_scikit_learns()


@pytest.mark.parametrize(
    ("law", "fault"),
    [
        (k_means_finds_clusters_that_lie_apart, lambda sums, drawn: torch.randint(len(sums), drawn.shape)),  # anywhere
        (starts_as_near_as_scikit_learns, lambda sums, drawn: torch.bucketize(drawn[:1], sums)),  # the first one drawn
    ],
)
def test_a_start_drawn_otherwise_is_caught(law, fault, monkeypatch):
    monkeypatch.setattr(mixtures, "LLOYD", 0)
    monkeypatch.setattr(torch, "searchsorted", fault)
    with pytest.raises(AssertionError):
        law()


def test_examples_all_alike_do_not_break_it():
    x = torch.zeros(10, 2)
    model = started(built(space((2,)), components=2), whole(x))
    steps(model, whole(x), 3)
    assert torch.isfinite(model.log_prob(x)).all()


def test_a_digit_is_likeliest_under_the_gaussian_of_its_class():
    batch = DIGITS.train.batch(torch.arange(len(DIGITS.train)), torch.Generator())
    model = started(built(DIGITS.space, components=1, conditional=True, floor=1e-3), batch)
    held_out = DIGITS.test.batch(torch.arange(len(DIGITS.test)), torch.Generator())
    own = model.log_prob(held_out.x, held_out.y)
    other = model.log_prob(held_out.x, (held_out.y + 1) % 10)
    assert (own > other).float().mean() > 0.95


def test_labels_shuffled_before_training_are_drawn_at_chance():
    """The planted fault of the judge of labels: what it says of a real model that learnt nothing of them."""
    train, test = DIGITS.train, DIGITS.test

    def judged(y):
        batch = Batch(train.x, y, torch.arange(len(y)))
        model = started(built(DIGITS.space, components=1, conditional=True, floor=1e-3), batch)
        ours = evaluation(DIGITS.space, None, test.x, labels=test.y, train=train.x, train_labels=train.y, model=model)
        return LabelAccuracy(num_samples=300, k=5, num_examples=2000)(ours).value

    shuffled = train.y[torch.randperm(len(train.y), generator=torch.Generator().manual_seed(0))]
    assert judged(train.y) > 0.95 and judged(shuffled) < 0.25
