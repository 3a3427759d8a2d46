"""The games of generative adversarial networks: what the critic and the generator want, and penalties on the critic.

A critic maps x to a number f(x); where it is a discriminator, D(x) = sigmoid(f(x)).
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

Name = Literal["minimax", "non_saturating", "least_squares", "hinge", "wasserstein"]
Penalty = Literal["none", "one_centred", "zero_centred", "r1"]

EPS = 1e-12
"""Inside the root of a norm, whose derivative at 0 would not be finite."""


class Objective(NamedTuple):
    """What two players want.

    Attributes:
        value: of f at data (n,) and f at samples (m,): what the critic maximises, a scalar.
        cost: of f at samples (m,): what the generator minimises, a scalar.
        is_discriminator: whether sigmoid(f(x)) estimates the probability that x is data.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    cost: Callable[[Tensor], Tensor]
    is_discriminator: bool


def objective_for(name: Name) -> Objective:
    """Return an objective by its name.

    minimax: V = E log D(x) + E log(1 - D(G(z))), which the generator minimises; at D* = p / (p + q) it is
    2 JS(p, q) - log 4. non_saturating: the same V, and the generator minimises -E log D(G(z)). least_squares:
    V = -E (f(x) - 1)² / 2 - E f(G(z))² / 2 and cost E (f(G(z)) - 1)² / 2. hinge: V = -E max(0, 1 - f(x)) -
    E max(0, 1 + f(G(z))), cost -E f(G(z)). wasserstein: V = E f(x) - E f(G(z)), cost -E f(G(z)).

    Args:
        name: of the objective.

    Returns:
        The objective.

    Reference: Generative Adversarial Networks, Ian Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661; Least
        Squares Generative Adversarial Networks, Xudong Mao et al., 2016, https://arxiv.org/abs/1611.04076; Geometric
        GAN, Jae Hyun Lim and Jong Chul Ye, 2017, https://arxiv.org/abs/1705.02894; Wasserstein GAN, Martin Arjovsky,
        Soumith Chintala and Léon Bottou, 2017, https://arxiv.org/abs/1701.07875
    """
    return _OBJECTIVES[name]


def _log_odds_value(real: Tensor, fake: Tensor) -> Tensor:
    """E log D(x) + E log(1 - D(G(z))), without ever taking the logarithm of a rounded 0."""
    return -softplus(-real).mean() - softplus(fake).mean()


_OBJECTIVES: dict[str, Objective] = {
    "minimax": Objective(_log_odds_value, lambda fake: -softplus(fake).mean(), True),
    "non_saturating": Objective(_log_odds_value, lambda fake: softplus(-fake).mean(), True),
    "least_squares": Objective(
        lambda real, fake: -0.5 * ((real - 1).square().mean() + fake.square().mean()),
        lambda fake: 0.5 * (fake - 1).square().mean(),
        False,
    ),
    "hinge": Objective(
        lambda real, fake: -(1 - real).relu().mean() - (1 + fake).relu().mean(), lambda fake: -fake.mean(), False
    ),
    "wasserstein": Objective(lambda real, fake: real.mean() - fake.mean(), lambda fake: -fake.mean(), False),
}


def ranking_accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Return the share of pairs of data and samples in which the critic puts the data higher.

    It means the same for every objective, since it needs no threshold: 1/2 where the critic cannot tell.

    Args:
        real: (n,) f at data.
        fake: (n,) f at samples.

    Returns:
        A scalar in [0, 1]; ties count half.
    """
    return 0.5 + 0.5 * (real - fake).sign().mean()


def gradient_norm(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return ‖∇f‖ at each example, over all its axes, as a number that can be differentiated again.

    Args:
        critic: maps (n, …) to (n,), each example by itself.
        x: (n, …).

    Returns:
        (n,), sqrt(sum_i (df/dx_i)² + eps).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        [gradient] = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (gradient.flatten(1).square().sum(1) + EPS).sqrt()


def penalty_of(name: Penalty, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Return a penalty on the critic's gradient, a scalar.

    one_centred: E (‖∇f(x̂)‖ - 1)² and zero_centred: E ‖∇f(x̂)‖² at x̂ = u x + (1 - u) G(z), u uniform in [0, 1] and drawn
    for each example; r1: E ‖∇f(x)‖² / 2 at data.

    Args:
        name: of the penalty.
        critic: maps (n, …) to (n,).
        real: (n, …) data.
        fake: (n, …) samples.

    Returns:
        The penalty; 0 for none.

    Reference: Improved Training of Wasserstein GANs, Ishaan Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028;
        Which Training Methods for GANs do actually Converge?, Lars Mescheder, Andreas Geiger and Sebastian Nowozin,
        2018, https://arxiv.org/abs/1801.04406
    """
    if name == "none":
        return torch.zeros((), device=real.device)
    if name == "r1":
        return 0.5 * gradient_norm(critic, real).square().mean()
    u = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    norm = gradient_norm(critic, torch.lerp(fake, real, u))
    return (norm - (1 if name == "one_centred" else 0)).square().mean()


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], largest: float) -> None:
    """Put every weight back into [-largest, largest].

    Args:
        parameters: of the critic.
        largest: |weight| allowed.

    Reference: Wasserstein GAN, Martin Arjovsky, Soumith Chintala and Léon Bottou, 2017,
        https://arxiv.org/abs/1701.07875
    """
    weights = list(parameters)
    torch._foreach_clamp_max_(weights, largest)
    torch._foreach_clamp_min_(weights, -largest)
