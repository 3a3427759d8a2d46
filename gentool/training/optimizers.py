"""The only code that applies gradients."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gentool.batch import Batch
from gentool.errors import Diverged, UsageError, nearest
from gentool.models.base import GenerativeModel, Loss, Metrics
from gentool.training import processes
from gentool.training.schedules import Schedule

Factory = Callable[[list[nn.Parameter]], Optimizer]

NEVER = torch.iinfo(torch.int64).max


class Optimizers:
    """One optimiser for each player; draws batches, runs losses, averages gradients, clips, steps and schedules.

    Args:
        model: whose `players()` are moved.
        factory: one factory for every player, or a mapping player -> factory (two time scales).
        schedule: factor on every base learning rate, of progress in [0, 1].
        steps: training steps planned.
        accumulate: batches whose gradients are averaged into one update; equal to one batch of them all.
        clip_norm: largest allowed norm of a player's gradient; longer ones are scaled down. None: no clipping.

    Attributes:
        step: training steps done; the loop counts it up.
        steps: training steps planned; the loop may revise it where a run's length is given in minutes.

    Raises:
        UsageError: if a mapping of factories does not name the model's players.
    """

    def __init__(
        self,
        model: GenerativeModel,
        factory: Factory | Mapping[str, Factory],
        schedule: Schedule,
        *,
        steps: int,
        accumulate: int,
        clip_norm: float | None,
    ) -> None:
        self.step = 0
        self.steps = steps
        self.schedule = schedule
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.parameters = {name: [p for p in ps if p.requires_grad] for name, ps in model.players().items()}
        self.optimizers = {name: _factory(factory, name, self.parameters)(ps) for name, ps in self.parameters.items()}
        self.base_rates = {name: [g["lr"] for g in o.param_groups] for name, o in self.optimizers.items()}
        self._first_bad: dict[str, tuple[list[str], Tensor]] = {}

    def minimize(self, player: str, loss: Callable[[Batch], Loss], batches: Iterator[Batch]) -> Metrics:
        """Draw `accumulate` batches and take one step of `player` down the mean of `loss` over them.

        Args:
            player: a name of `model.players()`.
            loss: maps a batch to its loss.
            batches: where the batches come from.

        Returns:
            `player/loss`, `player/<term>` and `player/gradient_norm`, detached scalars on the device.
        """
        return self.minimize_together([player], lambda batch: {player: loss(batch)}, batches)

    def minimize_together(
        self, players: Sequence[str], losses: Callable[[Batch], Mapping[str, Loss]], batches: Iterator[Batch]
    ) -> Metrics:
        """Take one step of each player down its own loss, where all the losses share one graph.

        Args:
            players: names of `model.players()`.
            losses: maps a batch to the loss of each player.
            batches: where the batches come from.

        Returns:
            The players' metrics, as `minimize` returns them.
        """
        sums: dict[str, Tensor] = {}
        for player in players:
            self.optimizers[player].zero_grad(set_to_none=True)
        for _ in range(self.accumulate):
            for name, value in self._backward(players, losses(next(batches))).items():
                sums[name] = sums[name] + value if name in sums else value
        if self.accumulate > 1:
            sums = {name: value / self.accumulate for name, value in sums.items()}
        for player in players:
            sums[f"{player}/gradient_norm"] = self._apply(player)
            self._watch(player, {k: v for k, v in sums.items() if k.startswith(f"{player}/")})
        return sums

    def _backward(self, players: Sequence[str], losses: Mapping[str, Loss]) -> dict[str, Tensor]:
        measured: dict[str, Tensor] = {}
        for player in players:
            total, terms = losses[player]
            scaled = total / self.accumulate if self.accumulate > 1 else total
            scaled.backward(inputs=self.parameters[player], retain_graph=player != players[-1])
            measured[f"{player}/loss"] = total.detach()
            measured.update({f"{player}/{term}": value for term, value in terms.items()})
        return measured

    def _apply(self, player: str) -> Tensor:
        gradients = [p.grad for p in self.parameters[player] if p.grad is not None]
        processes.average(gradients)
        norm = nn.utils.get_total_norm(gradients, foreach=None if gradients[0].is_cuda else True)
        if self.clip_norm is not None:
            torch._foreach_mul_(gradients, (self.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        factor = self.factor
        optimizer = self.optimizers[player]
        for group, rate in zip(optimizer.param_groups, self.base_rates[player], strict=True):
            group["lr"] = rate * factor
        optimizer.step()
        return norm

    @property
    def factor(self) -> float:
        """The schedule's factor on the learning rates in the current step, taken at the step's middle."""
        return self.schedule(min(1.0, (self.step + 0.5) / self.steps))

    @property
    def learning_rates(self) -> dict[str, float]:
        """The learning rate of each player's last update."""
        return {f"{name}/learning_rate": o.param_groups[0]["lr"] for name, o in self.optimizers.items()}

    def _watch(self, player: str, values: Mapping[str, Tensor]) -> None:
        """Keep, on the device, the first step at which each value was not finite; nobody waits for it."""
        found = torch.isfinite(torch.stack(list(values.values())))
        names, first = self._first_bad.get(player, (list(values), found.new_full(found.shape, NEVER, dtype=torch.int64)))
        self._first_bad[player] = (names, torch.where(found, first, first.clamp(max=self.step + 1)))

    def check(self) -> None:
        """Wait for the device and raise if a loss, a term or a gradient has not been finite so far.

        Raises:
            Diverged: names the player, the term and the step (1-based).
        """
        for player, (names, first) in self._first_bad.items():
            step = int(first.min())
            if step < NEVER:
                bad = [name for name, value in zip(names, first.tolist(), strict=True) if value == step]
                term = min(bad, key=[*names[1:-1], names[0], names[-1]].index)  # a term before the loss it made
                raise Diverged(f"player '{player}': {term} is not finite at step {step}")

    def sum_over_processes(self, t: Tensor) -> Tensor:
        """Sum a tensor over the processes that train together; itself where there is one."""
        return processes.total(t)

    def state(self) -> dict[str, Any]:
        """The state of every optimiser, by player."""
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])


def _factory(factory: Factory | Mapping[str, Factory], player: str, players: Mapping[str, object]) -> Factory:
    if not isinstance(factory, Mapping):
        return factory
    if player not in factory:
        raise UsageError(f"optimizer names no player '{player}'; this model has {', '.join(players)}")
    for name in factory:
        if name not in players:
            raise UsageError(f"optimizer.{name}: this model has no such player; {nearest(name, players)}")
    return factory[player]
