"""Flow matching under the velocity that is known: of Gaussian data; and what each option is there for."""

from functools import partial
from math import log2

import pytest
import torch
from torch import nn

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.flow_matching import FlowMatching
from gentool.nn.condition import hide_labels
from gentool.probability import straight_path
from gentool.training.rng import fork
from gentool.training.runs import override_sampler
from tests.laws.subjects import SPACES, Subject, build, endless, examples, minimizer, train

MEAN = torch.tensor([0.5, -1.0])
COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.4]])
LOC, SCALE = 1.0, 2.0  # of SPACES["points"]


class Optimal(nn.Module):
    """E[x1 - x0 | x_t] for x1 ~ N(MEAN, COVARIANCE), a linear map at each time."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(()))
        values, vectors = torch.linalg.eigh(COVARIANCE)
        self.values, self.vectors = values, vectors

    def forward(self, x, t, y=None):
        values, vectors, mean = (v.to(x.dtype) for v in (self.values, self.vectors, MEAN))
        t = t[:, None]
        slope = (t * values - (1 - t)) / ((1 - t) ** 2 + t**2 * values)
        return mean + ((x - t * mean) @ vectors * slope) @ vectors.T


def gaussian(**sampler) -> FlowMatching:
    """A model whose velocity is the optimal one; the data are N(LOC + SCALE MEAN, SCALE² COVARIANCE)."""
    model = build("flow_matching", "points")
    model.denoiser = Optimal()
    override_sampler(model, sampler if "method" in sampler else {"method": "dopri5", "tolerance": 1e-6, **sampler})
    return model.eval()


TRUTH = torch.distributions.MultivariateNormal(LOC + SCALE * MEAN, SCALE**2 * COVARIANCE)


def log_prob_error(model) -> float:
    x = TRUTH.sample((64,))
    return (model.log_prob(x) - TRUTH.log_prob(x)).abs().max().item()


def test_log_prob_is_the_gaussians():
    with fork(0):
        assert log_prob_error(gaussian()) < 1e-3


@pytest.mark.parametrize(
    "fault",
    [
        lambda m: setattr(m.space.scale, "data", m.space.scale * 1.1),
        lambda m: setattr(m, "_log_density", lambda v, y, probes: -partial(FlowMatching._log_density, m)(v, y, probes)),
        lambda m: setattr(m, "_enter", lambda x, u: (m.space.standardise(x), torch.zeros(len(x)))),
    ],
    ids=["scale", "sign", "volume"],
)
def test_a_wrong_likelihood_is_seen(fault):
    model = gaussian()
    before = model.space.scale.clone()
    fault(model)
    with fork(0):
        assert log_prob_error(model) > 0.1
    model.space.scale.data = before


def test_samples_have_the_gaussians_moments():
    with fork(0):
        x = gaussian(method="heun", steps=20).sample(20000)
    torch.testing.assert_close(x.mean(0), TRUTH.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(x.T.cov(), TRUTH.covariance_matrix, rtol=0, atol=0.06)


@pytest.mark.parametrize(("method", "order", "steps"), [("euler", 1, 20), ("heun", 2, 20), ("rk4", 4, 5)])
def test_the_error_falls_with_the_order(method, order, steps):
    z = torch.randn(16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = gaussian(tolerance=1e-10).decode(z)
    coarse, fine = ((gaussian(method=method, steps=n).decode(z) - exact).abs().max() for n in (steps, 2 * steps))
    assert log2(coarse / fine) == pytest.approx(order, abs=0.5)


def test_codes_decode_to_what_they_are_of():
    x = TRUTH.sample((32,))
    model = gaussian()
    torch.testing.assert_close(model.decode(model.encode(x)), x, rtol=1e-3, atol=1e-3)


def test_codes_of_gaussian_data_are_unit_noise():
    with fork(0):
        z = gaussian().encode(TRUTH.sample((5000,)))
    torch.testing.assert_close(z.T.cov(), torch.eye(2), rtol=0, atol=0.08)


def test_trained_density_integrates_to_one():
    model = Subject("flow_matching", "points", 20).model()
    override_sampler(model, {"method": "dopri5", "tolerance": 1e-4})
    axis = torch.linspace(-15, 15, 61)
    x = torch.cartesian_prod(axis, axis) + 1.0
    assert model.log_prob(x).exp().sum().item() * 0.25 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("label", [None, 1])
def test_trained_codes_decode(label):
    model = Subject("flow_matching", "points", 20, ("model.conditional=true",) if label else ()).model()
    override_sampler(model, {"method": "dopri5", "tolerance": 1e-6})
    batch = examples("points", 8)
    y = torch.full((8,), label) if label else None
    torch.testing.assert_close(model.decode(model.encode(batch.x, y), y), batch.x, rtol=0, atol=5e-3)


def test_unlabelled_log_prob_is_the_mixture():
    model = Subject("flow_matching", "points", 20, ("model.conditional=true",)).model()
    x = examples("points", 6).x
    parts = torch.stack([model.log_prob(x, torch.full((6,), c)) for c in range(2)])
    assert not torch.allclose(parts[0], parts[1])
    joint = parts + model.space.frequencies.log()[:, None]
    torch.testing.assert_close(model.log_prob(x), joint.logsumexp(0), rtol=1e-5, atol=1e-4)


def test_bound_of_levels_gives_them_less_mass_than_one():
    """Over all 512 binary images the exponentials of a bound of log P sum to less than 1, not to nearly nothing."""
    with fork(0):
        model = build("flow_matching", "states", "model.denoiser=mlp")
        train("flow_matching", model, endless("states"), 20, lr=1e-2)
        model.eval().sampler.steps = 4
        states = torch.cartesian_prod(*[torch.arange(2)] * 9).reshape(-1, 1, 3, 3).to(torch.uint8)
        mass = model.log_prob(states, draws=2).exp().sum().item()
    assert model.likelihood == "ode"
    assert 0.002 < mass < 1.0


def test_draws_are_averaged_in_nats():
    model, x = Subject("flow_matching", "grey").model(), examples("grey", 2).x
    model.sampler.steps = 2
    with fork(0):
        each = torch.stack([model.log_prob(x) for _ in range(3)])
    with fork(0):
        torch.testing.assert_close(model.log_prob(x, draws=3), each.mean(0))
    assert not torch.equal(each[0], each[1])


def test_labels_are_hidden_one_by_one_and_only_in_training():
    with fork(0):
        model = build("flow_matching", "points", "model.conditional=true", "model.label_dropout=0.3")
        y = torch.arange(2).repeat(2000)
        hidden = hide_labels(y, model.space.classes, model.label_dropout)
        seen: list[torch.Tensor] = []
        denoise = model.denoiser.forward
        model.denoiser.forward = lambda x, t, y: (seen.append(y), denoise(x, t, y))[1]
        for mode in (True, False):
            model.train(mode).objective(examples("points", 64))
    gone = hidden == 2
    assert torch.equal(hidden[~gone], y[~gone])
    assert gone.double().mean().item() == pytest.approx(0.3, abs=0.04)
    assert gone.view(-1, 2).double().T.corrcoef()[0, 1].abs() < 0.1, "neighbours are hidden together"
    assert (seen[0] == 2).any() and not (seen[1] == 2).any()


def test_guidance_moves_away_from_no_label():
    model = Subject("flow_matching", "points", 20, ("model.conditional=true",)).model()
    x, t, y = torch.randn(4, 2), torch.rand(4), torch.tensor([0, 1, 0, 1])
    plain, free = model.denoiser(x, t, y), model.denoiser(x, t, torch.full((4,), 2))
    assert not torch.allclose(plain, free)
    for w in (0.0, 1.0, 3.0):
        model.sampler.guidance = w
        torch.testing.assert_close(model._field(y)(x, t), free + w * (plain - free))


@pytest.mark.parametrize("options", [(), ("model.conditional=true", "model.label_dropout=0")])
def test_guidance_without_hidden_labels_is_refused(options):
    with pytest.raises(UsageError, match="label_dropout"):
        build("flow_matching", "points", *options, "model.sampler.guidance=2")


def test_chain_ends_in_the_samples():
    model = Subject("flow_matching", "grey").model()
    with fork(0):
        chain = model.chain(3, frames=5)
    with fork(0):
        assert torch.equal(chain[-1], model.sample(3))
    with fork(0):
        assert torch.equal(model.chain(3, frames=1), chain[-1:])
    assert chain.shape == (5, 3, *model.space.shape) and model.remarks() == {"network evaluations": 24}


@pytest.mark.parametrize("visits", [1, 10])
def test_completion_is_the_conditional(visits):
    """Of correlated Gaussians one number tells of the other; without going back over its steps it hardly does."""
    model = gaussian(steps=25, visits=visits)
    n = 3000
    x = torch.stack([torch.full((n,), 4.0), torch.zeros(n)], 1)
    known = torch.tensor([True, False]).expand(n, 2)
    with fork(0):
        drawn = model.complete(x, known)
    assert torch.equal(drawn[:, 0], x[:, 0])
    slope = COVARIANCE[0, 1] / COVARIANCE[0, 0]
    mean = TRUTH.mean[1] + slope * (4.0 - TRUTH.mean[0])
    deviation = SCALE * (COVARIANCE[1, 1] - slope * COVARIANCE[0, 1]).sqrt()
    gap = abs(drawn[:, 1].mean() - mean) / deviation
    assert gap < 0.2 if visits == 10 else gap > 0.5
    assert visits == 1 or drawn[:, 1].std().item() == pytest.approx(deviation.item(), rel=0.15)


def test_forgetting_takes_the_path_back():
    """x_t made of x_later has the mean and variance of x_t: t x1 and (1 - t)²."""
    x1 = torch.full((200_000,), 2.0)
    with fork(0):
        x = straight_path.forget(0.7 * x1 + 0.3 * torch.randn_like(x1), 0.4, 0.7)
    assert x.mean().item() == pytest.approx(0.8, abs=0.01)
    assert x.std().item() == pytest.approx(0.6, abs=0.01)


def test_pairs_are_the_cheapest_among_each_label():
    g = torch.Generator().manual_seed(0)
    x0, x1, y = torch.randn(40, 2, generator=g), torch.randn(40, 2, generator=g), torch.arange(40) % 2
    for labels in (None, y):
        paired = straight_path.pair(x0, x1, labels)
        assert torch.equal(paired.sort(0).values, x0.sort(0).values), "it is no reordering"
        assert (paired - x1).square().sum() < 0.5 * (x0 - x1).square().sum()
        for i in range(39):  # no two of a label would rather swap
            j = i + (1 if labels is None else 2)
            if j < 40:
                kept = (paired[[i, j]] - x1[[i, j]]).square().sum()
                assert kept <= (paired[[j, i]] - x1[[i, j]]).square().sum() + 1e-5
    for c in range(2):
        paired = straight_path.pair(x0, x1, y)
        assert torch.equal(paired[y == c].sort(0).values, x0[y == c].sort(0).values), "noise changed its label"


def test_optimal_coupling_lowers_the_error():
    """Pairs that do not cross leave less to regress; validation draws its noise independently all the same."""
    model = build("flow_matching", "points", "model.coupling=ot")
    batch: Batch = examples("points", 64)
    with fork(0):
        trained = model.train().objective(batch).mean()
    with fork(0):
        measured = model.eval().objective(batch).mean()
    assert trained < 0.9 * measured


@pytest.mark.parametrize("data", ["points", "grey"])
def test_resumed_training_is_bit_exact(data):
    options = ("model.conditional=true", "model.coupling=ot", "model.denoiser.dropout=0.1")
    batches = [next(endless(data, seed)) for seed in range(6)]

    def trained(model, optimizers, some):
        for batch in some:
            model.train().train_step(iter([batch]), optimizers)
            optimizers.step += 1
        return model.state_dict()

    with fork(0):
        model = build("flow_matching", data, *options)
        whole = trained(model, minimizer("flow_matching", model, 6), batches)
    with fork(0):
        model = build("flow_matching", data, *options)
        first = minimizer("flow_matching", model, 6)
        state = {name: value.clone() for name, value in trained(model, first, batches[:3]).items()}
        random_state = torch.get_rng_state()
    with fork(9):
        other = build("flow_matching", data, *options)
        other.load_state_dict(state)
        second = minimizer("flow_matching", other, 6)
        second.load(first.state())
        second.step = 3
        torch.set_rng_state(random_state)
        found = trained(other, second, batches[3:])
    assert all(torch.equal(value, found[name]) for name, value in whole.items())


@pytest.mark.parametrize("law", ["uniform", "logit_normal"])
def test_times_follow_their_law(law):
    with fork(0):
        t = straight_path.draw_times(4000, law, torch.device("cpu"))
    assert t.min() > 0 and t.max() < 1
    share = t if law == "uniform" else torch.special.ndtr(t.logit())
    torch.testing.assert_close(share.sort().values, (torch.arange(4000) + 0.5) / 4000, rtol=0, atol=1e-3)


def test_velocity_is_in_units_of_the_data():
    model = gaussian()
    x = TRUTH.sample((4,))
    for name, field in model.fields().items():
        t = float(name.split("=")[1])
        expected = SCALE * model.denoiser((x - LOC) / SCALE, torch.full((4,), t))
        torch.testing.assert_close(field(x), expected)


def test_spaces_are_left_as_they_were():
    assert SPACES["points"].scale.eq(SCALE).all() and SPACES["points"].loc.eq(LOC).all()
