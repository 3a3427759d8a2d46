"""What only the VAE claims: annealing, free bits, the k-draw bound, its report, labels, refusals."""

import math
from typing import Any

import pytest
import torch

from gentool.batch import Batch
from gentool.errors import UsageError
from gentool.models.vae import VAE, Posterior
from gentool.nn import decoder, encoder
from gentool.probability import gaussians
from gentool.probability.likelihoods import Categorical, DiscretisedLogistic, Gaussian
from gentool.space import DataSpace
from gentool.training.rng import fork
from tests.laws.laws import Listener
from tests.models.on_digits import DIGITS, configured, digits, trained
from tests.spaces import space

BINARY = space((1, 4, 4), levels=2, classes=3)
SAMPLER = {"mean": True, "temperature": 1.0, "steps": 0}
NETWORK: dict[str, Any] = {"kind": "mlp", "hidden_features": [8], "hidden_channels": [4], "activation": "relu"}


def vae(where: DataSpace = BINARY, **options: Any) -> VAE:
    defaults: dict[str, Any] = {
        "latent_dim": 2,
        "likelihood": "auto",
        "sigma": "learned",
        "beta": 1.0,
        "kl_warm_up": 0.0,
        "free_bits": 0.0,
        "draws": 1,
        "conditional": False,
        "encoder": lambda *args: encoder(*args, **NETWORK),
        "decoder": lambda *args: decoder(*args, **NETWORK),
        "prior": "normal",
        "components": 3,
        "sampler": SAMPLER,
    }
    with fork(0):
        return VAE(where, **{**defaults, **options})


def batch(n: int = 6) -> Batch:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (n, 1, 4, 4), generator=g, dtype=torch.uint8)
    return Batch(x, torch.arange(n) % 3, torch.arange(n))


def weight_of_kl(model: VAE, step: int, steps: int) -> float:
    listener = Listener(batch())
    listener.step, listener.steps = step, steps
    model.train_step(iter([]), listener)
    return listener.heard[0].terms["beta"].item()


def test_kl_warms_up_over_its_share_of_the_steps():
    model = vae(beta=4.0, kl_warm_up=0.5)
    assert [weight_of_kl(model, step, 100) for step in (0, 25, 50, 99)] == [0.0, 2.0, 4.0, 4.0]
    assert weight_of_kl(vae(beta=4.0), 0, 100) == 4.0


def test_total_weighs_the_kl_by_beta_and_elbo_does_not():
    model = vae()
    with fork(1):
        loss = model.loss(batch(), 3.0)
    terms = loss.terms
    torch.testing.assert_close(loss.total.detach(), 3 * terms["kl"] - terms["reconstruction"])
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])


@pytest.mark.parametrize("deaf", [False, True])
def test_a_larger_beta_pays_for_fewer_nats_of_code_with_blurrier_digits(deaf: bool):
    x, _, test, _ = digits()
    found = []
    for beta in (0.5, 4.0):
        model = configured("beta_vae", DIGITS, f"model.beta={beta}")
        if deaf:
            model.beta = 1.0
        trained(model, x, None, 300, 2e-3)
        with fork(0):
            found.append(model.report(lambda: iter([Batch(test, None, torch.arange(len(test)))])))
    (mild, blurs), (strong, blurred) = ((float(r["kl"]), float(r["reconstruction"])) for r in found)
    assert (strong < 0.3 * mild and blurred < blurs - 10) != deaf


def test_free_bits_cost_nothing_and_push_nothing():
    """Below the allowance a latent's KL is a constant: no gradient reaches the encoder through it."""
    model = vae(free_bits=50.0)
    with fork(1):
        loss = model.loss(batch(), 1.0)
    torch.testing.assert_close(loss.total.detach(), 2 * 50.0 - loss.terms["reconstruction"])
    q = model._posterior(batch().x, None)
    kl = gaussians.kl(q.mu, q.log_var)
    allowed = kl.detach().median().item()
    model = vae(free_bits=allowed)
    with fork(1):
        objective = model.objective(batch())
    with fork(1):
        plain = vae().objective(batch())
    torch.testing.assert_close(objective - plain, (allowed - kl).clamp(min=0).sum(1))


def test_k_draws_train_the_importance_weighted_bound():
    """draws=k: the objective is the same number as -log_prob(draws=k) under the same noise."""
    model = vae(draws=7)
    with fork(1), torch.no_grad():
        objective = model.objective(batch())
    with fork(1):
        bound = model.log_prob(batch().x, draws=7)
    torch.testing.assert_close(objective, -bound)


def test_beta_is_the_power_of_each_draws_ratio():
    """-log (1/k) sum_i p(x | z_i) (p(z_i) / q(z_i | x))^beta."""
    model = vae(draws=5, beta=3.0)
    with fork(1), torch.no_grad():
        objective = model.objective(batch())
    with fork(1), torch.no_grad():
        log_p_x, log_ratio = model._weights(batch().x, None, model._posterior(batch().x, None), 5)
    torch.testing.assert_close(objective, math.log(5) - (log_p_x + 3 * log_ratio).logsumexp(0))


def test_gradient_of_the_bound_weighs_draws_by_their_importance():
    """d/dtheta of -log mean w is -sum softmax(log w) d log w, not a mean, not a softmax of losses."""
    model = vae(draws=5)
    with fork(1):
        model.objective(batch()).sum().backward()
    found = model.decoder.body.layers.layers[0].weight.grad.clone()
    model.zero_grad()
    with fork(1):
        q = model._posterior(batch().x, None)
        log_p_x, log_ratio = model._weights(batch().x, None, q, 5)
    log_w = log_p_x + log_ratio
    (-(log_w.detach().softmax(0) * log_w).sum()).backward()
    torch.testing.assert_close(found, model.decoder.body.layers.layers[0].weight.grad)


def test_chunks_of_draws_add_up(monkeypatch):
    """Memory is bounded by drawing in chunks; the value is that of all draws together."""
    model = vae()
    sizes = []
    draw = model._draw
    model.__dict__["_draw"] = lambda q, draws: sizes.append(draws) or draw(q, draws) * 0 + q.mu
    whole = model.log_prob(batch().x, draws=10)
    assert sizes == [10]
    monkeypatch.setattr("gentool.models.vae.CHUNK", 3 * 6 * 16)
    torch.testing.assert_close(model.log_prob(batch().x, draws=10), whole)
    assert sizes == [10, 3, 3, 3, 1]


def test_labels_are_inferred_by_the_whole_bound():
    """log p(y) + log p(x | z, y) - KL at the posterior's mean; without the KL other labels would win."""
    model, x = vae(conditional=True), batch(60).x
    with torch.no_grad():
        model.encoder.body.layers[-1].weight.mul_(10)  # posteriors far from the prior, each label's by its own way
    scores, free = [], []
    for label in range(3):
        y = torch.full((60,), label)
        with torch.no_grad():
            q = model._posterior(x, y)
            log_p_x = model._reconstruction(x, q.mu[None], y)[0]
        scores.append(log_p_x - gaussians.kl(*q).sum(1))
        free.append(log_p_x)
    log_p_y = model.space.frequencies.log()[:, None]
    found = model.infer_labels(x)
    assert torch.equal(found, (torch.stack(scores) + log_p_y).argmax(0))
    assert not torch.equal(found, (torch.stack(free) + log_p_y).argmax(0))


def test_report_counts_active_units_and_is_independent_of_the_batches():
    model = vae()
    layer = model.encoder.body.layers[-1]
    with torch.no_grad():
        layer.weight[0] *= 20  # one latent that follows x, one that does not
        layer.weight[1] *= 0
        layer.weight[2:] *= 0
    b = batch(60)
    model.__dict__["_draw"] = lambda q, draws: q.mu[None]
    whole = model.report(lambda: iter([b]))
    split = model.report(lambda: iter([Batch(*(t[i : i + 7] for t in b)) for i in range(0, 60, 7)]))
    assert whole["active_units"].item() == 1
    assert set(whole) == {"reconstruction", "kl", "elbo", "kl_per_dim", "bits_per_dim", "active_units"}
    for name in whole:
        torch.testing.assert_close(whole[name], split[name])
    spread = model.encode(b.x).var(0, correction=0)
    assert (spread[0] > 0.01) and (spread[1] < 0.01)
    assert whole["bits_per_dim"].item() == pytest.approx(-whole["elbo"].item() / (16 * math.log(2)))


def test_report_of_reals_has_no_bits_and_of_nothing_is_empty():
    model = vae(space((2,)))
    x = torch.randn(5, 2)
    assert "bits_per_dim" not in model.report(lambda: iter([Batch(x, None, torch.arange(5))]))
    assert model.report(lambda: iter([])) == {}


@pytest.mark.parametrize(
    ("where", "options", "kind"),
    [
        (space((1, 8, 8), 17), {"likelihood": "categorical"}, Categorical),
        (space((1, 8, 8), 17), {"sigma": "decoder"}, DiscretisedLogistic),
        (space((1, 8, 8), 17), {"likelihood": "gaussian", "sigma": 0.3}, Gaussian),
        (space((3, 5, 7), 256), {"sigma": "per_pixel"}, DiscretisedLogistic),
        (space((2,), loc=3.0, scale=0.1), {"sigma": "decoder"}, Gaussian),
    ],
)
def test_likelihoods_and_their_sigmas(where, options, kind):
    model = vae(where, **options)
    assert type(model.observation) is kind
    with fork(0):
        x = model.sample(5)
        where.check(x)
        assert model.log_prob(x, draws=3).shape == (5,)
        assert model.reconstruct(x).shape == x.shape


def test_temperature_scales_the_prior():
    model = vae(sampler={**SAMPLER, "temperature": 0.5})
    assert model.sample_latent(4000).std().item() == pytest.approx(0.5, abs=0.02)
    cold = vae(sampler={**SAMPLER, "temperature": 0.0})
    assert cold.picture(3).std(0).max() == 0


def test_pictures_are_draws_where_the_sampler_says_so():
    model = vae(sampler={**SAMPLER, "mean": False})
    with fork(0):
        x = model.sample(4)
    with fork(0):
        assert torch.equal(model.picture(4), x)


def test_conditional_models_infer_the_label_of_unlabelled_data():
    """A decoder whose label decides the picture: the likeliest label is the one that drew it."""
    model = vae(conditional=True)
    with torch.no_grad():
        layer = model.decoder.body.layers.layers[0]
        layer.weight.zero_()
        layer.weight[:3, 2:] = torch.eye(3)
        last = model.decoder.body.layers.layers[-1]
        last.weight.copy_(12 * (torch.rand(16, 8, generator=torch.Generator().manual_seed(1)) - 0.5))
    y = torch.tensor([0, 1, 2, 2, 1, 0])
    with fork(0):
        x = model.sample(6, y)
    assert model.infer_labels(x).tolist() == y.tolist()
    torch.testing.assert_close(model.reconstruct(x), model.reconstruct(x, y))


def test_unconditional_models_ignore_labels():
    model = vae()
    z = torch.randn(3, 2)
    assert torch.equal(model.decode(z, torch.tensor([0, 1, 2])), model.decode(z))
    b = batch()
    with fork(0):
        value = model.log_prob(b.x, b.y, draws=2)
    with fork(0):
        assert torch.equal(value, model.log_prob(b.x, draws=2))


def test_refusals_name_the_reason():
    with pytest.raises(UsageError, match="needs data with classes"):
        vae(space((2,)), conditional=True)
    with pytest.raises(UsageError, match=r"needs model\.draws=1"):
        vae(free_bits=0.1, draws=2)
    with pytest.raises(UsageError, match="bernoulli does not fit"):
        vae(space((2,)), likelihood="bernoulli")


def test_draws_have_the_moments_of_the_posterior():
    q = Posterior(torch.full((20000, 1), 2.0), torch.full((20000, 1), -1.0))
    with fork(0):
        z = vae()._draw(q, 1)
    assert z.mean().item() == pytest.approx(2.0, abs=0.02)
    assert z.var().item() == pytest.approx(math.exp(-1.0), rel=0.04)
