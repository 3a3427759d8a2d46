"""Objectives and penalties in closed form: hand values of a linear critic, D* = p / (p + q), Dirac-GAN, exact W1."""

from math import log

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from gentool.nn.mlp import MLP
from gentool.nn.spectral import normalise_spectrally
from gentool.probability import adversarial
from gentool.probability.adversarial import clip_weights, objective_for, penalty_of, ranking_accuracy
from gentool.training.rng import fork

NAMES = ["minimax", "non_saturating", "least_squares", "hinge", "wasserstein"]


def linear_critic_has_hand_values(shape):
    """f(x) = <w, x>: its gradient is w wherever one looks, and its norm runs over all axes."""
    w = torch.linspace(-1, 2, int(torch.Size(shape).numel())).reshape(shape)
    square = w.square().sum()
    with fork(0):
        real, fake = torch.randn(2, 5, *shape)
        found = {
            name: penalty_of(name, lambda x: (x * w).flatten(1).sum(1), real, fake)
            for name in ("none", "one_centred", "zero_centred", "r1")
        }
    torch.testing.assert_close(found["none"], torch.zeros(()))
    torch.testing.assert_close(found["one_centred"], (square.sqrt() - 1) ** 2)
    torch.testing.assert_close(found["zero_centred"], square)
    torch.testing.assert_close(found["r1"], square / 2)


@pytest.mark.parametrize("shape", [(2,), (3, 4, 5)])
def test_penalties_of_a_linear_critic(shape):
    linear_critic_has_hand_values(shape)


def test_law_catches_the_norm_over_the_wrong_axis(monkeypatch):
    def wrong(critic, x):
        x = x.detach().requires_grad_()
        [gradient] = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        return gradient.norm(dim=1)

    monkeypatch.setattr(adversarial, "gradient_norm", wrong)
    with pytest.raises(AssertionError):
        linear_critic_has_hand_values((3, 4, 5))


def penalty_sees_each_example(n=200):
    """f(x) = |x|² / 2 has ‖∇f(x)‖ = ‖x‖: between x = 1 and G(z) = 0 it is u, so the mean of (u - 1)² is 1/3."""
    with fork(1):
        found = penalty_of("one_centred", lambda x: 0.5 * x.square().sum(1), torch.ones(n, 1), torch.zeros(n, 1))
    assert abs(found.item() - 1 / 3) < 0.07, "examples do not have a place of their own between data and samples"


def test_the_penalty_is_at_a_place_of_each_examples_own(monkeypatch):
    penalty_sees_each_example()
    monkeypatch.setattr(torch, "rand", lambda n, *shape, device: torch.full((n, *shape), 0.9))
    with pytest.raises(AssertionError):
        penalty_sees_each_example()


def test_a_flat_critic_has_a_finite_gradient_of_its_penalty():
    w = torch.zeros(3, requires_grad=True)
    penalty_of("one_centred", lambda x: x @ w, torch.randn(4, 3), torch.randn(4, 3)).backward()
    assert w.grad is not None and w.grad.isfinite().all()


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_value_at_the_best_discriminator(name):
    """V(D*) = 2 JS(p, q) - log 4, which is -log 4 where p = q; the expectations by quadrature."""
    line = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    p, q = Normal(0.0, 1.0), Normal(1.5, 0.7)
    value = objective_for(name).value
    assert value(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(-log(4))
    log_p, log_q = p.log_prob(line), q.log_prob(line)
    mixture = torch.logaddexp(log_p, log_q) - log(2)
    js = 0.5 * torch.trapezoid(log_p.exp() * (log_p - mixture) + log_q.exp() * (log_q - mixture), line)
    at_p, at_q = (torch.distributions.Normal(d.loc, d.scale).sample((200_000,)) for d in (p, q))
    f = [p.log_prob(x) - q.log_prob(x) for x in (at_p, at_q)]
    assert value(*f).item() == pytest.approx(2 * js.item() - log(4), abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_the_critic_wants_data_high_and_the_generator_samples_high(name):
    real, fake = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
    game = objective_for(name)
    game.value(real, fake).backward()
    assert (real.grad > 0).all() and (fake.grad <= 0).all()
    slope = torch.autograd.grad(game.cost(fake), fake)[0]
    assert (slope < 0).all(), "the generator's cost does not fall as the critic likes its samples more"


def test_minimax_saturates_where_non_saturating_does_not():
    """Where the critic is sure, f = -10, the slope is sigmoid(-10) of the one and 1 - sigmoid(-10) of the other."""
    fake = torch.full((1,), -10.0, requires_grad=True)
    slopes = [torch.autograd.grad(objective_for(n).cost(fake), fake)[0].abs().item() for n in NAMES[:2]]
    assert slopes[0] == pytest.approx(4.54e-5, rel=0.01)
    assert slopes[1] == pytest.approx(1.0, rel=0.01)


def test_hand_values_of_the_others():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-0.5, 1.0])
    assert objective_for("hinge").value(real, fake).item() == pytest.approx(-0.25 - 1.25)
    assert objective_for("least_squares").value(real, fake).item() == pytest.approx(-0.5 * (0.625 + 0.625))
    assert objective_for("least_squares").cost(fake).item() == pytest.approx(0.5 * 1.125)
    assert objective_for("wasserstein").value(real, fake).item() == pytest.approx(1.0)
    assert ranking_accuracy(torch.tensor([1.0, 2.0, 3.0, 0.0]), torch.tensor([0.0, 3.0, 1.0, 0.0])).item() == 0.625


def dirac_gan(penalty, steps=500, rate=0.1):
    """Play Dirac-GAN: data at 0, the sample at theta, f(x) = psi x. Return the distance from the equilibrium."""
    theta, psi = torch.tensor([[1.0]], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    game, data = objective_for("minimax"), torch.zeros(1, 1)

    def critic(x):
        return x @ psi

    for _ in range(steps):
        loss = 1.0 * penalty_of(penalty, critic, data, theta.detach()) - game.value(
            critic(data), critic(theta.detach())
        )
        psi.data -= rate * torch.autograd.grad(loss, psi)[0]
        theta.data -= rate * torch.autograd.grad(game.cost(critic(theta)), theta)[0]
    return torch.stack([theta.detach().flatten(), psi.detach()]).norm().item()


def test_dirac_gan_oscillates_without_a_penalty_and_converges_with_r1():
    """Which Training Methods for GANs do actually Converge?: the undamped game circles its equilibrium for ever."""
    assert dirac_gan("none") > 0.9
    assert dirac_gan("r1") < 1e-3
    assert dirac_gan("zero_centred") < 1e-2


def test_a_clipped_critic_stays_in_its_box():
    layer = nn.Linear(3, 3)
    clip_weights(layer.parameters(), 0.01)
    assert all(p.abs().max() <= 0.01 for p in layer.parameters())
    assert layer.weight.abs().max().item() == pytest.approx(0.01)


def critic_stays_below_w1(critic):
    """The value of a critic of slope at most 1 never exceeds W1, in one dimension the mean gap of sorted samples."""
    with fork(0):
        real, fake = torch.randn(512, 1) * 0.5 + 2, torch.randn(512, 1)
        w1 = (real.sort(0)[0] - fake.sort(0)[0]).abs().mean().item()
        game, f = objective_for("wasserstein"), critic()
        optimizer = torch.optim.Adam(f.parameters(), lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            (-game.value(f(real), f(fake))).backward()
            optimizer.step()
        f.train()
        for _ in range(20):  # sigma catches up with the last step
            f(real)
        value = game.value(f.eval()(real), f(fake)).item()
    assert 0.5 * w1 < value <= w1 * (1 + 1e-4), f"the critic's value is {value:.3f}, W1 {w1:.3f}"


def spectral_critic():
    f = MLP(1, [16, 16], 1, 0, "relu")
    normalise_spectrally(f)
    return f


def test_the_critics_value_stays_below_the_exact_distance():
    critic_stays_below_w1(spectral_critic)
    with pytest.raises(AssertionError):
        critic_stays_below_w1(lambda: MLP(1, [16, 16], 1, 0, "relu"))  # nothing holds its slope
