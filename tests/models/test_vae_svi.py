"""A table of posteriors: rows climb, others stay, and what is new to the table ends where a row would."""

import pytest
import torch

from gentool.batch import Batch
from gentool.models.vae import VAE
from gentool.probability import per_example
from gentool.probability.per_example import PerExample
from gentool.probability.posterior import Posterior
from gentool.training.rng import fork
from tests.laws.laws import Listener
from tests.laws.linear_gaussian import linear_gaussian
from tests.laws.subjects import Subject, build, endless, examples, minimizer, train

STEPS = "model.sampler.steps=100"


def tabled() -> tuple[VAE, torch.distributions.MultivariateNormal]:
    """The linear-Gaussian model with a table where its encoder was."""
    model, exact = linear_gaussian()
    model.encoder = PerExample(model.space, 4, 0, steps=2, rate=0.3)
    model.sampler["steps"] = 100
    return model, exact


def a_new_example_ends_at_the_exact_posterior() -> None:
    """Its dimensions are independent, so the Gaussian of best ELBO is p(z | x) itself, and the ELBO log p(x)."""
    amortised, exact = linear_gaussian()
    model, _ = tabled()
    torch.manual_seed(0)
    x = exact.sample((30,))
    theirs, ours = amortised._posterior(x, None), model._posterior(x, None)
    torch.testing.assert_close(ours.mu, theirs.mu, atol=0.005, rtol=0)
    torch.testing.assert_close(ours.log_var, theirs.log_var, atol=0.02, rtol=0)
    torch.testing.assert_close(model.log_prob(x, draws=20), exact.log_prob(x), atol=2e-3, rtol=0)


def rows_reach_the_exact_posterior_and_others_stay() -> None:
    model, exact = tabled()
    x = exact.sample((10,))
    rows = torch.arange(10) * 3
    with fork(0):
        for visit in range(100):
            model.loss(Batch(x, None, rows), 1.0, visit / 100)
    q = Posterior(*model.encoder.rows[rows].chunk(2, 1))
    amortised, _ = linear_gaussian()
    theirs = amortised._posterior(x, None)
    torch.testing.assert_close(q.mu, theirs.mu, atol=0.05, rtol=0)
    torch.testing.assert_close(q.log_var, theirs.log_var, atol=0.05, rtol=0)
    others = torch.ones(64, dtype=torch.bool).index_fill(0, rows, False)
    assert not model.encoder.rows[others].any(), "rows that no batch held moved"


def a_visits_steps_shrink_as_training_goes_on(monkeypatch) -> None:
    """Of each of a visit's steps the rate is 0.3 (1 - 0.9 t), and the entropy weighs what the KL does at t."""
    model, exact = tabled()
    model.beta, model.kl_warm_up = 4.0, 0.5
    heard, ascend = [], per_example.ascend

    def listening(log_joint, q, *, rates, noise, weight):
        heard.append((rates, weight))
        return ascend(log_joint, q, rates=rates, noise=noise, weight=weight)

    with monkeypatch.context() as context:
        context.setattr(per_example, "ascend", listening)
        for step in (0, 25, 100):
            listener = Listener(Batch(exact.sample((4,)), None, torch.arange(4)))
            listener.step, listener.steps = step, 100
            model.train_step(iter([]), listener)
    for (rates, weight), expected in zip(heard, [(0.3, 0.0), (0.2325, 2.0), (0.03, 4.0)], strict=True):
        assert (rates, weight) == (pytest.approx([expected[0]] * 2), expected[1])


def test_a_new_example_ends_at_the_exact_posterior():
    a_new_example_ends_at_the_exact_posterior()


def test_rows_reach_the_exact_posterior_and_others_stay():
    rows_reach_the_exact_posterior_and_others_stay()


def test_a_visits_steps_shrink_as_training_goes_on(monkeypatch):
    a_visits_steps_shrink_as_training_goes_on(monkeypatch)


def _visits(change):
    visit = PerExample.visit
    return "visit", lambda self, index, log_joint, *sizes: visit(self, *change(index, log_joint, *sizes))


def _without_the_prior(self, x, y, beta=1.0):
    return lambda z: self._reconstruction(x, z, y)


FAULTS = [
    (a_new_example_ends_at_the_exact_posterior, VAE, "_log_joint", _without_the_prior),
    (rows_reach_the_exact_posterior_and_others_stay, PerExample, *_visits(lambda i, f, t, w: (i + 1, f, t, w))),
    (rows_reach_the_exact_posterior_and_others_stay, PerExample, *_visits(lambda i, f, t, w: (i, f, t, 2 * w))),
    (rows_reach_the_exact_posterior_and_others_stay, PerExample, "_keep", lambda self, index, rows: None),
    (a_visits_steps_shrink_as_training_goes_on, PerExample, *_visits(lambda i, f, t, w: (i, f, 0.0, w))),
    (a_visits_steps_shrink_as_training_goes_on, PerExample, *_visits(lambda i, f, t, w: (i, f, t, 1.0))),
]


@pytest.mark.parametrize(("law", "owner", "name", "fault"), FAULTS)
def test_laws_catch_their_faults(law, owner, name, fault, monkeypatch):
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(AssertionError):
        law(*[monkeypatch] * law.__code__.co_argcount)


def test_training_loss_of_fitted_rows_is_the_objective_of_new_examples():
    """Both are the negative ELBO under the same weights and noise; only the climb of q differs, and that has ended."""
    model, exact = tabled()
    x = exact.sample((20,))
    batch = Batch(x, None, torch.arange(20))
    q = model._posterior(x, None)
    model.encoder.rows[:20] = torch.cat(q, 1)
    model.encoder.rate = 1e-9
    with fork(1):
        total = model.loss(batch, 1.0).total
    with fork(1):
        torch.randn(2, 20, 2), torch.randn(2, 20, 2)  # the noise of the two steps that go nowhere
        objective = model.objective(batch)
    torch.testing.assert_close(total.detach(), objective.detach().mean(), atol=1e-2, rtol=0)


def test_the_decoder_is_the_only_player_and_the_table_is_saved():
    model = build("vae_svi", "binary")
    names = {name for name, _ in model.named_parameters()}
    assert names and all(name.startswith("decoder.") for name in names)
    assert model.state_dict()["encoder.rows"].shape == (64, 4)


def test_posteriors_are_a_function_of_the_example_alone():
    """Not of the random state, not of the batch, and the model's weights and the caller's no_grad are as before."""
    model = Subject("vae_svi", "binary", 20).model()
    x = examples("binary", 12, seed=3).x
    with torch.no_grad():
        whole = model.encode(x)
    torch.manual_seed(5)
    parts = torch.cat([model.encode(x[i : i + 5]) for i in range(0, 12, 5)])
    torch.testing.assert_close(whole, parts, atol=1e-4, rtol=1e-4)
    assert not whole.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_more_steps_fit_a_new_example_better():
    model = Subject("vae_svi", "binary", 20).model()
    x = examples("binary", 32, seed=3).x
    values = []
    for steps in (0, 5, 100):
        model.sampler["steps"] = steps
        with fork(0):
            values.append(model.elbo(x, draws=50).mean().item())
    assert values[0] < values[1] < values[2]


def test_resumed_training_is_bit_exact():
    def trained(model, batches, optimizers, steps):
        for _ in range(steps):
            model.train_step(batches, optimizers)
            optimizers.step += 1
        return model

    batches = [next(endless("binary", seed)) for seed in range(6)]
    with fork(0):
        model = build("vae_svi", "binary")
        whole = trained(model, iter(batches), minimizer("vae_svi", model, 6), 6).state_dict()
    with fork(0):
        model = build("vae_svi", "binary")
        first = minimizer("vae_svi", model, 6)
        trained(model, iter(batches), first, 3)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        other = build("vae_svi", "binary", seed=9)
        other.load_state_dict(state)
        second = minimizer("vae_svi", other, 6)
        second.load(first.state())
        second.step = 3
        found = trained(other, iter(batches[3:]), second, 3).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in whole.items())


@pytest.mark.parametrize("data", ["points", "binary"])
def test_training_lowers_the_objective_of_new_examples(data):
    new = examples(data, 32, seed=1000)
    values = []
    for steps in (0, 60):
        with fork(0):
            model = train("vae_svi", build("vae_svi", data, STEPS), endless(data), steps, lr=1e-2).eval()
            values.append(model.objective(new).mean().item())
    assert values[1] < values[0] - 1
