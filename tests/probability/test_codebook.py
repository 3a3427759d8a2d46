"""A codebook is online k-means: its running means, what it is initialised from, and how dead codes come back."""

from itertools import count

import pytest
import torch
from torch import Tensor

from gentool.probability import codebook as module
from gentool.probability.codebook import Codebook, perplexity
from gentool.training.rng import fork


def codebook(codes: int = 4, features: int = 2, decay: float = 0.9, revive: float = 0.0) -> Codebook:
    with fork(0):
        return Codebook(codes, features, decay, revive)


def follow(book: Codebook, z: Tensor) -> float:
    return book.follow(z, book.nearest(z), lambda t: t).item()


def blobs(n: int, seed: int) -> Tensor:
    """Four narrow clusters at the corners of a square."""
    g = torch.Generator().manual_seed(seed)
    corners = torch.tensor([[5.0, 5.0], [5.0, -5.0], [-5.0, 5.0], [-5.0, -5.0]])
    return corners[torch.arange(n) % 4] + 0.1 * torch.randn(n, 2, generator=g)


def test_nearest_is_the_nearest():
    book = codebook(7, 3)
    z = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(1))
    by_hand = (z[..., None, :] - book.vectors).square().sum(-1).argmin(-1)
    assert torch.equal(book.nearest(z), by_hand)
    assert torch.equal(book.nearest(book.vectors), torch.arange(7))
    assert torch.equal(book.embed(by_hand), book.vectors[by_hand])


def codes_are_running_means() -> None:
    """e_k = sum_t g^(T-t) sum z / sum_t g^(T-t) n over the batches t in which the code k was nearest."""
    book = codebook(decay=0.9)
    counts, sums = torch.zeros(4, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64)
    for seed in range(5):
        z = torch.randn(50, 2, generator=torch.Generator().manual_seed(seed))
        codes = book.nearest(z)
        for k in range(4):
            counts[k] = 0.9 * counts[k] + 0.1 * (codes == k).sum()
            sums[k] = 0.9 * sums[k] + 0.1 * z[codes == k].double().sum(0)
        book.follow(z, codes, lambda t: t)
    torch.testing.assert_close(book.counts.double(), counts, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(book.vectors.double(), sums / counts[:, None], rtol=1e-5, atol=1e-5)


def test_codes_are_running_means_of_what_is_assigned_to_them():
    codes_are_running_means()


def test_a_code_that_is_never_used_stays_where_it_was():
    """Its count fades towards nothing, and a quotient of such numbers would drag it away."""
    book = codebook(decay=0.5)
    book.vectors[3] = 100.0
    follow(book, torch.cat([blobs(40, 0), torch.full((1, 2), 100.5)]))
    assert book.vectors[3].tolist() == [100.5, 100.5]
    for seed in range(200):
        follow(book, blobs(40, seed))
    assert book.counts[3] == 0
    assert book.vectors[3].tolist() == [100.5, 100.5]


def test_the_first_batch_places_every_code_it_does_not_use():
    book = codebook(16, revive=0.05)
    book.vectors += 1000.0  # nowhere near
    z = blobs(64, 0)
    with fork(3):
        assert follow(book, z) == 15
    used = [k for k in range(16) if torch.allclose(book.vectors[k], z.mean(0), atol=1e-3)]
    assert len(used) == 1
    for k in set(range(16)) - set(used):
        assert (z == book.vectors[k]).all(1).any(), "a revived code is a feature of the batch"


def a_dead_code_comes_back() -> None:
    """It moves to a feature of the batch after as many steps as its share takes to fall to `revive`; it has time."""
    book = codebook(4, decay=0.9, revive=0.1)
    z = blobs(400, 0)
    book.vectors.copy_(torch.stack([z[i::4].mean(0) for i in range(4)]))
    book.vectors[2] = 1e3  # where nothing is nearest to it
    book.counts.fill_(100.0)
    book.sums.copy_(100 * book.vectors)
    with fork(0):
        steps = next(step for step in count(1) if follow(book, z) == 1)
    assert 0.9**steps < 0.1 < 0.9 ** (steps - 1), "it died after another number of steps"
    assert (z == book.vectors[2]).all(1).any()
    assert 2 in book.nearest(z)
    assert book.counts[2] == pytest.approx(100, rel=1e-3), "it is given time"
    torch.testing.assert_close(book.sums[2], book.vectors[2] * book.counts[2])


def test_a_dead_code_moves_to_a_feature_of_the_batch_and_is_used_again():
    a_dead_code_comes_back()


def _decay(change):
    def plant(monkeypatch):
        init = Codebook.__init__
        monkeypatch.setattr(
            Codebook, "__init__", lambda self, k, d, decay, revive: init(self, k, d, change(decay), revive)
        )

    return plant


def _follow(change):
    def plant(monkeypatch):
        follow = Codebook.follow
        monkeypatch.setattr(
            Codebook, "follow", lambda self, z, codes, total: change(self, follow(self, z, codes, total))
        )

    return plant


def moves_beside(book, revived):
    book.vectors += 0.01 * revived
    return revived


FAULTS = [
    (codes_are_running_means, _decay(lambda g: 1 - g)),
    (codes_are_running_means, _decay(lambda g: 0.0)),  # k-means of the last batch
    (codes_are_running_means, _follow(lambda book, revived: book.vectors.mul_(0.99))),
    (a_dead_code_comes_back, _decay(lambda g: g**2)),
    (a_dead_code_comes_back, lambda monkeypatch: monkeypatch.setattr(module, "REBORN", 0.0)),
    (a_dead_code_comes_back, _follow(moves_beside)),
    (a_dead_code_comes_back, _follow(lambda book, revived: book.sums.zero_()[0, 0] + revived)),
]


@pytest.mark.parametrize(("law", "fault"), FAULTS)
def test_laws_catch_their_faults(law, fault, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        law()


def test_reviving_is_the_same_under_the_same_seed():
    books = []
    for seed in (5, 5, 6):
        books.append(codebook(16, revive=0.05))
        with fork(seed):
            follow(books[-1], blobs(64, 0))
    assert torch.equal(books[0].vectors, books[1].vectors)
    assert not torch.equal(books[0].vectors, books[2].vectors)


def test_without_reviving_codes_die_and_with_it_all_clusters_are_found():
    found = []
    for revive in (0.0, 0.05):
        book = codebook(4, decay=0.9, revive=revive)
        book.vectors.copy_(torch.tensor([[0.0, 0.0], [90.0, 90.0], [91.0, 90.0], [92.0, 90.0]]))
        with fork(1):
            for seed in range(60):
                follow(book, blobs(64, seed))
        found.append(len(book.nearest(blobs(64, 99)).unique()))
    assert found == [1, 4]


def test_statistics_are_summed_over_processes():
    """Two processes that each saw half of a batch hold the codebook of one that saw it all."""
    z = blobs(64, 0)
    whole, half = codebook(decay=0.9), codebook(decay=0.9)
    whole.follow(z, whole.nearest(z), lambda t: t)
    other = z[32:]
    theirs = [
        torch.zeros(4, 2).index_add_(0, half.nearest(other), other),
        torch.bincount(half.nearest(other), minlength=4).float(),
        torch.zeros(4, 2),  # the first process alone says where dead codes go
    ]
    half.follow(z[:32], half.nearest(z[:32]), lambda t: t + theirs.pop(0))
    torch.testing.assert_close(half.vectors, whole.vectors)
    torch.testing.assert_close(half.counts, whole.counts)


def test_the_first_process_alone_says_where_dead_codes_go(monkeypatch):
    """What another drew is nothing to the sum, or the dead would move to the sum of two features."""
    monkeypatch.setattr(module, "_is_first", lambda: False)
    book, z = codebook(revive=0.05), blobs(64, 0)
    book.vectors += 1000.0  # all is nearest to one
    of_the_first = [torch.zeros(4, 2), torch.zeros(4), torch.full((4, 2), 7.0)]
    assert book.follow(z, book.nearest(z), lambda t: t + of_the_first.pop(0)) == 3
    assert (book.vectors == 7.0).all(1).sum() == 3


def test_the_state_is_all_there_is():
    book, other = codebook(8, revive=0.05), codebook(8, revive=0.05)
    with fork(0):
        follow(book, blobs(64, 0))
    other.load_state_dict(book.state_dict())
    for each in (book, other):
        with fork(1):
            follow(each, blobs(64, 1))
    assert torch.equal(book.vectors, other.vectors)


def test_perplexity_counts_codes():
    assert perplexity(torch.ones(8)).item() == pytest.approx(8)
    assert perplexity(torch.tensor([7.0, 0.0, 0.0])).item() == pytest.approx(1)
    p = torch.tensor([0.5, 0.25, 0.25])
    assert perplexity(100 * p).item() == pytest.approx(2**1.5)
