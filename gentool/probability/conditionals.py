"""Which p(x_i | x_<i) there are for the data."""

from typing import Literal

from gentool.probability.likelihoods import Bernoulli, Categorical, chosen
from gentool.probability.mixture_likelihoods import GaussianMixture, LogisticMixture
from gentool.space import DataSpace

Name = Literal["auto", "bernoulli", "categorical", "logistic_mixture", "gaussian_mixture"]

FEW_LEVELS = 32
"""Up to so many levels `auto` gives each a number of its own; more are ordered bins, which need less data."""


def conditional_for(
    space: DataSpace, name: Name, components: int
) -> Bernoulli | Categorical | LogisticMixture | GaussianMixture:
    """Build the likelihood of that name, or the one that fits the space.

    Args:
        space: the data's facts.
        name: auto is bernoulli for 2 levels, categorical for text and up to 32 levels, logistic_mixture for more,
            gaussian_mixture for reals.
        components: of a mixture.

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
        case "logistic_mixture":
            return LogisticMixture(space, components)
        case _:
            return GaussianMixture(space, components)


def _fitting(space: DataSpace) -> list[Name]:
    if space.levels is None:
        return ["gaussian_mixture"]
    if space.vocabulary:
        return ["categorical"]
    if space.levels == 2:
        return ["bernoulli", "categorical"]
    return ["categorical", "logistic_mixture"] if space.levels <= FEW_LEVELS else ["logistic_mixture", "categorical"]
