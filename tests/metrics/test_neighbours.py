import pytest
import torch

from gentool.errors import Unavailable
from gentool.metrics.memorisation import DataCopying, Memorisation, two_nearest
from gentool.metrics.neighbours import Neighbours, overlap, radii
from tests.metrics.evaluations import evaluation
from tests.spaces import space

QUANTITIES = ("precision", "recall", "density", "coverage")


def published(real, fake, k):
    """Precision, recall, density and coverage by the formulas of both papers, over whole matrices."""

    def kth(x):
        return torch.cdist(x, x).sort(1).values[:, k]

    distance = torch.cdist(real, fake)  # (real, fake)
    return [
        (distance < kth(real)[:, None]).any(0).double().mean(),
        (distance < kth(fake)).any(1).double().mean(),
        (distance < kth(real)[:, None]).double().sum(0).mean() / k,
        (distance.min(1).values < kth(real)).double().mean(),
    ]


def measured(real, fake, k, size=100):
    ours = evaluation(space((real.shape[1],)), fake, real, size=size)
    return [Neighbours(quantity=q, k=k, features="auto", num_samples=10_000)(ours) for q in QUANTITIES]


@pytest.mark.parametrize("at_once", [500, 17])
def test_agrees_with_the_formulas_whatever_the_order_and_the_blocks(at_once, monkeypatch):
    monkeypatch.setattr("gentool.metrics.neighbours.AT_ONCE", at_once)
    torch.manual_seed(0)
    real, fake = torch.randn(120, 3), 0.9 * torch.randn(120, 3) + 1.0
    expected = [value.item() for value in published(real.double(), fake.double(), 5)]
    assert [result.value for result in measured(real, fake, 5)] == pytest.approx(expected)
    shuffled = measured(real[torch.randperm(120)], fake[torch.randperm(120)], 5, size=11)
    assert [result.value for result in shuffled] == pytest.approx(expected)
    assert min(expected) > 0 and len(set(expected)) == 4
    assert all(result.standard_error > 0 for result in shuffled)


def test_what_each_of_them_is_blind_to():
    torch.manual_seed(0)
    real = torch.randn(400, 2)
    same, one_spot, far = real[torch.randperm(400)], 0.05 * torch.randn(400, 2), 100 + torch.randn(400, 2)
    assert [r.value for r in measured(real, same, 5)] == pytest.approx([1, 1, 1, 1], abs=0.05)
    precision, recall, _, coverage = (r.value for r in measured(real, one_spot, 5))
    assert precision > 0.95 and recall < 0.1 and coverage < 0.1
    assert [r.value for r in measured(real, far, 5)] == pytest.approx([0, 0, 0, 0], abs=1e-9)


def test_a_radius_counts_no_point_as_its_own_neighbour():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]]).double()
    assert radii(x, 1).tolist() == [1, 1, 2, 4]
    assert radii(x, 2).tolist() == [3, 2, 3, 6]
    assert overlap(x, x, 1).precision.tolist() == [1, 1, 1, 1]
    with pytest.raises(Unavailable, match="no 5 neighbours"):
        measured(torch.randn(5, 2), torch.randn(9, 2), 5)


@pytest.mark.parametrize("dims", [2, 50])
def test_two_nearest_by_hand_and_copies_have_distance_zero(dims):
    torch.manual_seed(0)
    x, queries = torch.randn(300, dims) + 30, torch.randn(40, dims) + 30
    expected = torch.cdist(queries.double(), x.double()).sort(1).values[:, :2]
    assert torch.allclose(two_nearest(queries, x).double(), expected, atol=1e-4)
    assert two_nearest(x[:5], x)[:, 0].tolist() == [0] * 5


def copying(given, held_out, train):
    ours = evaluation(space((2,)), given, held_out, train=train)
    metrics = Memorisation(ratio=1 / 3, num_samples=1000), DataCopying(num_samples=1000)
    return [metric(ours) for metric in metrics]


def test_copies_are_found_and_new_samples_are_none():
    torch.manual_seed(0)
    train, held_out, fresh = torch.randn(1000, 2), torch.randn(1000, 2), torch.randn(1000, 2)
    share, nearer = copying(fresh, held_out, train)
    assert share.value == pytest.approx(1 / 9, abs=0.04)  # the plane's: P(d_1 < r d_2) = r² where the density is even
    assert share.protocol["held_out"] == pytest.approx(1 / 9, abs=0.04)
    assert nearer.value == pytest.approx(0.5, abs=4 * nearer.standard_error) and nearer.standard_error < 0.02
    mixed = torch.cat([train[:500] + 1e-4 * torch.randn(500, 2), fresh[:500]])
    half, nearer_half = copying(mixed, held_out, train)
    assert half.value == pytest.approx(0.5 + share.value / 2, abs=0.05)
    assert nearer_half.value == pytest.approx(0.75, abs=0.03)
    assert copying(train, held_out, train)[0].value == 1
    assert copying(3 * fresh, held_out, train)[1].value < 0.4


def test_the_error_of_the_copying_statistic_is_its_spread():
    torch.manual_seed(0)
    train = torch.randn(100, 2)
    found = [copying(torch.randn(60, 2), torch.randn(40, 2), train)[1] for _ in range(150)]
    values, errors = (torch.tensor([getattr(r, key) for r in found]) for key in ("value", "standard_error"))
    assert errors.mean().item() == pytest.approx(values.std().item(), rel=0.2)
