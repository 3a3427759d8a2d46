"""The only code that applies gradients: accumulation, clipping, players, divergence."""

from collections.abc import Iterator
from functools import partial
from itertools import repeat

import pytest
import torch
from torch import Tensor, nn

from gentool.batch import Batch
from gentool.errors import Diverged, UsageError
from gentool.models.base import GenerativeModel, Loss, Metrics, Minimizer
from gentool.space import DataSpace
from gentool.training.optimizers import Optimizers
from gentool.training.schedules import constant, linear


def space() -> DataSpace:
    zeros, ones = torch.zeros(2), torch.ones(2)
    return DataSpace(
        shape=(2,), levels=None, classes=0, examples=8, loc=zeros, scale=ones, frequencies=torch.ones(0), vocabulary=()
    )


class Game(GenerativeModel):
    """Two players, each a linear map with a loss of its own on the product of both."""

    def __init__(self) -> None:
        super().__init__(space(), {})
        self.critic = nn.Linear(2, 1)
        self.generator = nn.Linear(2, 2)

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"critic": list(self.critic.parameters()), "generator": list(self.generator.parameters())}

    def value(self, batch: Batch) -> Tensor:
        return self.critic(self.generator(batch.x)).tanh().mean()

    def loss(self, batch: Batch) -> Loss:
        value = self.value(batch)
        return Loss(value, {"value": value.detach()})

    def losses(self, batch: Batch) -> dict[str, Loss]:
        value = self.value(batch)
        return {"critic": Loss(-value, {}), "generator": Loss(value, {})}

    def train_step(self, batches: Iterator[Batch], optimizers: Minimizer) -> Metrics:
        return optimizers.minimize("critic", self.loss, batches)

    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        return torch.zeros(n, 2)


def batch(x: Tensor) -> Batch:
    return Batch(x, None, torch.arange(len(x)))


FLAT = partial(constant, warm_up=0.0)


def build(schedule=FLAT, factory=None, **keys) -> tuple[Game, Optimizers]:
    torch.manual_seed(0)
    game = Game()
    values = {"steps": 10, "accumulate": 1, "clip_norm": None} | keys
    return game, Optimizers(game, factory or partial(torch.optim.SGD, lr=0.5), schedule, **values)


def test_accumulating_four_batches_equals_the_big_batch() -> None:
    x = torch.randn(16, 2)
    big, optimizers = build()
    optimizers.minimize("critic", big.loss, repeat(batch(x)))
    small, optimizers = build(accumulate=4)
    metrics = optimizers.minimize("critic", small.loss, iter([batch(piece) for piece in x.chunk(4)]))
    for a, b in zip(big.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)
    torch.testing.assert_close(metrics["critic/loss"], Game.loss(build()[0], batch(x)).total, rtol=0, atol=1e-7)


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_a_turn_moves_only_its_own_player(player: str) -> None:
    game, optimizers = build()
    before = {name: p.detach().clone() for name, p in game.named_parameters()}
    optimizers.minimize(player, game.loss, repeat(batch(torch.randn(4, 2))))
    for name, p in game.named_parameters():
        assert torch.equal(p, before[name]) == (not name.startswith(player)), name


def test_players_that_share_a_graph_equal_players_that_do_not() -> None:
    x = batch(torch.randn(4, 2))
    together, optimizers = build()
    optimizers.minimize_together(["critic", "generator"], together.losses, repeat(x))
    apart, _ = build()
    value = apart.value(x)
    critic = torch.autograd.grad(-value, apart.players()["critic"], retain_graph=True)
    generator = torch.autograd.grad(value, apart.players()["generator"])
    with torch.no_grad():
        for p, g in zip(
            [*apart.critic.parameters(), *apart.generator.parameters()], [*critic, *generator], strict=True
        ):
            p -= 0.5 * g
    for a, b in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)


def test_clipping_scales_the_gradient_to_the_norm() -> None:
    game, optimizers = build(clip_norm=1e-3)
    before = [p.detach().clone() for p in game.players()["critic"]]
    metrics = optimizers.minimize("critic", game.loss, repeat(batch(torch.randn(4, 2))))
    moved = torch.cat([(p - q).flatten() for p, q in zip(game.players()["critic"], before, strict=True)])
    assert metrics["critic/gradient_norm"] > 1e-3
    assert moved.norm().item() == pytest.approx(0.5 * 1e-3, rel=1e-3)


def test_the_schedule_multiplies_the_base_rate() -> None:
    game, optimizers = build(schedule=partial(linear, warm_up=0.0, final=0.0), steps=2)
    for expected in (0.5 * 0.75, 0.5 * 0.25):
        optimizers.minimize("critic", game.loss, repeat(batch(torch.ones(1, 2))))
        optimizers.step += 1
        assert optimizers.learning_rates["critic/learning_rate"] == pytest.approx(expected)


def test_a_non_finite_loss_is_named_with_its_player_term_and_first_step() -> None:
    game, optimizers = build()
    bad = batch(torch.full((1, 2), torch.nan))
    for x in [batch(torch.ones(1, 2)), bad, bad]:
        optimizers.minimize("critic", game.loss, repeat(x))
        optimizers.step += 1
    with pytest.raises(Diverged, match=r"player 'critic': critic/value is not finite at step 2"):
        optimizers.check()


def test_a_term_that_comes_and_goes_is_watched_too() -> None:
    _, optimizers = build()

    def step(**terms: float) -> None:
        value = optimizers.parameters["critic"][0].square().sum()
        loss = Loss(value, {name: torch.tensor(number) for name, number in terms.items()})
        optimizers.minimize("critic", lambda _: loss, repeat(batch(torch.ones(1, 2))))
        optimizers.step += 1

    step(value=1.0)
    step(value=1.0, penalty=2.0)
    step(value=1.0)
    optimizers.check()
    step(value=1.0, penalty=float("inf"))
    step(value=1.0)
    with pytest.raises(Diverged, match="critic/penalty is not finite at step 4"):
        optimizers.check()


def test_a_non_finite_gradient_of_a_finite_loss_is_found() -> None:
    game, optimizers = build()

    def loss(batch: Batch) -> Loss:
        return Loss((game.critic.weight * 0).abs().sqrt().sum(), {})  # 0, with an infinite slope times zero

    optimizers.minimize("critic", loss, repeat(batch(torch.ones(1, 2))))
    with pytest.raises(Diverged, match="player 'critic': critic/gradient is not finite at step 1"):
        optimizers.check()


def test_factories_must_name_the_players() -> None:
    sgd = partial(torch.optim.SGD, lr=0.1)
    with pytest.raises(UsageError, match="no player 'generator'"):
        build(factory={"critic": sgd})
    with pytest.raises(UsageError, match="optimizer.critc: .* did you mean 'critic'"):
        build(factory={"critic": sgd, "generator": sgd, "critc": sgd})
