"""Small instances of every configured model, on small data, at initialisation and after some steps of training."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from gentool.batch import Batch
from gentool.cli.arguments import read
from gentool.cli.compose import composer, plain
from gentool.models.base import GenerativeModel
from gentool.space import DataSpace
from gentool.training.optimizers import Optimizers
from gentool.training.rng import fork
from tests.spaces import space

CONFIGS = Path(__file__).parents[2] / "configs"
TINY: Mapping[str, Any] = {
    path.stem: OmegaConf.to_container(OmegaConf.load(path))
    for path in sorted((Path(__file__).parents[1] / "tiny").glob("*.yaml"))
}
MODELS = sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))

SPACES: Mapping[str, DataSpace] = {
    "points": space((2,), classes=2, loc=1.0, scale=2.0),
    "binary": space((1, 5, 4), levels=2, classes=2),
    "grey": space((1, 4, 4), levels=17, classes=2),
    "colour": space((3, 6, 7), levels=256, classes=2),
    "states": space((1, 3, 3), levels=2, classes=2),  # 512 examples are all there can be
    "words": space((5,), levels=3, classes=2, vocabulary=("a", "b", "c")),  # 243
}
BATCH = 32


def examples(data: str, n: int = BATCH, seed: int = 0, distinct: int | None = None) -> Batch:
    """Draw n examples of a toy set: two classes, each a pattern with noise; `distinct`: that many, repeated."""
    g = torch.Generator().manual_seed(seed)
    where = SPACES[data]
    patterns = torch.rand(2, *where.shape, generator=torch.Generator().manual_seed(5))
    count = distinct or n
    y = torch.arange(count) % 2
    noise = torch.randn(count, *where.shape, generator=g)
    if where.levels is None:
        x = where.to_data(4 * (patterns[y] - 0.5) + 0.3 * noise)
    else:
        x = where.quantise((patterns[y] + 0.2 * noise) * (where.levels - 1))
    rows = torch.arange(n) % count
    return Batch(x[rows], y[rows], rows)


def endless(data: str, seed: int = 1) -> Iterator[Batch]:
    """Yield batches for ever."""
    while True:
        seed += 1
        yield examples(data, seed=seed)


@cache
def composed(model: str, *overrides: str) -> Any:
    """Compose the model and its optimiser as `gentool train model=…` does, at small sizes."""
    with composer("train") as compose:
        small = TINY.get(model, {"overrides": []})["overrides"]  # test_has_small_sizes names those without
        config = plain(
            compose(read("train", [f"model={model}", "dataset=digits", *small, *overrides]).overrides), "train"
        )
    return OmegaConf.create({"model": config["model"], "optimizer": config["optimizer"]})


def build(model: str, data: str, *overrides: str, seed: int = 0) -> GenerativeModel:
    """Build a small model, seeded."""
    with fork(seed):
        built: GenerativeModel = instantiate(composed(model, *overrides).model, _convert_="all")(SPACES[data])
    return built


def minimizer(
    name: str, model: GenerativeModel, steps: int, kind: type[Optimizers] = Optimizers, **to: Any
) -> Optimizers:
    """Make the optimisers that `configs` names for a model, at a constant rate."""
    factory = instantiate(composed(name).optimizer, _convert_="all")
    return kind(
        model,
        partial(factory, **to) if to and callable(factory) else factory,
        lambda t: 1.0,
        steps=steps,
        accumulate=1,
        clip_norm=None,
    )


def train(name: str, model: GenerativeModel, batches: Iterator[Batch], steps: int, **to: Any) -> GenerativeModel:
    """Train for some steps."""
    optimizers = minimizer(name, model, steps, **to)
    model.train()
    if steps:
        first = list(islice(batches, 2))
        model.begin(lambda: iter(first))
    for _ in range(steps):
        model.train_step(batches, optimizers)
        optimizers.step += 1
    optimizers.check()
    return model


@dataclass(frozen=True)
class Subject:
    """A model that a law is held against.

    Attributes:
        name: its file in configs/model.
        data: the toy set.
        steps: training steps it has had.
        overrides: typed on top of those in tests/tiny.
    """

    name: str
    data: str
    steps: int = 0
    overrides: tuple[str, ...] = ()

    def __str__(self) -> str:
        variant = "-".join(o.split(".")[-1] for o in self.overrides)
        return "-".join(part for part in (self.name, variant, self.data, f"{self.steps}steps") if part)

    def model(self) -> GenerativeModel:
        """Return a model of its own, in eval mode."""
        fresh = build(self.name, self.data, *self.overrides)
        fresh.load_state_dict(_weights(self))
        return fresh.eval()

    def batch(self, n: int = BATCH, seed: int = 1000) -> Batch:
        """Return held-out examples."""
        return examples(self.data, n, seed)


@cache
def _weights(subject: Subject) -> Mapping[str, Any]:
    with fork(1):
        model = build(subject.name, subject.data, *subject.overrides)
        return train(subject.name, model, endless(subject.data), subject.steps, lr=1e-2).state_dict()


@cache
def family(model: str) -> type[GenerativeModel]:
    """Return the class that a file of configs/model builds."""
    found: type[GenerativeModel] = get_class(composed(model).model["_target_"])
    return found


def subjects(variant: str | None = None, *, having: str | None = None, of: type | None = None) -> list[Subject]:
    """List every model on its data, untrained and after 20 steps.

    Args:
        variant: a key of tests/tiny that names further overrides; only the models that have it.
        having: an attribute that the model's class must have.
        of: a class the model's class must be or descend from.
    """
    found = []
    for name in MODELS:
        entry = TINY.get(name, {"data": []})
        if not entry["data"] or (variant and variant not in entry) or (having and not hasattr(family(name), having)):
            continue
        if of is not None and not issubclass(family(name), of):
            continue
        overrides = tuple(entry[variant]) if variant else ()
        found += [Subject(name, data, steps, overrides) for data in entry["data"] for steps in (0, 20)]
    return found
