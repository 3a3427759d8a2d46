"""Metrics of a likelihood: nats an example, and bits a dimension."""

from math import log, sqrt

import torch
from torch import Tensor

from gentool.errors import Unavailable
from gentool.metrics.evaluation import Density, Draws, Evaluation, Result


def mean_and_error(values: Tensor) -> tuple[float, float | None]:
    """Return the mean of (n,) values and its standard error s / sqrt(n), s with n - 1; None for one value."""
    error = float(values.std()) / sqrt(len(values)) if len(values) > 1 else None
    return float(values.mean()), error


def bits_per_dim(nats: float, dims: int) -> float:
    """Turn nats an example into bits a dimension: nats / (dims ln 2).

    >>> round(bits_per_dim(784 * log(256), 784), 12)
    8.0
    """
    return nats / (dims * log(2))


class NegativeLogLikelihood:
    """-log p(x), nats an example: exact, a bound, or by importance sampling, as the model's likelihood is.

    Args:
        draws: of log p(x) of each example.

    Reference: Importance Weighted Autoencoders, Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, 2015,
        https://arxiv.org/abs/1509.00519
    """

    def __init__(self, *, draws: Draws) -> None:
        self.draws = draws

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        kind = evaluation.likelihood().likelihood
        draws = evaluation.draws(self.draws)
        mean, error = mean_and_error(-evaluation.log_prob(draws))
        return Result(mean, error, {"n": evaluation.n, "kind": kind, "draws": draws})


class Elbo:
    """The evidence lower bound, nats an example, by one draw of the posterior for each example.

    Reference: Auto-Encoding Variational Bayes, Diederik P. Kingma and Max Welling, 2013,
        https://arxiv.org/abs/1312.6114
    """

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        kind = evaluation.likelihood().likelihood
        if kind not in ("importance", "bound"):
            raise Unavailable(f"the likelihood of {type(evaluation.model).__name__} is no bound ({kind}): see nll")
        mean, error = mean_and_error(evaluation.log_prob(1))
        return Result(mean, error, {"n": evaluation.n, "kind": "bound", "draws": 1})


class BitsPerDim:
    """-log2 p(x) / dims, of data of integer levels.

    Args:
        draws: of log p(x) of each example.
    """

    def __init__(self, *, draws: Draws) -> None:
        self.draws = draws

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        space = evaluation.model.space
        if space.levels is None:
            raise Unavailable("bits a dimension need data of integer levels; this data is real: see nll, in nats")
        nll = NegativeLogLikelihood(draws=self.draws)(evaluation)
        error = None if nll.standard_error is None else bits_per_dim(nll.standard_error, space.dims)
        return Result(bits_per_dim(nll.value, space.dims), error, nll.protocol)


class EntropyGap:
    """Nats that -log p(x) lies above the entropy of the density the data was drawn from, which no model undercuts.

    Its noise is that of the test set, whose own -log density is not its entropy; `KullbackLeibler` is rid of it.

    Args:
        draws: of log p(x) of each example.
    """

    def __init__(self, *, draws: Draws) -> None:
        self.draws = draws

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        entropy = _density(evaluation).entropy()
        value, error, protocol = NegativeLogLikelihood(draws=self.draws)(evaluation)
        return Result(value - entropy, error, {**protocol, "entropy": round(entropy, 6)})


class KullbackLeibler:
    """KL(data || model) = E[log density(x) - log p(x)] over the examples, of data from a known density; nats.

    Args:
        draws: of log p(x) of each example.
    """

    def __init__(self, *, draws: Draws) -> None:
        self.draws = draws

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        density = _density(evaluation)
        protocol = NegativeLogLikelihood(draws=self.draws)(evaluation).protocol
        truth = torch.cat([density.log_prob(block.x.cpu().double()) for block in evaluation.blocks()])
        return Result(*mean_and_error(truth - evaluation.log_prob(int(protocol["draws"]))), protocol)


def _density(evaluation: Evaluation) -> Density:
    if evaluation.density is None:
        raise Unavailable("the density this data was drawn from is not known")
    return evaluation.density


class NatsPerToken:
    """-log p(x) / length, of text: the mean over all tokens of the split, each counted once.

    Windows lie end to end, and the first tokens of each are predicted from the few before them in it: longer windows
    give smaller values.

    Args:
        draws: of log p(x) of each window.
    """

    def __init__(self, *, draws: Draws) -> None:
        self.draws = draws

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        space = evaluation.model.space
        if not space.vocabulary:
            raise Unavailable("tokens are of text, and this data is none")
        nll = NegativeLogLikelihood(draws=self.draws)(evaluation)
        error = None if nll.standard_error is None else nll.standard_error / space.dims
        protocol = {**nll.protocol, "tokens": evaluation.n * space.dims, "context": space.dims}
        return Result(nll.value / space.dims, error, protocol)
