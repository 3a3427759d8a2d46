"""p(x | network outputs): how a decoder's numbers are read as a distribution over data space."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gentool.errors import UsageError
from gentool.probability import bernoulli
from gentool.probability.location_scale import DiscretisedLogistic, Gaussian, Sigma
from gentool.probability.observation import Likelihood
from gentool.space import DataSpace

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretisedLogistic",
    "Gaussian",
    "Likelihood",
    "Name",
    "Sigma",
    "likelihood_for",
]

Name = Literal["auto", "bernoulli", "gaussian", "discretised_logistic", "categorical"]


class Bernoulli(Likelihood):
    """Data of two levels: p(x = 1) = sigmoid(output)."""

    def start(self) -> Tensor:
        """Return the log-odds of each dimension's share of ones, with half a one and half a zero added."""
        n = self.space.examples
        return ((n * self.space.loc + 0.5) / (n + 1)).logit().unsqueeze(0)

    def log_prob(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Return sum_d log sigmoid(±output), + where x is 1; exact for saturated outputs too."""
        return self._sum(bernoulli.log_prob(x, self._output(outputs)))

    def log_table(self, outputs: Tensor) -> Tensor:
        """Return log p of each level, (…, 2), of outputs (…, 1) for one dimension."""
        return functional.logsigmoid(torch.cat([-outputs, outputs], -1))

    def sample(self, outputs: Tensor) -> Tensor:
        """Draw zeros and ones."""
        return self.space.quantise(torch.bernoulli(self.mean(outputs)))

    def mean(self, outputs: Tensor) -> Tensor:
        """Return p(x = 1)."""
        return self._output(outputs).sigmoid()


class Categorical(Likelihood):
    """Any integer levels, unordered: p(x = k) = softmax(outputs)_k."""

    def __init__(self, space: DataSpace) -> None:
        super().__init__(space)
        assert space.levels is not None
        self.outputs_per_dim = space.levels

    def log_prob(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Return sum_d log softmax(outputs)_x."""
        log_p = outputs.log_softmax(self._axis)
        x = x.long().unsqueeze(self._axis)
        batch: tuple[int, ...] = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
            log_p.shape[: self._axis], x.shape[: self._axis]
        )
        log_p, x = (t.expand(*batch, *t.shape[self._axis :]) for t in (log_p, x))
        return self._sum(log_p.gather(self._axis, x).squeeze(self._axis))

    def log_table(self, outputs: Tensor) -> Tensor:
        """Return log p of each level, (…, levels), of outputs (…, levels) for one dimension."""
        return outputs.log_softmax(-1)

    def sample(self, outputs: Tensor) -> Tensor:
        """Draw levels: the largest of the outputs and standard Gumbel noise."""
        noise = -torch.empty_like(outputs).exponential_().log()
        return (outputs + noise).argmax(self._axis).to(self.space.dtype)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return sum_k k p(x = k)."""
        levels = torch.arange(self.outputs_per_dim, device=outputs.device, dtype=outputs.dtype)
        mean: Tensor = outputs.softmax(self._axis).movedim(self._axis, -1) @ levels
        return mean


def chosen(space: DataSpace, name: str, fits: Sequence[str]) -> str:
    """Return the name of a likelihood: the one asked for, the first that fits where that is auto.

    Args:
        space: the data's facts.
        name: what was asked for.
        fits: the likelihoods of such data, the best first.

    Returns:
        One of `fits`.

    Raises:
        UsageError: where what was asked for is none of them; the message names what is.
    """
    if name == "auto" or name in fits:
        return fits[0] if name == "auto" else name
    holds = "reals" if space.levels is None else f"integers of {space.levels} levels"
    hint = " (or dataset.binarize=dynamic)" if name == "bernoulli" and space.is_image else ""
    raise UsageError(f"model.likelihood={name} does not fit data of {holds}; choose auto, {', '.join(fits)}{hint}")


def likelihood_for(space: DataSpace, name: Name, sigma: Sigma) -> Likelihood:
    """Build the likelihood of that name, or the one that fits the space.

    Args:
        space: the data's facts.
        name: auto is bernoulli for 2 levels, categorical for text, discretised_logistic for other levels, gaussian for
            reals.
        sigma: scale of gaussian and discretised_logistic; see `_LocationScale`. The others have none.

    Returns:
        The likelihood.

    Raises:
        UsageError: where it does not fit the data; the message names what does.
    """
    match chosen(space, name, _fitting(space)):
        case "bernoulli":
            return Bernoulli(space)
        case "categorical":
            return Categorical(space)
        case "gaussian":
            return Gaussian(space, sigma)
        case _:
            return DiscretisedLogistic(space, sigma)


def _fitting(space: DataSpace) -> list[Name]:
    if space.levels is None:
        return ["gaussian"]
    if space.vocabulary:
        return ["categorical"]
    ordered: list[Name] = ["discretised_logistic", "gaussian", "categorical"]
    return ["bernoulli", *ordered] if space.levels == 2 else ordered
