"""Evaluations of samples against examples, without a model or a file."""

from functools import partial

import torch

from gentool.batch import Batch
from gentool.metrics.evaluation import BLOCK, Data, Evaluation


def passes(x, y=None, size=BLOCK):
    for rows in torch.arange(len(x)).split(size):
        yield Batch(x[rows], None if y is None else y[rows], rows)


def evaluation(
    space, given, held_out, *, labels=None, train=None, train_labels=None, model=None, density=None, size=BLOCK, seed=0
):
    """Return an evaluation of samples `given` (or of a model) against examples `held_out`."""
    train = held_out if train is None else train
    return Evaluation(
        model,
        partial(passes, held_out, size=size),
        len(held_out),
        seed=seed,
        density=density,
        data=Data(space, partial(passes, held_out, labels, size), partial(passes, train, train_labels, size)),
        given=given,
        say=lambda line: None,
    )
