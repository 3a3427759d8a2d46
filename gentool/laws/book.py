"""The list of laws, each with the capability it goes with, and what became of each on one model."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from gentool.errors import Unavailable
from gentool.laws import bound, density, every, structure
from gentool.laws.subject import Broken, Subject, Untried
from gentool.models.base import Completes, GenerativeModel
from gentool.models.claims import Factorises, Inverts, Mixes


class Law(NamedTuple):
    """One law.

    Attributes:
        name: in words, as a claim.
        of: what claims it: a capability.
        applies: whether a model claims it.
        holds: tries it: returns what was measured, or raises `Broken` or `Untried`.
    """

    name: str
    of: str
    applies: Callable[[GenerativeModel], bool]
    holds: Callable[[Subject], str]


class Verdict(NamedTuple):
    """What became of a law.

    Attributes:
        law: its name.
        result: whether it holds.
        detail: what was measured, or why it was not tried.
    """

    law: str
    result: Literal["holds", "broken", "not tried"]
    detail: str


def _is(capability: type) -> Callable[[GenerativeModel], bool]:
    def implements(model: GenerativeModel) -> bool:
        return isinstance(model, capability)

    return implements


def _any(model: GenerativeModel) -> bool:
    return True


LAWS = [
    Law("samples lie in the space", "every model", _any, every.samples_lie_in_the_space),
    Law("the same seed gives the same samples", "every model", _any, every.same_seed_same_samples),
    Law("looking changes nothing", "every model", _any, every.looking_changes_nothing),
    Law("saving and loading keeps the samples", "every model", _any, every.saving_and_loading_keeps_the_samples),
    Law("examples do not see each other", "every model", _any, every.examples_do_not_see_each_other),
    Law("the probabilities sum to 1", "exact", density.is_discrete, density.probabilities_sum_to_one),
    Law("samples follow the probabilities", "exact", density.is_discrete, density.samples_follow_the_probabilities),
    Law("the density integrates to 1", "exact", density.is_real, density.density_integrates_to_one),
    Law("samples follow the density", "exact", density.is_real, density.samples_follow_the_density),
    Law("p(x) sums p(x | y) over the classes", "exact", density.is_labelled, density.labels_are_summed_over),
    Law("the bound rises with draws", "bound", bound.is_bound, bound.bound_rises_with_draws),
    Law("the bound lies below log p(x)", "Marginalises", bound.is_marginal, bound.bound_lies_below_log_prob),
    Law("the mixture's weights sum to 1", "Mixes", _is(Mixes), structure.weights_sum_to_one),
    Law("decode is a function of the code", "Decodes", structure.is_decoder, structure.decoding_is_a_function),
    Law("reconstructions are decoded codes", "Encodes, Reconstructs", structure.is_autoencoder,
        structure.reconstructions_are_decoded_codes),
    Law("decode(encode(x)) = x", "Inverts", _is(Inverts), structure.decoding_inverts_encoding),
    Law("the log-determinant is the Jacobian's", "Inverts", _is(Inverts), structure.log_det_is_the_jacobians),
    Law("outputs see what is before them alone", "Factorises", _is(Factorises),
        structure.outputs_see_what_is_before_them_alone),
    Law("caches change no sample", "Factorises", _is(Factorises), structure.caches_change_no_sample),
    Law("the score is minus the energy's gradient", "HasFields", structure.is_energy,
        structure.score_is_minus_the_energys_gradient),
    Law("completion keeps what is known", "Completes", _is(Completes), structure.completion_keeps_what_is_known),
]  # fmt: skip
"""Every law there is, in the order in which they are tried."""


def verify(subject: Subject, say: Callable[[Verdict], Any] = lambda verdict: None) -> list[Verdict]:
    """Hold a model to every law that its capabilities claim.

    Args:
        subject: the model and examples.
        say: is told each verdict as soon as it is there.

    Returns:
        One verdict a law.
    """
    verdicts = []
    for law in LAWS:
        if law.applies(subject.model):
            verdicts.append(_tried(law, subject))
            say(verdicts[-1])
    return verdicts


def _tried(law: Law, subject: Subject) -> Verdict:
    try:
        return Verdict(law.name, "holds", law.holds(subject))
    except Broken as broken:
        return Verdict(law.name, "broken", str(broken))
    except (Untried, Unavailable) as reason:
        return Verdict(law.name, "not tried", str(reason))
    except Exception as error:  # a model that fails where its capability says it works breaks the law
        return Verdict(law.name, "broken", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
