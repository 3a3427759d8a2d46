"""How much of the class a model's codes hold, to a linear and to a local reader."""

import torch
from pydantic import PositiveInt
from torch import Tensor

from gentool.errors import Unavailable
from gentool.metrics.evaluation import Evaluation, Result
from gentool.metrics.features import AT_ONCE, examples
from gentool.metrics.likelihood import mean_and_error
from gentool.models.base import Encodes
from gentool.training.rng import fork


def codes(evaluation: Evaluation, num_examples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Encode training and held-out examples; computed once.

    Args:
        evaluation: the model and the data.
        num_examples: training examples at most.

    Returns:
        Codes (n, d) and labels (n,) of training examples, codes (m, d) and labels (m,) of held-out ones; float64.

    Raises:
        Unavailable: if the model has no codes, or they have seen the labels, or there are no labels.
    """
    model = evaluation.model
    if not isinstance(model, Encodes):
        raise Unavailable(f"{type(model).__name__} does not implement Encodes (encode)")
    if model.conditional:
        raise Unavailable("the codes of a model of p(x | y) have seen the label")
    key = ("codes", num_examples)
    if key not in evaluation.kept:
        found: list[Tensor] = []
        for x, y in (examples(evaluation, num_examples, train=True), examples(evaluation)):
            if y is None:
                raise Unavailable("the data has no labels")
            device = evaluation.space.loc.device
            with fork(evaluation.seed, 7), torch.no_grad():
                parts = [model.encode(part.to(device)).cpu() for part in torch.split(x, AT_ONCE)]
            found += [torch.cat(parts).double().flatten(1), y]
        evaluation.kept[key] = tuple(found)
    result: tuple[Tensor, Tensor, Tensor, Tensor] = evaluation.kept[key]
    return result


def vote(z: Tensor, y: Tensor, asked: Tensor, k: int) -> Tensor:
    """Return the class that most of the k nearest training examples have, of each vector asked about.

    Args:
        z: (n, d) vectors of training examples.
        y: (n,) their classes.
        asked: (m, d).
        k: neighbours that vote, each once; of classes that come equally often the first is taken.

    Returns:
        (m,) int64.

    Raises:
        Unavailable: if there are fewer training examples than neighbours.
    """
    from sklearn.neighbors import KNeighborsClassifier

    if len(z) < k:
        raise Unavailable(f"{len(z)} training examples have no {k} neighbours")
    return torch.from_numpy(KNeighborsClassifier(k, algorithm="brute").fit(z.numpy(), y.numpy()).predict(asked.numpy()))


class LinearProbe:
    """The accuracy on held-out examples of a logistic regression from codes to classes, fitted to training examples.

    Codes are standardised by the training examples' mean and deviation; the penalty is scikit-learn's default, C = 1.

    Args:
        num_examples: training examples it is fitted to, at most.
    """

    def __init__(self, *, num_examples: PositiveInt) -> None:
        self.num_examples = num_examples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        z, y, z_held, y_held = codes(evaluation, self.num_examples)
        if len(y.unique()) < 2:  # type: ignore[no-untyped-call]
            raise Unavailable("the training examples are of one class")
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3))
        right = torch.from_numpy(probe.fit(z.numpy(), y.numpy()).predict(z_held.numpy())) == y_held
        return Result(*mean_and_error(right.double()), {"train_examples": len(z), "dims": z.shape[1]})


class NeighbourAccuracy:
    """The accuracy on held-out examples of a vote among the k training examples whose codes are nearest.

    Args:
        k: neighbours that vote, each once.
        num_examples: training examples, at most.
    """

    def __init__(self, *, k: PositiveInt, num_examples: PositiveInt) -> None:
        self.k, self.num_examples = k, num_examples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        z, y, z_held, y_held = codes(evaluation, self.num_examples)
        right = vote(z, y, z_held, self.k) == y_held
        return Result(*mean_and_error(right.double()), {"k": self.k, "train_examples": len(z), "dims": z.shape[1]})
