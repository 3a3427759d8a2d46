"""The only code that applies gradients."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
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

KEPT = 256
"""Steps whose values are kept one by one before they are looked at together."""

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
        # Hydra's partial objects check their target at every call, which would cost each step 0.1 ms.
        self.schedule = partial(schedule.func, **schedule.keywords) if isinstance(schedule, partial) else schedule
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.parameters = {name: [p for p in ps if p.requires_grad] for name, ps in model.players().items()}
        factories = {name: _factory(factory, name, self.parameters) for name in self.parameters}
        try:
            self.optimizers = {name: factories[name](ps) for name, ps in self.parameters.items()}
        except ValueError as error:  # a value that torch.optim's annotations do not rule out
            raise UsageError(f"optimizer: {error}") from error
        self.base_rates = {name: [g["lr"] for g in o.param_groups] for name, o in self.optimizers.items()}
        self._recent: dict[str, list[tuple[int, dict[str, Tensor]]]] = {name: [] for name in self.parameters}
        self._first_bad: dict[str, dict[str, Tensor]] = {name: {} for name in self.parameters}

    def minimize(self, player: str, loss: Callable[[Batch], Loss], batches: Iterator[Batch]) -> Metrics:
        """Draw `accumulate` batches and take one step of `player` down the mean of `loss` over them.

        Args:
            player: a name of `model.players()`.
            loss: maps a batch to its loss.
            batches: where the batches come from.

        Returns:
            `player/loss`, `player/<term>` and, where gradients are clipped, `player/gradient_norm`: detached scalars
            on the device.
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
        for piece in range(self.accumulate):
            computed = losses(next(batches))
            if piece == 0:  # freed only now, their memory serves the backward pass: a tenth of a small step
                for player in players:
                    self.optimizers[player].zero_grad(set_to_none=True)
            for name, value in self._backward(players, computed).items():
                sums[name] = sums[name] + value if name in sums else value
        if self.accumulate > 1:
            sums = {name: value / self.accumulate for name, value in sums.items()}
        for player in players:
            self._apply(player, sums)
            self._watch(player, {k: v for k, v in sums.items() if k.startswith(f"{player}/")})
        return sums

    def _backward(self, players: Sequence[str], losses: Mapping[str, Loss]) -> dict[str, Tensor]:
        measured: dict[str, Tensor] = {}
        for player in players:
            total, terms = losses[player]
            scaled = total / self.accumulate if self.accumulate > 1 else total
            inputs = self.parameters[player] if len(self.parameters) > 1 else None  # naming them costs a small step 2 %
            torch.autograd.backward(scaled, inputs=inputs, retain_graph=player != players[-1])
            measured[f"{player}/loss"] = total.detach()
            measured.update({f"{player}/{term}": value for term, value in terms.items()})
        return measured

    def _apply(self, player: str, measured: dict[str, Tensor]) -> None:
        gradients = [p.grad for p in self.parameters[player] if p.grad is not None]
        processes.average(gradients)
        if self.clip_norm is not None:
            norm = nn.utils.get_total_norm(gradients, foreach=None if gradients[0].is_cuda else True)
            torch._foreach_mul_(gradients, (self.clip_norm / (norm + 1e-6)).clamp(max=1.0))
            measured[f"{player}/gradient_norm"] = norm
        factor = self.factor
        optimizer = self.optimizers[player]
        for group, rate in zip(optimizer.param_groups, self.base_rates[player], strict=True):
            group["lr"] = rate * factor
        optimizer.step()

    @property
    def factor(self) -> float:
        """The schedule's factor on the learning rates in the current step, taken at the step's middle."""
        return self.schedule(min(1.0, (self.step + 0.5) / self.steps))

    @property
    def learning_rates(self) -> dict[str, float]:
        """The learning rate of each player's last update."""
        return {f"{name}/learning_rate": o.param_groups[0]["lr"] for name, o in self.optimizers.items()}

    def _watch(self, player: str, values: dict[str, Tensor]) -> None:
        """Keep the values of a step; nobody waits for the device, and looking at many steps at once costs nothing."""
        recent = self._recent[player]
        if recent and (len(recent) == KEPT or recent[0][1].keys() != values.keys()):  # a term may come and go
            self._look(player)
        recent.append((self.step + 1, values))

    def _look(self, player: str) -> None:
        """Note, on the device, the first step at which each value kept was not finite, and let the values go."""
        recent = self._recent[player]
        if not recent:
            return
        names = list(recent[0][1])
        finite = torch.isfinite(torch.stack([v for _, values in recent for v in values.values()])).view(-1, len(names))
        steps = torch.tensor([step for step, _ in recent], device=finite.device).unsqueeze(1)
        found = self._first_bad[player]
        for name, first in zip(names, torch.where(finite, NEVER, steps).amin(0), strict=True):
            found[name] = torch.minimum(found[name], first) if name in found else first
        recent.clear()

    def check(self) -> None:
        """Wait for the device and raise if a loss, a term or a gradient has not been finite so far.

        A gradient that is not finite leaves such weights behind, and the next loss shows them; so the weights need
        looking at only here, before anything is logged or saved, which spares each step a pass over the gradients.

        Raises:
            Diverged: names the player, the term and the step (1-based).
        """
        for player, parameters in self.parameters.items():
            last = self._recent[player][-1][0] if self._recent[player] else self.step
            self._look(player)
            found = self._first_bad[player]
            steps = dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True)) if found else {}
            step = min(steps.values(), default=NEVER)
            if step < NEVER:
                bad = [name for name, value in steps.items() if value == step]
                term = min(bad, key=f"{player}/loss".__eq__)  # a term before the loss it made
                raise Diverged(f"player '{player}': {term} is not finite at step {step}")
            if parameters and not torch.stack(torch._foreach_norm(tuple(parameters))).isfinite().all():
                raise Diverged(f"player '{player}': {player}/gradient is not finite at step {last}")

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
