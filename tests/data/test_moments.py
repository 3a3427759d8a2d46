"""Location, scale and ties of columns: exact where tails are light, bounded where they are not; training survives."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from gentool.data import moments
from gentool.data.arrays import array
from gentool.data.batches import Batches, ordered
from gentool.data.moments import location_and_scale, tie_noise
from gentool.training.optimizers import Optimizers
from gentool.training.rng import fork
from tests.laws.subjects import composed

SPLIT = {"label": None, "validation": 0.1, "test": 0.1, "seed": 0}


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_light_tails_have_their_mean_and_standard_deviation(monkeypatch):
    monkeypatch.setattr(moments, "_CHUNK", 1000)
    x = torch.cat([normal(5000, 2) * torch.tensor([1e-6, 1e6]), torch.rand(5000, 1)], 1)
    loc, scale = location_and_scale(x)
    torch.testing.assert_close(loc, x.double().mean(0).float())
    torch.testing.assert_close(scale, x.double().std(0, correction=0).float())


def test_a_small_spread_far_from_zero_does_not_cancel():
    x = 1e6 + normal(5000, 1)
    loc, scale = location_and_scale(x)
    assert loc.item() == pytest.approx(1e6, abs=0.1) and scale.item() == pytest.approx(1, abs=0.05)


def test_a_few_examples_far_out_do_not_widen_the_scale():
    x = normal(20000, 3)
    x[7, 1], x[:, 2] = 1e4, x[:, 2].tan()
    x[:, 2] = torch.distributions.Cauchy(0.0, 1.0).icdf(torch.linspace(0.0001, 0.9999, 20000))
    _, scale = location_and_scale(x)
    assert scale[1].item() == pytest.approx(1, abs=0.05)
    assert 10 < scale[2].item() < x[:, 2].std().item()


def test_no_example_is_further_out_than_its_square_can_be_held():
    x = normal(20000, 1)
    x[3] = 1e30
    loc, scale = location_and_scale(x)
    assert ((x - loc) / scale).abs().max().item() == pytest.approx(moments.MAX_STANDARDISED)


def test_constant_and_sparse_columns():
    x = torch.zeros(5000, 3)
    x[:, 1], x[:3, 2] = 7, 1  # a flag that is nearly always 0
    loc, scale = location_and_scale(x)
    assert loc[:2].tolist() == [0, 7] and scale[:2].tolist() == [1, 1]
    assert scale[2].item() == pytest.approx((3 / 5000) ** 0.5, rel=0.01)


def test_tie_noise_is_a_tenth_of_the_smallest_gap():
    integers = torch.arange(1000).remainder(5) * 2.0
    x = torch.stack([integers, normal(1000), torch.full((1000,), -4.0), torch.zeros(1000)], 1)
    torch.testing.assert_close(tie_noise(x), torch.tensor([0.2, 0, 4e-5, 1e-5]))
    assert tie_noise(normal(1, 2)).gt(0).all()  # of one example, all is constant


def table(n: int = 600) -> np.ndarray:
    """Heavy tails, a constant, scales of 1e-6 and 1e6, an offset, a rare flag, a small integer."""
    draw = np.random.default_rng(0)
    z = draw.normal(size=n)
    return np.stack(
        [draw.standard_cauchy(n), np.exp(2 * z), np.full(n, 3.5), 1e-6 * z, 1e6 * draw.normal(size=n),
         1e6 + draw.normal(size=n), draw.random(n) < 0.01, draw.integers(0, 4, n)], 1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "a.npy"
    np.save(path, table())
    return array(path=str(path), **SPLIT)


def test_training_sees_noise_on_ties_and_validation_does_not(data):
    x = torch.cat([batch.x for batch in ordered(data.train, 100, 0)])
    assert x[:, 2].unique().numel() > 100 and (x[:, 7] - x[:, 7].round()).std().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(x[:, [0, 1, 3, 4, 5]], data.train.x[:, [0, 1, 3, 4, 5]])
    again, same = (Batches(data.train, 32, seed=1, position=5) for _ in range(2))
    assert torch.equal(next(again).x, next(same).x)
    assert next(ordered(data.valid, 60, 0)).x[:, 2].unique().tolist() == [3.5]
    standard = data.space.to_model(x)
    assert standard.std(0).max() < 10 and standard[:, 2:].std(0).sub(1).abs().max() < 0.2


@pytest.mark.parametrize("name", ["ddpm", "flow_matching", "realnvp", "vae", "gmm"])
def test_models_train_on_it(data, name):
    config = composed(name)
    with fork(0):
        model = instantiate(config.model, _convert_="all")(data.space)
        model.begin(lambda: ordered(data.train, 128, 0))
        factory = instantiate(config.optimizer, _convert_="all")
        optimizers = Optimizers(model, factory, lambda t: 1.0, steps=20, accumulate=1, clip_norm=None)
        batches = Batches(data.train, batch_size=128, seed=0)
        for _ in range(20):
            metrics = model.train_step(batches, optimizers)
            optimizers.step += 1
        optimizers.check()
        assert all(torch.isfinite(value).all() for value in metrics.values())
        objective = model.objective(next(ordered(data.valid, 60, 0)))
        assert objective is None or torch.isfinite(objective).all()
        assert torch.isfinite(model.sample(16)).all()
