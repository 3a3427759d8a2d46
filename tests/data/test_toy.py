"""Points of known density: the density integrates to 1, draws follow it, and the entropy is right."""

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gentool.data import toy
from gentool.errors import UsageError
from gentool.probability.densities import Arcs, Checkerboard, GaussianMixture, _grid

CONFIGS = Path(__file__).parents[2] / "configs" / "dataset"
NAMES = ["ring", "grid", "moons", "checkerboard", "two_gaussians", "mixture"]
SHARES = {"validation": 0.1, "test": 0.2, "seed": 0}


def built(name: str, **changes):
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"), resolve=True)
    return instantiate({**config, **changes}, _convert_="all")


@pytest.mark.parametrize("name", NAMES)
def test_splits_space_and_labels(name):
    data = built(name, examples=2000)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [1400, 200, 400]
    space = data.space
    assert space.levels is None and space.examples == 1400 and space.is_points
    assert space.frequencies.shape == (space.classes,) and float(space.frequencies.sum()) == pytest.approx(1, abs=1e-5)
    x, y, _ = data.train.batch(torch.arange(1400), torch.Generator())
    assert (
        x.dtype == torch.float32 and torch.isfinite(x).all() and set(y.unique().tolist()) == set(range(space.classes))
    )
    torch.testing.assert_close(space.to_model(x).mean(0), torch.zeros(space.shape), atol=1e-4, rtol=0)
    torch.testing.assert_close(space.to_model(x).std(0, correction=0), torch.ones(space.shape), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_the_seed(name):
    first, again, other = (built(name, examples=50, seed=seed).train.x for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_entropy_is_the_mean_surprise_of_draws(name):
    density = built(name, examples=50).density
    surprise = -density.log_prob(density.sample(40_000, torch.Generator().manual_seed(1)).double())
    error = float(surprise.std()) / 200
    assert abs(float(surprise.mean()) - density.entropy()) < 4 * error + 1e-6
    assert density.entropy() is density.entropy()  # computed once


@pytest.mark.parametrize(
    "density, low, high",
    [
        (Arcs(0.1), -2.0, 3.0),
        (Arcs(0.05), -1.5, 2.5),
        (
            GaussianMixture(torch.tensor([2.0, 1.0]), torch.tensor([[0.0, 0.0], [1.0, 0.5]]), torch.tensor([0.3, 0.1])),
            -3,
            3,
        ),
        (Checkerboard(4, 0.5), -1.5, 1.5),
    ],
)
def test_the_density_sums_to_one_and_its_entropy_is_its_own(density, low, high):
    points, cell = _grid([(low, high), (low, high)], 0.0125)
    log_p = density.log_prob(points)
    p = log_p.exp()
    assert float(p.sum()) * cell == pytest.approx(1, abs=0.02 if isinstance(density, Checkerboard) else 1e-6)
    entropy = -float(torch.special.xlogy(p, p).sum()) * cell
    assert density.entropy() == pytest.approx(entropy, abs=0.03 if isinstance(density, Checkerboard) else 1e-6)


def test_entropies_with_a_closed_form():
    gaussian = math.log(2 * math.pi * math.e)  # of a 2-D standard normal
    assert built("ring", examples=50).density.entropy() == pytest.approx(
        gaussian + 2 * math.log(0.01) + math.log(8), abs=1e-7
    )
    assert built("grid", examples=50).density.entropy() == pytest.approx(
        gaussian + 2 * math.log(0.05) + math.log(25), abs=1e-7
    )
    assert built("checkerboard", examples=50).density.entropy() == pytest.approx(math.log(32))
    single = built("two_gaussians", examples=50, distance=0.0).density
    assert single.entropy() == pytest.approx(gaussian / 2 + math.log(0.5), abs=1e-9)


def test_the_mixture_is_torchs_mixture():
    density = built("mixture", examples=50).density
    parts = torch.distributions.Independent(
        torch.distributions.Normal(density.means, density.sigmas[:, None].expand(-1, 2)), 1
    )
    truth = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(density.weights), parts)
    x = 2 * torch.randn(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(density.log_prob(x), truth.log_prob(x))


def test_ring_and_grid_stand_where_pacgan_has_them():
    ring = built("ring", examples=50).density
    torch.testing.assert_close(ring.means.norm(dim=1), torch.ones(8, dtype=torch.float64))
    grid = built("grid", examples=50).density
    assert sorted(set(grid.means.flatten().tolist())) == [-4, -2, 0, 2, 4] and len(grid.means) == 25
    x, part = grid.draw(20_000, torch.Generator().manual_seed(0))
    assert (x - grid.means[part].float()).std() == pytest.approx(0.05, rel=0.02)


def test_moons_follow_their_arcs():
    arcs = Arcs(0.05)
    x, arc = arcs.draw(4000, torch.Generator().manual_seed(0))
    centre = torch.where(arc[:, None] == 0, torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.5]))
    assert ((x - centre).norm(dim=1) - 1).std() == pytest.approx(0.05, rel=0.05)
    assert float((x[:, 1] - centre[:, 1])[arc == 0].mean()) == pytest.approx(2 / math.pi, abs=0.02)


def test_off_the_checkerboard_the_density_is_zero():
    board = Checkerboard(4, 2.0)
    inside, outside = board.sample(5000, torch.Generator().manual_seed(0)), torch.tensor([[1.0, -1.0], [9.0, 0.0]])
    assert torch.isfinite(board.log_prob(inside)).all() and float(inside.abs().max()) <= 4
    assert torch.isinf(board.log_prob(outside)).all()


def test_the_ten_heights_are_the_lectures():
    data = toy.heights()
    exact = torch.tensor(toy.HEIGHTS, dtype=torch.float64)
    assert len(exact) == 10 and len(data.train) == len(data.valid) == len(data.test) == 10
    assert float(exact.mean()) == pytest.approx(1.683, abs=1e-12)
    assert float(exact.var(correction=0)) == pytest.approx(0.002921, abs=1e-12)
    surprise = -data.density.log_prob(exact[:, None]).mean()
    assert float(surprise) == pytest.approx(data.density.entropy(), abs=1e-9)


def test_log_prob_keeps_the_type_of_its_points():
    density = Arcs(0.1)
    assert density.log_prob(torch.zeros(3, 2)).dtype == torch.float32
    assert density.log_prob(torch.zeros(3, 2, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("checkerboard", {"squares": 3}, "even"),
        ("mixture", {"weights": [1.0]}, "lengths 1, 3 and 3"),
        ("mixture", {"means": [[0.0], [0.0, 1.0], [1.0]]}, "expected one number each, or two"),
    ],
)
def test_what_does_not_belong_together_is_refused(name, changes, message):
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"), resolve=True)
    target = config.pop("_target_").rpartition(".")[2]
    with pytest.raises(UsageError, match=message):
        getattr(toy, target)(**{**config, **changes})
