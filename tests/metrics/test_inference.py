"""Gaps of inference, on a model whose posterior is known."""

import pytest
import torch

from gentool.errors import Unavailable
from gentool.metrics.inference import AmortisationGap, ApproximationGap, elbos
from gentool.probability import gaussians
from gentool.training.rng import fork, get_state
from tests.laws.linear_gaussian import linear_gaussian
from tests.metrics.models import Normal
from tests.metrics.test_likelihood import evaluation
from tests.spaces import space

SHIFT, WIDER = 0.2, 0.7


def wrong():
    """The model with an encoder off by a shift of every mean and a factor on every variance, and its KL to the truth.

    Both Gaussians are diagonal: KL_j = (sigma_q² / sigma² + shift² / sigma² - 1 - log sigma_q² / sigma²) / 2.
    """
    model, exact = linear_gaussian()
    log_var = model.encoder.body.layers[0].bias[2:].detach().clone()
    with torch.no_grad():
        model.encoder.body.layers[0].bias[:2] += SHIFT
        model.encoder.body.layers[0].bias[2:] += WIDER
    kl = gaussians.kl(SHIFT * (-0.5 * log_var).exp(), torch.tensor(WIDER)).sum().item()
    return model, exact, kl


def held_out(exact, n=150):
    with fork(0):
        return exact.sample((n,))


def test_an_exact_encoder_has_no_gap():
    model, exact = linear_gaussian()
    ours = evaluation(model, held_out(exact))
    assert AmortisationGap(steps=100)(ours).value == pytest.approx(0, abs=2e-3)
    assert ApproximationGap(steps=100, draws=10)(ours).value == pytest.approx(0, abs=0.1)


def test_the_gap_of_a_wrong_encoder_is_its_kl():
    model, exact, kl = wrong()
    ours = evaluation(model, held_out(exact))
    gap = AmortisationGap(steps=100)(ours)
    assert kl > 0.3
    assert gap.value == pytest.approx(kl, abs=4 * gap.standard_error + 0.01)
    assert gap.protocol == {"kind": "bound", "draws": 10, "steps": 100}


def test_the_two_gaps_make_up_the_distance_of_the_elbo():
    model, exact, _ = wrong()
    ours = evaluation(model, held_out(exact))
    first, second = AmortisationGap(steps=50)(ours), ApproximationGap(steps=50, draws=500)(ours)
    whole = (ours.log_prob(500) - elbos(ours, 0)).mean().item()
    assert first.value + second.value == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("fault", ["the entropy is left out", "no step is taken"])
def test_the_known_kl_catches_a_climb_that_goes_elsewhere(fault, monkeypatch):
    model, exact, kl = wrong()
    if fault == "no step is taken":
        monkeypatch.setattr("gentool.models.vae.refine", lambda log_joint, q, steps: q)
    else:
        climb = model._log_joint
        model.__dict__["_log_joint"] = lambda x, y, beta=1.0: lambda z: 9 * climb(x, y)(z)
    gap = AmortisationGap(steps=100)(evaluation(model, held_out(exact)))
    assert abs(gap.value - kl) > 0.1


def test_measuring_leaves_the_random_state_and_the_model_alone():
    model, exact, _ = wrong()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, get_state()["torch"]
    AmortisationGap(steps=3)(evaluation(model, held_out(exact, 5)))
    assert torch.equal(get_state()["torch"], state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_models_without_a_posterior_say_so():
    with pytest.raises(Unavailable, match="Normal does not implement Infers"):
        AmortisationGap(steps=1)(evaluation(Normal(space((2,))), torch.zeros(3, 2)))
