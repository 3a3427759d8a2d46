"""Text through the commands: prompts of any length, pages of text, scores; the whole way, and where it must end."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gentool.cli import main
from gentool.commands.score import windows
from gentool.commands.texts import beginning, written_on
from gentool.errors import Unavailable, UsageError
from gentool.metrics.likelihood import NatsPerToken
from gentool.plots.pictures import draw_examples
from gentool.plots.texts import COLUMNS, lines
from tests.metrics.models import Normal, Uniform
from tests.metrics.test_likelihood import evaluation
from tests.spaces import space

WHERE = space((6,), levels=10, vocabulary=tuple("0123456789"))


class Counting(Normal):
    """Each token is one more than the token before it; the first of nothing is 0."""

    seen = ()

    def complete(self, x, known, y=None):
        self.seen = (*self.seen, int(known[0].sum()))
        x = x.clone()
        for i in range(x.shape[1]):
            after = (x[:, i - 1] + 1) % 10 if i else torch.zeros_like(x[:, 0])
            x[:, i] = torch.where(known[:, i], x[:, i], after)
        return x


@pytest.mark.parametrize("prompt", ["", "3", "34567", "345678", "34567890123"])
@pytest.mark.parametrize("length", [11, 25])
def test_texts_of_any_length_go_on_where_the_prompt_ends(prompt, length):
    model = Counting(WHERE)
    begun, total = beginning(WHERE, prompt, length, 3)
    text = written_on(model, WHERE, begun, total)
    first = int(prompt[0]) if prompt else 0
    expected = "".join(str((first + i) % 10) for i in range(length))
    assert WHERE.texts(text) == [expected] * 3
    assert all(seen >= 3 for seen in model.seen[1:]), "less than half a window was seen"


def test_a_window_that_does_not_move_is_caught():
    class Stuck(Counting):
        def complete(self, x, known, y=None):
            return super().complete(x, torch.zeros_like(known), y)

    text = written_on(Stuck(WHERE), WHERE, *beginning(WHERE, "3", 25, 1))
    assert WHERE.texts(text) != ["".join(str((3 + i) % 10) for i in range(25))]


def test_lengths_that_nobody_asked_for():
    assert beginning(WHERE, None, None, 2)[1] == 6 and beginning(WHERE, "12", None, 2)[1] == 6
    assert beginning(WHERE, "123456", None, 2)[1] == 9, "half a window more"


@pytest.mark.parametrize(
    ("where", "words", "says"),
    [
        (WHERE, ("12a", None), "the data has no 'a'; its 10 symbols begin '0123456789'"),
        (WHERE, ("123", 2), "length=2: the prompt alone has 3 tokens"),
        (space((1, 4, 4), levels=2), ("1", None), "prompt=1: the model's data is no text"),
        (space((2,)), (None, 9), "length=9: the model's data is no text"),
    ],
)
def test_prompts_that_cannot_be_are_refused(where, words, says):
    with pytest.raises(UsageError, match=says):
        beginning(where, *words, 1)


def test_nats_a_token_of_uniform_symbols_are_the_log_of_their_number():
    result = NatsPerToken(draws=1)(evaluation(Uniform(WHERE), torch.zeros(7, 6)))
    assert result.value == pytest.approx(np.log(10)) and result.protocol["tokens"] == 42
    with pytest.raises(Unavailable, match="tokens"):
        NatsPerToken(draws=1)(evaluation(Uniform(space((1, 2, 2), levels=2)), torch.zeros(7, 1, 2, 2)))


def test_a_text_is_scored_in_windows_end_to_end(capsys):
    assert windows("0123456789012", WHERE, "f").tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 0, 1]]
    assert "the last 1 tokens of f fill no window" in capsys.readouterr().out
    for content, says in (("012", "3 tokens; the model's windows have 6"), ("01234x", "no 'x'")):
        with pytest.raises(UsageError, match=says):
            windows(content, WHERE, "f")


def test_pages_have_one_size_and_show_what_is_written():
    texts = space((64,), levels=4, vocabulary=("a", "\n", "$", "\x07"))
    pages = [draw_examples(torch.full((9, 64), k), texts, title="") for k in range(4)]
    assert len({page.shape for page in pages}) == 1
    assert [bool((page < 128).any()) for page in pages] == [True, False, True, True], "line ends show nothing"
    assert not np.array_equal(pages[0], pages[2])
    assert lines("a\n\nb" + "c" * 90) == ["a", "", "b" + "c" * (COLUMNS - 1), "c" * (91 - COLUMNS)]
    assert lines("\x07") == ["\u2407"]


PLAY = "".join(f"{'ABC'[i % 3]}: to be, or not to be.\n" for i in range(120))
SMALL = [
    "dataset=text", "dataset.path=play.txt", "schedule=constant", "dataset.context=16", "trainer.batch_size=4",
    "trainer.log_every=5",
    "trainer.sample_every=1000", "model.network.embedding_features=8", "model.network.hidden_features=16",
]  # fmt: skip


def test_text_the_whole_way(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("play.txt").write_text(PLAY)
    run = ["model=char_rnn", *SMALL]
    assert main(["train", *run, "trainer.steps=20", "out=whole"]) == 0
    assert main(["train", *run, "trainer.steps=10", "out=half"]) == 0
    assert main(["train", "resume=half", "trainer.steps=20"]) == 0
    states = [torch.load(f"{name}/checkpoints/last.pt", weights_only=True)["model"] for name in ("whole", "half")]
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))
    capsys.readouterr()
    assert main(["sample", "ckpt=whole", "n=2", "length=40", "prompt=A: to", "out=written"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "written" and any(line.startswith("A: to") for line in said[:-1]), "the text is shown"
    text = Path("written/samples.txt").read_text()
    assert text.startswith("=== sample 0 ===\nA: to") and np.load("written/samples.npz")["x"].shape == (2, 40)
    assert any("tokens/s" in line for line in said)
    assert main(["evaluate", "ckpt=whole", "out=measured"]) == 0
    report = json.loads(Path("measured/metrics.json").read_text())
    assert report["metrics"]["nats_per_token"] == pytest.approx(report["metrics"]["nll"] / 16)
    assert report["protocol"]["nats_per_token"]["tokens"] == 16 * round(len(PLAY) * 0.1 / 16)
    Path("part.txt").write_text(PLAY[:100])
    assert main(["score", "ckpt=whole", "data=part.txt", "out=scored"]) == 0
    assert np.load("scored/log_prob.npz")["log_prob"].shape == (6,)
    capsys.readouterr()
    Path("play.txt").write_text(PLAY.replace("C", "Z"))
    assert main(["evaluate", "ckpt=whole", "out=other"]) == 2
    assert "other symbols" in capsys.readouterr().err and not Path("other").exists()
    assert main(["sample", "ckpt=whole", "prompt=Q"]) == 2
    assert "no 'Q'" in capsys.readouterr().err


def test_a_run_from_another_machine_finds_the_data_of_this_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    there, here = Path("there/tinyshakespeare"), Path("here/tinyshakespeare")
    there.mkdir(parents=True)
    (there / "input.txt").write_text(PLAY)
    monkeypatch.setenv("GENTOOL_DATA", "there")
    words = [word for word in SMALL if word != "dataset.path=play.txt"]
    assert main(["train", "model=char_rnn", *words, "trainer.steps=5", "out=run"]) == 0
    here.parent.mkdir()
    there.rename(here)
    there.parent.rmdir()
    monkeypatch.setenv("GENTOOL_DATA", "here")
    assert main(["evaluate", "ckpt=run", "out=measured"]) == 0
    assert main(["train", "resume=run", "trainer.steps=6"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "ckpt=run", "dataset.root=nowhere", "out=other"]) != 0, "what is typed is taken"
    assert "nowhere" in capsys.readouterr().err
