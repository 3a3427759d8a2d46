"""n-grams against counting by hand; nothing is counted across examples, or outside the training split."""

from collections import Counter

import pytest
import torch

from gentool.batch import Batch
from gentool.data.batches import ordered
from gentool.data.text import text
from gentool.errors import UsageError
from gentool.models.ngram import NGram
from gentool.training.rng import fork
from tests.laws.exact_laws import states
from tests.spaces import space

LETTERS = ("a", "b", "c")
TEXTS = ["abcab", "abcba", "aabca", "cabca"]


def where(examples=4, classes=0):
    made = space((5,), levels=3, vocabulary=LETTERS, classes=classes)
    return type(made).from_state({**made.state(), "examples": examples})


def model(order=3, smoothing="discount", amount=0.5, texts=TEXTS, y=None):
    built = NGram(
        where(len(texts), 2 if y is not None else 0),
        order=order,
        smoothing=smoothing,
        amount=amount,
        conditional=y is not None,
        sampler={"temperature": 1.0, "top_k": None, "top_p": None},
    )
    built.begin(lambda: iter([Batch(tokens(texts[:3]), None if y is None else y[:3], None)] * 1 + last(texts, y)))
    return built


def last(texts, y):
    return [Batch(tokens(texts[3:]), None if y is None else y[3:], None)] if texts[3:] else []


def tokens(texts):
    return torch.stack([where().tokens(t) for t in texts])


def by_hand(text, order, smoothing, amount, texts=TEXTS):
    """p(text), counting every substring of the training texts."""
    counts = Counter(t[i : i + k] for t in texts for k in range(1, order + 1) for i in range(len(t) - k + 1))

    def p(symbol, context):
        below = p(symbol, context[1:]) if context else 1 / 3
        n = {s: counts[context + s] for s in LETTERS}
        total = sum(n.values())
        if smoothing == "dirichlet":
            return (n[symbol] + amount * below) / (total + amount)
        if not total:
            return below
        return (max(n[symbol] - amount, 0) + sum(min(amount, c) for c in n.values()) * below) / total

    result = 1.0
    for i, symbol in enumerate(text):
        result *= p(symbol, text[max(0, i - order + 1) : i])
    return result


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize(("smoothing", "amount"), [("discount", 0.5), ("dirichlet", 2.0)])
def test_probabilities_are_those_of_counting_by_hand(order, smoothing, amount):
    built = model(order, smoothing, amount)
    asked = ["abcab", "ccccc", "bacab", "abcbc"]
    expected = torch.tensor([by_hand(t, order, smoothing, amount) for t in asked], dtype=torch.float64)
    torch.testing.assert_close(built.log_prob(tokens(asked)).double().exp(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("order", [1, 3])
def test_all_texts_sum_to_one(order):
    total = model(order).log_prob(states(where())).double().exp().sum()
    assert abs(total - 1) < 1e-6


def test_one_symbol_of_no_context_has_its_share():
    built = model(1, amount=1e-9)
    share = torch.bincount(tokens(TEXTS).flatten().long()) / 20
    one = built._shorter_first(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))[0, 0]
    torch.testing.assert_close(one, share.double())


def test_counts_do_not_depend_on_batches_or_order():
    a, b = model(texts=TEXTS), model(texts=TEXTS[::-1])
    assert torch.equal(a.grams, b.grams) and torch.equal(a.below, b.below)


def test_contexts_end_at_an_example():
    """`b` follows `a` in no example; across two of them it does."""
    built = model(2, "dirichlet", 1e-6, texts=["ccaca", "bccba"])
    n = built._counts(torch.tensor([0]), 1)[0]
    assert n.tolist() == [0, 0, 1]


def test_classes_have_counts_of_their_own():
    y = torch.tensor([0, 0, 1, 1])
    built = model(2, y=y)
    for c, own in ((0, TEXTS[:2]), (1, TEXTS[2:])):
        expected = by_hand("abcaa", 2, "discount", 0.5, own)
        value = built.log_prob(tokens(["abcaa"]), torch.tensor([c])).double().exp()
        assert value.item() == pytest.approx(expected, rel=1e-5)


def test_texts_of_a_class_are_taken_for_it():
    """The judge knows no probabilities: one class steps up the alphabet, the other down."""
    built = model(2, amount=0.1, texts=["abcab", "bcabc", "cbacb", "bacba"], y=torch.tensor([0, 0, 1, 1]))
    y = torch.arange(2).repeat(100)
    with fork(0):
        step = (built.sample(200, y).long().diff() % 3).double()  # 1 up, 2 down
    taken = (step.mean(1) > 1.5).long()
    assert (taken == y).double().mean() > 0.9
    assert (taken == 1 - y).double().mean() < 0.1


def test_the_channels_of_a_pixel_follow_each_other():
    """Both are alike in every example: 4 of 7 bigrams repeat a level, besides a third of the others."""
    data = space((2, 2, 2), levels=3)
    built = NGram(
        type(data).from_state({**data.state(), "examples": 300}),
        order=2,
        smoothing="discount",
        amount=0.5,
        conditional=False,
        sampler={"temperature": 1.0, "top_k": None, "top_p": None},
    )
    with fork(0):
        x = torch.randint(3, (300, 1, 2, 2), dtype=torch.uint8).expand(300, 2, 2, 2)
        built.begin(lambda: iter([Batch(x, None, None)]))
        drawn = built.sample(300)
    assert float((drawn[:, 0] == drawn[:, 1]).float().mean()) == pytest.approx(4 / 7 + 3 / 7 / 3, abs=0.06)
    assert torch.equal(built.complete(x, torch.ones_like(x, dtype=torch.bool)), x)


def test_drawing_follows_the_probabilities_and_keeps_what_is_known():
    built = model(2)
    known = torch.tensor([True, True, False, False, False]).expand(4000, 5)
    with fork(0):
        x = built.complete(tokens(["ab" + "aaa"]).expand(4000, 5), known)
    assert (x[:, 0] == 0).all() and (x[:, 1] == 1).all()
    for i, symbol in enumerate(LETTERS):
        p = by_hand("ab" + symbol, 2, "discount", 0.5) / by_hand("ab", 2, "discount", 0.5)
        assert float((x[:, 2] == i).float().mean()) == pytest.approx(p, abs=0.04)
    built.sampler["temperature"] = 0
    assert (built.complete(tokens(["abaaa"]), known[:1]) == tokens(["abcab"])).all()


def splits(path, context=8):
    """A text whose last letters stand nowhere in its training part."""
    file = path / "t.txt"
    file.write_text("abc" * 62 + "xyz" * 18)
    return text(path=str(file), root=None, symbol="character", context=context, validation=0.1, test=0.15)


def counted(data, source):
    built = NGram(data.space, order=3, smoothing="discount", amount=0.5, conditional=False, sampler={})
    built.begin(lambda: ordered(source, 4, 0))
    return built


def nothing_of_the_test_is_counted(data, built):
    assert int(built.below[-1]) == len(data.train) * data.space.dims, "as many n-grams as training has places"
    held = built._counts(torch.zeros(1, dtype=torch.int64), 0)[0]
    assert held[3:].sum() == 0, "letters of the held-out text were counted"


def test_only_the_training_split_is_counted(tmp_path):
    data = splits(tmp_path)
    nothing_of_the_test_is_counted(data, counted(data, data.train))


def test_counting_across_the_border_is_caught(tmp_path):
    data = splits(tmp_path)
    data.train.tokens = torch.cat([data.train.tokens, data.valid.tokens, data.test.tokens])
    with pytest.raises(AssertionError):
        nothing_of_the_test_is_counted(data, counted(data, data.train))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"order": 40}, "model.order=40"),
        ({"amount": 1.0}, "model.amount=1.0"),
        ({"conditional": True}, "no|none|classes"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, says):
    with pytest.raises(UsageError, match=says):
        NGram(
            where(), **{"order": 3, "smoothing": "discount", "amount": 0.5, "conditional": False, "sampler": {}} | words
        )


def test_too_large_a_table_is_refused():
    large = type(where()).from_state({**space((1, 28, 28), levels=256).state(), "examples": 60000})
    with pytest.raises(UsageError, match=r"model.order=3: 16,974,593 n-grams of 256 symbols are too many"):
        NGram(large, order=3, smoothing="discount", amount=0.5, conditional=False, sampler={})
