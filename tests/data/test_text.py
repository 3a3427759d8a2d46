"""Text: splits by position that share nothing, windows anywhere in training and tiles elsewhere, mistakes by name."""

from functools import partial
from itertools import islice

import pytest
import torch

from gentool.data import text as module
from gentool.data.batches import Batches, ordered
from gentool.data.download import Remote
from gentool.data.text import Windows, text
from gentool.errors import UsageError
from gentool.space import DataSpace
from tests.data.files import md5, server
from tests.spaces import space

PLAY = "".join(chr(0x4E00 + i) for i in range(1000))  # the token at place i is i


def read(path, content=PLAY, **words):
    file = path / "play.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    defaults = {"root": None, "symbol": "character", "context": 10, "validation": 0.1, "test": 0.2}
    return text(path=str(file), **{**defaults, **words})


def everything(source):
    return torch.cat([batch.x for batch in ordered(source, 7, 0)]).flatten()


def test_splits_follow_each_other_and_every_token_is_in_one(tmp_path):
    data = read(tmp_path, context=9)
    parts = [data.train.tokens, data.valid.tokens, data.test.tokens]
    assert torch.equal(torch.cat(parts), torch.arange(1000))
    assert [len(part) for part in parts] == [703, 99, 198], "held-out parts are whole windows"
    assert torch.equal(everything(data.valid), parts[1]) and torch.equal(everything(data.test), parts[2])
    assert torch.equal(everything(data.train), parts[0][:702]), "an ordered pass of training reads its tiles"
    assert data.space.shape == (9,) and data.space.levels == 1000 and data.space.examples == 78


def test_training_windows_stay_in_training_begin_anywhere_and_are_a_function_of_seed_and_number(tmp_path):
    train = read(tmp_path, context=9).train
    first, again, later = (Batches(train, 6, seed=3, position=at) for at in (0, 0, 20))
    batches = list(islice(first, 600))
    x = torch.cat([batch.x for batch in batches])
    assert (x.diff() == 1).all(), "a window is a piece of the text"
    assert x.max() <= 702, "a window reads what is held out"
    assert torch.equal(next(again).x, batches[0].x) and torch.equal(next(later).x, batches[20].x)
    starts = torch.bincount(x[:, 0], minlength=695).double()
    assert ((starts - len(x) / 695).abs() < 6 * (len(x) / 695) ** 0.5).all(), "every place is as likely"


def test_every_place_can_begin_a_window():
    train = Windows(torch.arange(25), 10, is_shifted=True)
    noise = torch.Generator().manual_seed(0)
    seen = {int(x) for _ in range(200) for x in train.batch(torch.arange(2), noise).x[:, 0]}
    assert seen == set(range(16))


@pytest.mark.parametrize(
    "fault",
    [
        lambda data: Windows(torch.cat([data.train.tokens, data.valid.tokens]), 9, is_shifted=True),
        lambda data: Windows(data.train.tokens, 9, is_shifted=False),
    ],
    ids=["reads into validation", "begins at tiles only"],
)
def test_the_window_tests_catch_their_faults(tmp_path, monkeypatch, fault):
    sound = module.text

    def faulty(**words):
        data = sound(**words)
        return module.Dataset(data.space, fault(data), data.valid, data.test, None)

    monkeypatch.setitem(globals(), "text", faulty)
    with pytest.raises(AssertionError):
        test_training_windows_stay_in_training_begin_anywhere_and_are_a_function_of_seed_and_number(tmp_path)


@pytest.mark.parametrize("symbol", ["character", "byte"])
def test_symbols_and_back(tmp_path, symbol):
    content = "A €uro,\r\nnaïve 漢字\t🙂. " * 20
    data = read(tmp_path, content, symbol=symbol, context=11)
    where = DataSpace.from_state(data.space.state())
    whole = torch.cat([data.train.tokens, data.valid.tokens, data.test.tokens])
    assert where.texts(whole[None]) == [content]
    assert torch.equal(where.tokens(content), whole) and whole.dtype == where.dtype
    assert (symbol == "byte") == (where.levels == 256)
    if symbol == "character":
        assert list(where.vocabulary) == sorted(set(content))
        with pytest.raises(ValueError, match="'Z'"):
            where.tokens("AZ")
    else:
        assert where.texts(torch.tensor([[0xE2, 0x82, 0x41]])) == ["\ufffdA"], "bytes that are no text"
        assert len(where.tokens("ß")) == 2


def test_vocabularies_survive_a_checkpoint(tmp_path):
    state = read(tmp_path, symbol="byte").space.state()
    torch.save(state, tmp_path / "space.pt")
    assert torch.load(tmp_path / "space.pt", weights_only=True)["vocabulary"] == state["vocabulary"]


def test_more_than_256_symbols_and_a_mark_at_the_beginning(tmp_path):
    content = "\ufeff" + "".join(chr(0x4E00 + i) for i in range(300)) * 3
    data = read(tmp_path, content)
    assert data.space.levels == 300 and data.train.tokens.dtype == torch.int64 == data.space.dtype


@pytest.mark.parametrize(
    ("content", "words", "says"),
    [
        (b"", {}, "is empty"),
        (b"ab\ncd\xff ef", {}, r"byte 5 \(0xff, line 2\) is no UTF-8"),
        (b"a" * 500, {}, "nothing but 'a'"),
        (b"abc" * 9, {}, "27 tokens, 20 of them held out, leave no window of dataset.context=10"),
        (b"abc" * 9, {"context": 28, "validation": 0.0, "test": 0.0}, "27 tokens"),
    ],
)
def test_mistakes_name_the_first_offender(tmp_path, content, words, says):
    with pytest.raises(UsageError, match=says):
        read(tmp_path, content, **words)


def test_files_that_are_not_there(tmp_path):
    ask = partial(text, root=None, symbol="character", context=10, validation=0.1, test=0.1)
    with pytest.raises(UsageError, match="no such file"):
        ask(path=str(tmp_path / "none.txt"))
    with pytest.raises(UsageError, match="is a folder"):
        ask(path=str(tmp_path))


def test_without_a_file_shakespeare_is_fetched_once(tmp_path, monkeypatch):
    content = PLAY.encode()
    with server({"/x/input.txt": content}) as (address, asked):
        monkeypatch.setattr(module, "SHAKESPEARE", Remote("input.txt", md5(content), (f"{address}/x",)))
        ask = partial(text, path=None, symbol="character", context=10, validation=0.0, test=0.1)
        for _ in range(2):
            data = ask(root=str(tmp_path))
            assert len(data.test) == 10 and len(data.valid) == 0
        assert asked == ["/x/input.txt"] and (tmp_path / "tinyshakespeare" / "input.txt").read_bytes() == content
    with pytest.raises(UsageError, match=r"dataset=text is not there: put input.txt into .*dataset.path=FILE"):
        ask(root=str(tmp_path / "elsewhere"))


def test_tokens_of_a_space_are_found_by_symbol():
    where = space((4,), levels=3, vocabulary=("a", "b", "\n"))
    assert where.tokens("ba\n").tolist() == [1, 0, 2] and where.texts(torch.tensor([[2, 1]])) == ["\nb"]
