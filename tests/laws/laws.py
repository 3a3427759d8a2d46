"""The laws: each takes what it is held against and raises AssertionError where it is broken."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log
from typing import Any

import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.models.base import Decodes, Encodes, GenerativeModel, HasLikelihood, Loss, Reconstructs
from gentool.space import DataSpace
from gentool.training.optimizers import Optimizers
from gentool.training.rng import fork, get_state

Law = Callable[..., None]


def same(a: Tensor, b: Tensor, why: str) -> None:
    """Hold two tensors equal, bit for bit."""
    assert a.dtype == b.dtype and torch.equal(a, b), why


def snapshot(model: GenerativeModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def samples_lie_in_the_space(model: GenerativeModel) -> None:
    for n in (1, 5):
        with fork(0):
            x = model.sample(n)
        assert x.shape == (n, *model.space.shape), f"sample({n}) has shape {tuple(x.shape)}"
        assert x.dtype == model.space.dtype, f"samples are {x.dtype}"
        assert not x.requires_grad, "samples carry a graph"
        try:
            model.space.check(x)
        except ValueError as error:
            raise AssertionError(error) from error


def bits_are_nats(model: GenerativeModel, batch: Batch, metrics: Mapping[str, Tensor]) -> None:
    """What training and validation call bits_per_dim is their nats / (dims log 2); nats_per_token is nats / dims.

    Args:
        model: what a training step was taken of.
        batch: the whole of a split.
        metrics: of the step.
    """
    with fork(0):
        report = model.eval().report(lambda: iter([batch]))
    nats = -report["elbo"] if "elbo" in report else None
    for name, each in (("bits_per_dim", log(2)), ("nats_per_token", 1.0)):
        for key in [key for key in metrics if key.endswith(f"/{name}")]:
            loss = metrics[key.replace(name, "loss")]
            torch.testing.assert_close(metrics[key], loss / (model.space.dims * each), rtol=1e-5, atol=1e-6)
        if name in report:
            found = model.objective(batch).mean() if nats is None else nats
            torch.testing.assert_close(report[name], found / (model.space.dims * each), rtol=1e-5, atol=1e-6)


def pictures_lie_in_the_space(model: GenerativeModel) -> None:
    with fork(0):
        x = model.picture(5)
    assert x.shape == (5, *model.space.shape)
    assert torch.isfinite(x).all()
    if model.space.levels is not None:
        assert x.min() >= 0 and x.max() <= model.space.levels - 1


def same_seed_same_sample(model: GenerativeModel) -> None:
    draws = []
    for seed in (3, 3, 4):
        with fork(seed):
            draws.append(model.sample(4))
    same(draws[0], draws[1], "the same seed gave other samples")
    assert not torch.equal(draws[0], draws[2]), "another seed gave the same samples"


def looking_changes_nothing(model: GenerativeModel, batch: Batch) -> None:
    """Sampling, validation and evaluation under a fork leave the random state and the model as they were."""
    before, state, mode = snapshot(model), get_state(), model.training
    with fork(7, 1):
        model.sample(3)
        model.picture(3)
        model.objective(batch)
        model.report(lambda: iter([batch]))
        if isinstance(model, HasLikelihood):
            model.log_prob(batch.x, batch.y, draws=2)
        if isinstance(model, Reconstructs):
            model.reconstruct(batch.x, batch.y)
    for name, value in model.state_dict().items():
        same(value, before[name], f"{name} changed")
    same(get_state()["torch"], state["torch"], "the random state changed")
    assert model.training == mode, "the model's mode changed"
    assert all(p.grad is None for p in model.parameters()), "gradients were left behind"


def players_partition_the_parameters(model: GenerativeModel) -> None:
    owned = [p for parameters in model.players().values() for p in parameters]
    assert len({id(p) for p in owned}) == len(owned), "a parameter belongs to two players"
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in owned if p.requires_grad} == trainable, "players do not cover the parameters"


class Recorder(Optimizers):
    """Optimisers that hold each turn to moving its own player and nothing else."""

    def minimize_together(self, players: Sequence[str], losses: Any, batches: Iterator[Batch]) -> Any:
        own = {id(p) for player in players for p in self.parameters[player]}
        all_of_them = [p for group in self.parameters.values() for p in group]
        before = [p.detach().clone() for p in all_of_them]
        metrics = super().minimize_together(players, losses, batches)
        for p, old in zip(all_of_them, before, strict=True):
            assert id(p) in own or torch.equal(p, old), f"the turn of {list(players)} moved another player"
        assert any(not torch.equal(p, old) for p, old in zip(all_of_them, before, strict=True)), "nothing moved"
        assert all(not value.requires_grad for value in metrics.values()), "metrics carry a graph"
        return metrics


def each_turn_moves_its_own_player(
    model: GenerativeModel, batches: Iterator[Batch], make: Callable[[type[Optimizers]], Optimizers]
) -> None:
    model.train()
    metrics = model.train_step(batches, make(Recorder))
    players = model.players() or {"model": []}  # without parameters the metrics are the model's own
    assert all(name.split("/")[0] in players for name in metrics), f"metrics are {list(metrics)}"


def every_parameter_learns(
    model: GenerativeModel, batches: Iterator[Batch], make: Callable[[type[Optimizers]], Optimizers]
) -> None:
    """Three steps move every trainable parameter: none is left out of the loss."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.train()
    optimizers = make(Optimizers)
    for _ in range(3):
        model.train_step(batches, optimizers)
        optimizers.step += 1
    for name, p in model.named_parameters():
        assert not p.requires_grad or not torch.equal(p, before[name]), f"{name} never moves"


def examples_do_not_see_each_other(model: GenerativeModel, batch: Batch, others: Batch) -> None:
    """In eval mode the objective and log_prob of the first half do not depend on the second."""
    half = len(batch.x) // 2

    def mixed(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a[:half], b[half:]])

    other = Batch(*(mixed(a, b) for a, b in zip(batch, others, strict=True)))
    measures: list[Callable[[Batch], Tensor | None]] = [model.objective]
    if isinstance(model, HasLikelihood):
        measures.append(lambda b: model.log_prob(b.x, b.y, draws=3))
    for measure in measures:
        with fork(0), torch.no_grad():
            a = measure(batch)
        with fork(0), torch.no_grad():
            b = measure(other)
        if a is not None and b is not None:
            assert a.shape == (len(batch.x),), f"one number an example is expected, not {tuple(a.shape)}"
            torch.testing.assert_close(a[:half], b[:half], rtol=1e-5, atol=1e-5)


def saving_and_loading_keeps_samples(model: GenerativeModel, rebuild: Callable[[DataSpace], GenerativeModel]) -> None:
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "space": model.space.state()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = rebuild(DataSpace.from_state(saved["space"]))
    other.load_state_dict(saved["model"])
    other.eval()
    draws = []
    for each in (model, other):
        with fork(2):
            draws.append(each.sample(6))
    same(draws[0], draws[1], "the loaded model draws other samples")


def objective_reaches(model: GenerativeModel, batch: Batch, value: float) -> None:
    """Held against a model trained on this one batch."""
    with fork(0), torch.no_grad():
        objective = model.objective(batch)
    assert objective is not None
    assert objective.mean().item() <= value, f"overfitting reached {objective.mean().item():.3f}, not {value}"


class Listener:
    """A minimizer that applies nothing and keeps the loss it was asked to minimise, at the end of the plan."""

    def __init__(self, batch: Batch) -> None:
        self.step = self.steps = 1000
        self.batch = batch
        self.heard: list[Loss] = []

    def minimize(self, player: str, loss: Callable[[Batch], Loss], batches: Iterator[Batch]) -> dict[str, Tensor]:
        self.heard.append(loss(self.batch))
        return {}

    def minimize_together(self, players: Sequence[str], losses: Any, batches: Iterator[Batch]) -> dict[str, Tensor]:
        raise NotImplementedError

    def sum_over_processes(self, t: Tensor) -> Tensor:
        return t


def objective_is_the_training_loss(model: GenerativeModel, batch: Batch) -> None:
    """With the schedule at its end and the same noise, what best.pt minimises is what training minimises."""
    with fork(0), torch.no_grad():
        objective = model.objective(batch)
    assert objective is not None
    listener = Listener(batch)
    with fork(0):
        metrics = model.train_step(iter([batch]), listener)
    if not model.players():  # a closed-form step says what it set out from
        torch.testing.assert_close(metrics["model/loss"], objective.mean(), check_dtype=False)
        return
    [loss] = listener.heard
    torch.testing.assert_close(loss.total.detach(), objective.mean())
    assert all(not t.requires_grad and t.dim() == 0 for t in loss.terms.values()), "terms are detached scalars"


def latents_decode(model: Decodes, space: DataSpace) -> None:
    with fork(0):
        z = model.sample_latent(6)
    assert len(z) == 6 and torch.isfinite(z).all()
    y = torch.zeros(6, dtype=torch.int64)
    x = model.decode(z, y)
    assert x.shape == (6, *space.shape) and x.is_floating_point()
    same(x, model.decode(z, y), "decode is not deterministic")
    one = torch.cat([model.decode(z[i : i + 1], y[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(x, one, rtol=1e-4, atol=1e-4)


def codes_reconstruct(model: Encodes, batch: Batch) -> None:
    z = model.encode(batch.x, batch.y)
    same(z, model.encode(batch.x, batch.y), "encode is not deterministic")
    if isinstance(model, Reconstructs):
        torch.testing.assert_close(model.reconstruct(batch.x, batch.y), model.decode(z, batch.y))


def pictures_show_the_samples(model: GenerativeModel, draws: int = 400) -> None:
    """Samples scatter about the picture drawn under the same random state."""
    assert isinstance(model, Decodes)
    with fork(5):
        picture = model.picture(draws).double()
    with fork(5):
        x = model.sample(draws).double()
    gap = (x - picture).flatten(1).mean(0)
    error = (x - picture).flatten(1).std(0) / draws**0.5
    assert (gap.abs() <= 5 * error + 1e-3).all(), "pictures and samples do not share their latents"
