"""What only autoencoders claim: the subspace of PCA, denoising, and densities of codes: followed, fitted, saved."""

import json
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional

from gentool.batch import Batch
from gentool.cli import main
from gentool.errors import UsageError
from gentool.models.autoencoder import Autoencoder
from gentool.probability.code_density import MEMORY, CodeDensity
from gentool.probability.corruption import corrupted
from gentool.space import DataSpace
from gentool.training.rng import fork
from tests.models.on_digits import DIGITS, configured, digits, trained
from tests.spaces import space

DEEP = ["model.encoder.hidden_features=[128]", "model.decoder.hidden_features=[128]"]


def principal_angle(model: Any, x: Tensor) -> float:
    """Return the largest angle in degrees between the decoder's columns and the principal components of x."""
    scale = model.space.scale.flatten()[:, None]
    columns = np.linalg.qr((model.decoder.body.layers.layers[-1].weight.detach() * scale).double().numpy())[0]
    components = PCA(columns.shape[1]).fit(x.flatten(1).double().numpy()).components_
    return float(np.degrees(np.arccos(np.linalg.svd(components @ columns, compute_uv=False).min().clip(0, 1))))


def correlated() -> tuple[DataSpace, Tensor]:
    """Reals whose principal components are not those of the standardised data: 6 degrees from them."""
    rng = np.random.default_rng(191)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    x = (rng.normal(size=(2000, 6)) * [4, 3, 2, 0.5, 0.3, 0.1]) @ turn.T * [1, 2, 1, 0.5, 2, 0.5] + 5
    where, reals = space((6,)), torch.from_numpy(x).float()
    object.__setattr__(where, "loc", reals.mean(0))
    object.__setattr__(where, "scale", reals.std(0))
    return where, reals


@pytest.mark.parametrize("fault", [None, "unit"])
def test_a_linear_autoencoder_spans_the_principal_components(fault):
    where, x = correlated()
    model = configured("ae_linear", where, "model.latent_dim=3", "model.density=gaussian")
    if fault:  # errors in each dimension's own deviation: the components of another matrix
        model.unit = torch.ones_like(model.unit)
    angle = principal_angle(trained(model, x, None, 400, 2e-2), x)
    assert angle > 4 if fault else angle < 2


def test_sizes_are_those_of_the_lectures():
    mnist = space((1, 28, 28), levels=256)
    assert sum(p.numel() for p in configured("ae", mnist).parameters()) == 784 * 32 + 32 + 32 * 784 + 784
    conv = configured("ae_conv", mnist)
    x = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    assert conv.encode(x).shape == (3, 2, 7, 7)
    assert conv.sample_latent(4).shape == (4, 2, 7, 7)
    assert configured("ae_conv", space((3, 13, 17), levels=256)).sample(2).shape == (2, 3, 13, 17)


def errors(model: Any, x: Tensor) -> Tensor:
    return model.objective(Batch(x, None, torch.arange(len(x)))).detach()


def test_errors_are_by_hand():
    x = digits()[0][:5]
    t = x / 16
    model = configured("ae", DIGITS)
    outputs = model._outputs(model._encode(x, None), None)
    by_hand = functional.binary_cross_entropy_with_logits(outputs, t, reduction="none").flatten(1).sum(1)
    torch.testing.assert_close(errors(model, x), by_hand.detach())
    torch.testing.assert_close(model.reconstruct(x), 16 * outputs.sigmoid().detach())
    model = configured("ae", DIGITS, "model.reconstruction=squared_error")
    outputs = model._outputs(model._encode(x, None), None)
    torch.testing.assert_close(errors(model, x), ((outputs + 1) / 2 - t).square().flatten(1).sum(1).detach())
    where, reals = correlated()
    model = configured("ae", where)
    by_hand = (model.reconstruct(reals) - reals).square().sum(1) / where.scale.square().mean()
    torch.testing.assert_close(errors(model, reals), by_hand, rtol=1e-4, atol=1e-4)


def test_outputs_start_from_the_mean_of_the_data():
    for option in ("cross_entropy", "squared_error"):
        model = configured("ae", space((1, 8, 8), levels=17, loc=4.0), f"model.reconstruction={option}")
        mean = model._mean(model.start[None])
        torch.testing.assert_close(mean, torch.full_like(mean, 4.0), rtol=0.02, atol=0)


def test_report_is_the_error_that_reconstruct_prints():
    x = digits()[0][:50]
    model = configured("ae", DIGITS)
    by_hand = ((model.reconstruct(x) - x) / 16).square().mean()
    parts = [Batch(part, None, torch.arange(len(part))) for part in x.split(17)]
    torch.testing.assert_close(model.report(lambda: iter(parts))["mean_squared_error"], by_hand)
    assert model.report(lambda: iter([])) == {}


@pytest.mark.parametrize("kind", ["gaussian", "salt_pepper", "masking_noise", "mask"])
def test_corruption_is_at_work_in_the_loss_alone(kind):
    x = digits()[0][:20]
    model = configured("dae", DIGITS, f"model.corruption={kind}", "model.level=0.4")
    plain = configured("dae", DIGITS, "model.corruption=none")
    torch.testing.assert_close(model.encode(x), plain.encode(x))
    torch.testing.assert_close(model.reconstruct(x), plain.reconstruct(x))
    with fork(3):
        damaged = corrupted(x, DIGITS, kind, 0.4)
        z = plain._encode(damaged, None)
    with fork(3):
        error = errors(model, x)
    torch.testing.assert_close(error, plain._error(x, plain._outputs(z, None)).detach())
    assert not torch.allclose(error, errors(plain, x))


def test_a_denoising_autoencoder_leaves_less_error_than_the_noise():
    """Lecture's claim; and an autoencoder that never saw noise keeps more of it."""
    x, _, test, _ = digits()
    left = {}
    for name in ("dae", "ae"):
        model = trained(configured(name, DIGITS, *DEEP, "model.latent_dim=32"), x, None, 500, 3e-3)
        with fork(5):
            noisy = corrupted(test, DIGITS, "gaussian", 0.25)
        left[name] = float((model.reconstruct(noisy) - test).square().mean())
    before = float((noisy.float() - test).square().mean())
    assert left["dae"] < 0.6 * before
    assert left["dae"] < 0.8 * left["ae"]


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


def test_running_moments_are_by_hand():
    density = CodeDensity(2, 3, 2)
    with fork(0):
        a, b = torch.randn(50, 2) * 3 + 1, torch.randn(50, 2) - 4
    y = torch.arange(50) % 2
    density.follow(a, y)
    torch.testing.assert_close(density.means[1, 0], a[y == 1].mean(0))
    torch.testing.assert_close(density.covariances[1, 0], a[y == 1].T.cov(correction=0))
    density.follow(b, zeros(50))  # no code of class 1: its moments stay
    torch.testing.assert_close(density.means[1, 0], a[y == 1].mean(0))
    mean = (a[y == 0].mean(0) + b.mean(0)) / 2
    torch.testing.assert_close(density.means[0, 0], mean)
    square = (b - mean).T @ (b - mean) / 50
    torch.testing.assert_close(density.covariances[0, 0], (a[y == 0].T.cov(correction=0) + square) / 2)
    for _ in range(10 * MEMORY):
        density.follow(b, zeros(50))
    torch.testing.assert_close(density.means[0, 0], b.mean(0), atol=1e-3, rtol=0)
    torch.testing.assert_close(density.covariances[0, 0], b.T.cov(correction=0), atol=1e-2, rtol=0)


DENSITY_FAULTS = {
    "what goes together is forgotten": lambda d: d.covariances.mul_(torch.eye(3)),
    "centred": lambda d: d.means.zero_(),
    "deaf to the temperature": lambda d: setattr(d, "sample", lambda y, _: CodeDensity.sample(d, y, 1.0)),
}


@pytest.mark.parametrize("fault", [None, *DENSITY_FAULTS])
def test_one_component_is_the_sample_mean_and_covariance_and_draws_have_them(fault):
    with fork(0):
        z = torch.randn(4000, 3) @ torch.tensor([[2.0, 0, 0], [1, 0.5, 0], [0, 0, 0]]) + 7  # a flat cloud
        density = CodeDensity(3, 1, 1)
        density.fit(z, zeros(4000))
        if fault:
            DENSITY_FAULTS[fault](density)
        with pytest.raises(AssertionError) if fault else nullcontext():
            torch.testing.assert_close(density.means[0, 0], z.mean(0))
            torch.testing.assert_close(density.covariances[0, 0], z.T.cov(correction=0), atol=1e-4, rtol=1e-4)
            draws = density.sample(zeros(40000), 1.0)
            torch.testing.assert_close(draws.mean(0), z.mean(0), atol=0.05, rtol=0)
            torch.testing.assert_close(draws.T.cov(), z.T.cov(), atol=0.1, rtol=0.03)
            half = density.sample(zeros(40000), 0.5)
            torch.testing.assert_close(half.T.cov(), z.T.cov() / 4, atol=0.03, rtol=0.03)


def test_mixtures_are_found_for_each_class():
    with fork(0):
        centres = torch.tensor([[[-5.0, 0], [5, 0]], [[0, -5], [0, 9]]])
        y, k = torch.randint(2, (3000,)), (torch.rand(3000) < 0.3).long()
        z = centres[y, k] + 0.5 * torch.randn(3000, 2)
        density = CodeDensity(2, 2, 3)  # nobody is of the third class: it takes the codes of all
        density.fit(z, y)
        for c in range(2):
            order = density.weights[c].argsort(descending=True)
            torch.testing.assert_close(density.weights[c][order], torch.tensor([0.7, 0.3]), atol=0.04, rtol=0)
            torch.testing.assert_close(density.means[c][order], centres[c], atol=0.1, rtol=0)
        draws = density.sample(torch.tensor([0, 1, 2]).repeat(2000), 1.0)
        assert (draws[0::3, 1].abs() < 4).all() and (draws[1::3, 0].abs() < 4).all()
        assert (draws[2::3, 0].abs() > 3).any() and (draws[2::3, 1].abs() > 3).any()


def test_a_class_of_one_code_takes_those_of_all():
    """Its own would have no spread."""
    density = CodeDensity(2, 1, 2)
    with fork(0):
        z = torch.randn(20, 2)
        density.fit(z, torch.arange(20) // 19)
    torch.testing.assert_close(density.means[1], density.means[0], atol=0.2, rtol=0)
    torch.testing.assert_close(density.means[1, 0], z.mean(0))
    torch.testing.assert_close(density.covariances[1, 0], z.T.cov(correction=0), atol=1e-4, rtol=0)


def test_few_codes_are_enough_and_training_that_goes_on_starts_moments_afresh():
    density = CodeDensity(4, 5, 1)
    with fork(0):
        density.fit(torch.randn(3, 4), zeros(3))
        assert torch.isfinite(density.sample(zeros(50), 1.0)).all()
        z = torch.randn(20, 4) + 30
        density.follow(z, zeros(20))
        torch.testing.assert_close(density.means[0, 0], z.mean(0))
        assert (density.sample(zeros(200), 1.0).mean(0) - 30).abs().max() < 1


@pytest.mark.parametrize("fault", [None, "fitted to noisy codes", "not saved"])
def test_the_density_is_fitted_to_clean_codes_and_saved(fault):
    x, y, _, _ = digits()
    options = ["model.density=gaussian", "model.latent_dim=4"]
    model, other = trained(configured("dae", DIGITS, *options), x, y, 20, 1e-3), configured("dae", DIGITS, *options)
    if fault == "fitted to noisy codes":
        with fork(0):
            noisy = corrupted(x, DIGITS, "gaussian", 0.25)
        model.finish(lambda: iter([Batch(noisy, y, torch.arange(len(x)))]))
    if fault == "not saved":
        for each in (model, other):
            each.density._non_persistent_buffers_set |= {"weights", "means", "covariances"}
    clean = torch.allclose(model.density.means[0, 0], model.encode(x).mean(0), rtol=1e-3, atol=1e-3)
    other.load_state_dict(model.state_dict())
    for each in (model, other):
        each.eval()
    with fork(1):
        a = model.sample(8)
    with fork(1):
        saved = torch.equal(a, other.sample(8))
    assert (clean, saved) == (fault != "fitted to noisy codes", fault != "not saved")


def distance_from_the_prior(z: Tensor) -> float:
    """KL(N(mean, covariance of z) || N(0, I)), nats."""
    mean, covariance = z.double().mean(0), z.double().T.cov()
    return float(0.5 * (covariance.trace() + mean.square().sum() - z.shape[1] - covariance.logdet()))


@pytest.mark.parametrize("beta", [1.0, 0.0])
def test_codes_of_a_vae_match_its_prior_and_those_of_an_autoencoder_do_not(beta):
    """The gallery's claim, by a shorter recipe; without its KL a VAE is no better than an autoencoder."""
    x, y, test, _ = digits()
    deep = ["model.latent_dim=2", *DEEP]
    plain = trained(configured("ae", DIGITS, "model.density=gaussian", *deep), x, y, 500, 3e-3)
    vae = trained(configured("vae", DIGITS, f"model.beta={beta}", *deep), x, y, 500, 3e-3)
    ours, theirs = distance_from_the_prior(vae.encode(test)), distance_from_the_prior(plain.encode(test))
    assert (ours < 0.3 and theirs > 3 * ours) == (beta > 0), (ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, 0.0])
def test_by_neighbours_samples_of_a_vae_are_nearer_than_those_of_a_gaussian_of_codes(beta, tmp_path):
    """The gallery's claim, by the gallery's commands; without its KL a VAE's prior knows nothing of its codes."""
    wide = ["model.latent_dim=16", "model.encoder.hidden_features=[512]", "model.decoder.hidden_features=[512]"]
    found = {}
    for name, options in {"ae": ["model.density=gaussian", *wide], "vae": [f"model.beta={beta}"]}.items():
        run, numbers = tmp_path / name, tmp_path / f"{name}-metrics"
        assert main(["train", f"model={name}", "dataset=digits", *options, "device=cpu", f"out={run}"]) == 0
        asked = ["metrics=[precision,recall,coverage]", f"ckpt={run}", f"out={numbers}", "device=cpu"]
        assert main(["evaluate", *asked]) == 0
        found[name] = json.loads((numbers / "metrics.json").read_text())["metrics"]
    more = {key: value - found["ae"][key] for key, value in found["vae"].items()}
    assert (more["precision"] > 0.05 and more["recall"] > 0.03 and more["coverage"] > 0.05) == (beta > 0), found


def test_refusals_name_the_reason():
    points = space((2,))
    with pytest.raises(UsageError, match="integer levels"):
        configured("ae", points, "model.reconstruction=cross_entropy")
    with pytest.raises(UsageError, match=r"model\.corruption=salt_pepper is for images"):
        configured("dae", points, "model.corruption=salt_pepper")
    with pytest.raises(UsageError, match="data with classes"):
        configured("ae", points, "model.conditional=true")
    with pytest.raises(UsageError, match="text"):
        configured("ae", space((5,), levels=3, vocabulary=("a", "b", "c")))
    with pytest.raises(UsageError, match="needs images"):
        configured("ae_conv", points)
    assert isinstance(configured("ae", points), Autoencoder)
