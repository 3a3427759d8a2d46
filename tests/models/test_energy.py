"""Energies: chains on a quadratic one in closed form, the score, the buffer that only training writes, and faults."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.energy import EnergyModel
from gentool.nn import energy as network
from gentool.probability.energy_chains import mirrored, run_chain
from gentool.training.rng import fork
from tests.laws import laws
from tests.laws.subjects import Subject, endless, minimizer
from tests.spaces import space

V = 0.25
CHAIN = {
    "method": "langevin",
    "steps": 120,
    "step_size": 0.02,
    "last_step_size": None,
    "noise": None,
    "leapfrog_steps": 4,
    "largest_drift": None,
}
SAMPLER = {"start": "noise", "rounds": 1, "denoise": True} | dict.fromkeys(
    ["method", "steps", "step_size", "last_step_size", "noise"]
)
POINTS = replace(space((2,), classes=2), loc=torch.tensor([1.0, -2.0]), scale=torch.tensor([2.0, 0.5]))


class Quadratic(nn.Module):
    """f(x) = (1/(2 v) - 1/8) |x - m(y)|²; with the base's |x|²/8 an energy of variance v."""

    def __init__(self, *_args, labelled=False):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1 / (2 * V) - 1 / 8))
        self.labelled = labelled

    def forward(self, x, y=None):
        x = x - 0.5 * y.reshape(-1, *[1] * (x.dim() - 1)) if self.labelled else x
        return self.weight * x.square().flatten(1).sum(1)


def built(where=POINTS, net=Quadratic, *, chain=None, sampler=None, **options):
    options = {
        "buffer": 50,
        "restarts": 0.1,
        "alpha": 0.1,
        "data_noise": 0.0,
        "base": 2.0,
        "principal_components": None,
        "conditional": False,
    } | options
    return EnergyModel(where, network=net, chain=CHAIN | (chain or {}), sampler=SAMPLER | (sampler or {}), **options)


def has_the_variance(model, variance, n=4000):
    with fork(0):
        x = model.space.to_model(model.sample(n))
    torch.testing.assert_close(x.var(0), torch.full((2,), variance), rtol=0.1, atol=0)
    assert (x.mean(0).abs() < 5 * (variance / n) ** 0.5).all()


@pytest.mark.parametrize(
    ("chain", "variance"),
    [
        ({}, V / (1 - 0.02 / (2 * V))),  # x' = (1 - lambda / v) x + sqrt(2 lambda) eps
        ({"step_size": 0.1, "steps": 40}, V / (1 - 0.1 / (2 * V))),
        ({"method": "adjusted_langevin", "step_size": 0.1, "steps": 40}, V),
        ({"method": "adjusted_langevin", "step_size": 0.5, "last_step_size": 0.01, "largest_drift": 0.3}, V),
        ({"method": "hmc", "step_size": 0.05, "steps": 25}, V),
        ({"noise": 0.1}, V * (0.1**2 / 0.04) / (1 - 0.02 / (2 * V))),  # colder by noise² / (2 lambda)
    ],
)
def test_chains_on_a_quadratic_energy_have_its_variance(chain, variance):
    has_the_variance(built(chain=chain), variance)


def _wrong_sign(chain, energy, start, **options):
    return run_chain(chain, lambda x: -energy(x), start, **options)


def _wrong_noise(chain, energy, start, **options):
    return run_chain(chain | {"noise": chain["step_size"] ** 0.5}, energy, start, **options)


@pytest.mark.parametrize("fault", [_wrong_sign, _wrong_noise])
def test_chains_that_go_wrong_do_not(fault, monkeypatch):
    monkeypatch.setattr("gentool.models.energy.run_chain", fault)
    with pytest.raises(AssertionError):
        has_the_variance(built(), V / (1 - 0.02 / (2 * V)))


def score_is_minus_the_gradient(model):
    fields = model.fields()
    x = 2 * torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).double()
    model.double()
    h = 1e-5 * torch.eye(2).double()
    slope = torch.stack([(fields["energy"](x + e) - fields["energy"](x - e)) / 2e-5 for e in h], 1)
    torch.testing.assert_close(fields["score"](x), -slope, rtol=1e-4, atol=1e-6)


def test_the_score_is_minus_the_gradient_of_the_energy_in_units_of_the_data():
    model = built()
    score_is_minus_the_gradient(model)
    x = torch.tensor([[3.0, -1.0]])
    torch.testing.assert_close(built().fields()["score"](x), -(x - POINTS.loc) / (V * POINTS.scale**2))
    field = model.fields()["score"]
    model.fields = lambda: built().double().fields() | {"score": lambda x: -field(x)}
    with pytest.raises(AssertionError):
        score_is_minus_the_gradient(model)


def test_walls_are_mirrors():
    x = torch.tensor([-1.0, 0.3, 1.0, 1.2, 3.1, -1.5, 6.0])
    torch.testing.assert_close(mirrored(x), torch.tensor([-1.0, 0.3, 1.0, 0.8, -0.9, -0.5, -0.0]), atol=1e-6, rtol=0)
    flat = CHAIN | {"step_size": 0.1, "steps": 20, "method": "hmc"}
    with fork(0):
        x = run_chain(flat, lambda x: 0 * x.sum(1), torch.zeros(3000, 2), rounds=1, frames=1, walls=True).frames[-1]
    assert x.abs().max() <= 1
    torch.testing.assert_close(x.var(0), torch.full((2,), 1 / 3), atol=0.02, rtol=0)


def test_the_loss_is_the_gap_and_the_squares():
    model = built(restarts=0.0)
    batch = Batch(POINTS.to_data(torch.randn(50, 2)), None, torch.arange(50))
    loss = model.loss(batch)
    chains, x = model.replay, POINTS.to_model(batch.x)
    gap = (x.square().sum(1).mean() - chains.square().sum(1).mean()) / (2 * V)
    f = torch.cat([model.network(x), model.network(chains)])
    torch.testing.assert_close(loss.total, gap + 0.1 * 2 * f.square().mean())
    torch.testing.assert_close(loss.terms["gap"], gap)
    (slope,) = torch.autograd.grad(
        model.loss(batch).total - 0.2 * model.network(x).square().mean(), model.network.weight
    )
    assert torch.isfinite(slope) and not any(t.requires_grad for t in loss.terms.values())


def test_only_training_moves_the_kept_chains_and_a_sampler_that_does_is_caught():
    subject = Subject("ebm", "points", 20)
    model, batch = subject.model(), subject.batch()
    laws.looking_changes_nothing(model, batch)
    before = model.replay.clone()
    model.train().loss(batch)
    assert not torch.equal(before, model.replay)

    def writing(n, y=None):
        return model.space.to_data(model._go_on(n)[0])

    model.sample = writing
    with pytest.raises(AssertionError, match="replay changed"):
        laws.looking_changes_nothing(model.eval(), batch)


def goes_on_bit_for_bit(forget=False):
    """Four steps are two steps, saved, loaded, and two more: weights and kept chains."""
    ends = []
    for cut in (False, True):
        model = Subject("ebm", "points").model().train()
        optimizers, batches = minimizer("ebm", model, 4), endless("points")
        for step in range(4):
            if cut and step == 2:
                kept = {k: v.clone() for k, v in model.state_dict().items()}
                model = Subject("ebm", "points", 20).model().train()
                model.load_state_dict({k: v for k, v in kept.items() if not forget or k != "replay"}, strict=not forget)
                state, optimizers = optimizers.state(), minimizer("ebm", model, 4)
                optimizers.load(state)
            with fork(step):
                model.train_step(batches, optimizers)
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        laws.same(value, ends[1][name], f"{name} differs")


def test_a_saved_run_goes_on_with_the_chains_it_kept():
    goes_on_bit_for_bit()
    with pytest.raises(AssertionError):
        goes_on_bit_for_bit(forget=True)


def test_what_is_known_stays_and_the_rest_is_drawn_given_it():
    class Tied(nn.Module):
        def forward(self, x, y=None):  # E = |x|²/8 + f is that of x_1 ~ N(0, 1), x_2 | x_1 ~ N(x_1, 0.1)
            return x[:, 0] ** 2 / 2 + (x[:, 1] - x[:, 0]) ** 2 / 0.2 - x.square().sum(1) / 8

    model = built(net=lambda *_: Tied(), chain={"method": "adjusted_langevin", "step_size": 0.05})
    x = POINTS.to_data(torch.tensor([[0.8, 5.0]])).repeat(2000, 1)
    known = torch.tensor([[True, False]]).expand(2000, 2)
    with fork(0):
        done = model.complete(x, known)
    assert torch.equal(done[:, 0], x[:, 0])
    drawn = POINTS.to_model(done)[:, 1]
    assert abs(float(drawn.mean()) - 0.8) < 0.04 and abs(float(drawn.var()) - 0.1) < 0.015


def test_labels_steer_chains_and_chains_keep_them():
    model = built(net=partial(Quadratic, labelled=True), conditional=True, sampler={"steps": 200})
    with fork(0):
        for y in (0, 1):
            x = POINTS.to_model(model.sample(1500, torch.full((1500,), y)))
            assert abs(float(x.mean()) - 0.5 * y * (1 - V / 4)) < 0.05
        model.sampler["start"] = "buffer"
        start = model._start(30, torch.arange(30) % 2)
    kept = [int((model.replay == row).all(1).nonzero()[0]) for row in start]
    assert torch.equal(model.replay_labels[kept], torch.arange(30) % 2)
    x = POINTS.to_data(torch.randn(5, 2))
    each = torch.stack([-model.energy(x, torch.full((5,), y)) for y in (0, 1)], 1)
    torch.testing.assert_close(-model.energy(x), (each + POINTS.frequencies.log()).logsumexp(1))


def test_noise_that_data_was_given_is_taken_off_again():
    x = torch.randn(9, 2)
    model = built(data_noise=0.3)
    clean = model._denoised(x, partial(model._energy, y=None))
    torch.testing.assert_close(clean, x * (V - 0.09) / V)  # E[x | x + noise], x + noise of variance v
    model.sampler["denoise"] = False
    assert model._denoised(x, partial(model._energy, y=None)) is x


class Flat(nn.Module):
    """f(x) = weight: the energy is what it is without a network."""

    def __init__(self, *_args):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x, y=None):
        return self.weight * torch.ones(len(x))


def tilted(n=4000, fit=True):
    """An energy without a network on images of four dark pixels, two of them tied, and those images."""
    where = space((1, 2, 2), levels=256)
    a, b, c = torch.randn(3, n, generator=torch.Generator().manual_seed(0))
    x = torch.stack([60 + 20 * a, 60 + 20 * a + 4 * b, 0 * c, 100 + 10 * c], 1).round().reshape(-1, 1, 2, 2)
    chain = {"method": "adjusted_langevin", "step_size": 0.01, "steps": 20}
    model = built(where, Flat, chain=chain, buffer=n, data_noise=0.2, principal_components=3)
    if fit:
        with fork(0):
            model.begin(lambda: iter(Batch(part, None, torch.arange(len(part))) for part in x.split(1000)))
    return model, x


def are_the_moments_of(x, data, noise=0.0):
    x, data = x.flatten(1), data.flatten(1)
    torch.testing.assert_close(x.mean(0), data.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(x.T.cov(), data.T.cov() + noise**2 * torch.eye(4), atol=0.006, rtol=0)


def test_chains_begin_at_the_gaussian_of_the_data_with_noise_stay_there_and_lose_the_noise():
    model, x = tilted()
    data = model.space.to_model(x)
    with fork(0):
        are_the_moments_of(model.replay, data, 0.2)
        are_the_moments_of(model._start(4000, None), data, 0.2)
        ends = model._go_on(4000)[0]
        are_the_moments_of(ends, data, 0.2)
        assert (ends < -1).any(), "the cube's walls are no walls of a Gaussian"
        least, most = torch.linalg.eigvalsh(data.flatten(1).T.cov())[[0, -1]]
        clean = model._denoised(ends, partial(model._energy, y=None))
        kept = torch.linalg.eigvalsh(clean.flatten(1).T.cov())[[0, -1]]
    shrunk = [v**2 / (v + 0.04) for v in (least, most)]  # of the mean of x given x + noise
    torch.testing.assert_close(kept, torch.stack(shrunk), atol=0.004, rtol=0)
    unfitted, _ = tilted(fit=False)
    with fork(0), pytest.raises(AssertionError):
        are_the_moments_of(unfitted.replay, data, 0.2)


def test_validation_compares_the_chains_with_data_as_training_sees_it():
    model, x = tilted()
    with fork(0):
        found = model.report(lambda: iter([Batch(x, None, torch.arange(len(x)))]))
    assert abs(float(found["data"]) - 2) < 0.1 and abs(float(found["buffer"]) - 2) < 0.1  # half a nat a dimension
    assert float(model.energy(x).mean()) < 1.5


def test_only_a_model_with_the_gaussian_keeps_one_and_it_has_fewer_components_than_dimensions():
    assert not [name for name in built().state_dict() if "ground" in name]  # as in old checkpoints
    model, _ = tilted()
    other, _ = tilted(fit=False)
    other.load_state_dict(model.state_dict())
    x = torch.randn(5, 1, 2, 2)
    assert torch.equal(other.ground(x), model.ground(x))
    with pytest.raises(UsageError, match="2 dimensions"):
        built(principal_components=2)


def test_spectral_norms_bound_the_slope_and_kinds_that_do_not_fit_are_refused():
    options = {"kind": "auto", "hidden_features": [8, 8], "hidden_channels": [4, 6], "blocks": 1, "octaves": 0,
               "activation": "softplus", "spectral_norm": True}  # fmt: skip
    x = torch.randn(40, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(network(space((2,)), 0, **options).eval()(x).sum(), x)
    assert slope.norm(dim=1).max() <= 1.05
    image = space((1, 9, 7), levels=17)
    for kind in ("conv", "resnet"):
        assert network(image, 3, **options | {"kind": kind})(torch.randn(5, 1, 9, 7), torch.arange(5) % 3).shape == (5,)
    with pytest.raises(UsageError, match="images"):
        network(space((2,)), 0, **options | {"kind": "conv"})
    with pytest.raises(UsageError, match="stage"):
        network(image, 0, **options | {"kind": "conv", "hidden_channels": []})


def test_gaussians_leave_the_normalisation_finite():
    """Whatever the network of bounded slope says, the energy rises far out."""
    with fork(0):
        model = Subject("ebm", "points", 20).model()
        far = POINTS.loc + 1e4 * nn.functional.normalize(torch.randn(200, 2), dim=1)
    assert (model.energy(far) > model.energy(far / 2)).all()
