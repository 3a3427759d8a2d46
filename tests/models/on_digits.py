"""Models as the command line configures them, trained for seconds on the small digits."""

from functools import cache

import torch
from hydra.utils import instantiate
from sklearn.datasets import load_digits
from torch import Tensor

from gentool.batch import Batch
from gentool.cli.arguments import read
from gentool.cli.compose import composer, plain
from gentool.models.base import GenerativeModel
from gentool.space import DataSpace
from gentool.training.optimizers import Optimizers
from gentool.training.rng import fork
from tests.spaces import space

DIGITS = space((1, 8, 8), levels=17, classes=10)


def configured(name: str, where: DataSpace, *overrides: str) -> GenerativeModel:
    with composer("train") as compose:
        config = plain(compose(read("train", [f"model={name}", "dataset=digits", *overrides]).overrides), "train")
    with fork(0):
        model: GenerativeModel = instantiate(config["model"], _convert_="all")(where)
    return model


def trained(model: GenerativeModel, x: Tensor, y: Tensor | None, steps: int, lr: float) -> GenerativeModel:
    """Train on batches of 64, the rate falling to nothing, and finish."""
    optimizers = Optimizers(
        model, lambda p: torch.optim.Adam(p, lr), lambda t: 1 - t, steps=steps, accumulate=1, clip_norm=None
    )
    everything = Batch(x, y, torch.arange(len(x)))
    with fork(0):
        for _ in range(steps):
            rows = torch.randint(len(x), (64,))
            model.train_step(iter([Batch(*(None if t is None else t[rows] for t in everything))]), optimizers)
            optimizers.step += 1
        model.eval()
        with torch.no_grad():
            model.finish(lambda: iter([everything]))
    return model


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the even rows of the digits to train on and the odd ones to test on: x, y, x, y."""
    x, y = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(x).to(torch.uint8).reshape(-1, 1, 8, 8), torch.from_numpy(y).long()
    return images[::2], labels[::2], images[1::2], labels[1::2]
