"""Lengths of a run, and what it tells of those its user may not expect."""

from pathlib import Path

import pytest
import torch

from gentool.cli import main
from gentool.commands import train as training
from gentool.data.batches import ordered
from gentool.data.dataset import Rows
from gentool.training.trainer import ENDLESS, Trainer

TINY = ["train", "dataset=digits", "trainer.sample_every=100000", "model.encoder.hidden_features=[8]",
        "model.decoder.hidden_features=[8]", "device=cpu", "out=run"]  # fmt: skip


def test_the_first_length_that_is_set_ends_the_run():
    lengths = {"minutes": 1.0, "steps": 7, "examples": 1000, "epochs": 3.0}
    steps = []
    while lengths:
        steps.append(Trainer(**lengths, batch_size=10).plan(60).steps)
        lengths.pop(next(iter(lengths)))
    assert steps == [ENDLESS, 7, 100, 18]


def test_a_length_in_examples_is_of_any_set():
    trainer = Trainer(examples=100_000, batch_size=50, accumulate=2)
    for examples in (3, 60, 10**6):
        assert trainer.plan(examples).steps == 1000
    assert trainer.plan(60).validate_every == 10, "not after every step"
    assert trainer.plan(10**5).validate_every == 1000


@pytest.mark.parametrize(("words", "is_told"), [
    (["trainer.epochs=1"], True),
    (["trainer.epochs=1", "trainer.steps=3"], False),
    (["trainer.epochs=1", "trainer.examples=300"], False),
])  # fmt: skip
def test_epochs_that_end_a_run_early_are_told_of(words, is_told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, *words]) == 0
    log = Path("run/train.log").read_text()
    assert ("steps only: 1 epochs of" in log and "trainer.examples" in log) == is_told


def test_validation_is_of_so_many_examples_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    validate = training.Loop._validate
    monkeypatch.setattr(
        training.Loop, "_validate",
        lambda self, data: (seen.append(torch.cat([batch.index for batch in data()])), validate(self, data))[1],
    )  # fmt: skip
    words = [*TINY[:-1], "trainer.steps=4", "trainer.validate_every=2"]
    assert main([*words, "trainer.validation_examples=20", "out=run"]) == 0
    assert [len(index) for index in seen] == [20, 20] and torch.equal(*seen)
    assert "by 20 of " in Path("run/train.log").read_text()
    seen.clear()
    assert main([*words, "trainer.validation_examples=null", "out=whole"]) == 0
    assert len(seen[0]) > 20 and "validation_examples" not in Path("whole/train.log").read_text()


def test_some_of_a_split_are_drawn_from_all_of_it():
    source = Rows(torch.arange(1000)[:, None], None)
    some = torch.cat([batch.index for batch in ordered(source, 64, 0, most=100)])
    assert len(some.unique()) == 100 and (some.diff() > 0).all()
    assert some[0] < 100 and some[-1] > 900, "not only its beginning"
    assert torch.equal(torch.cat([batch.index for batch in ordered(source, 7, 0, most=100)]), some)
    assert len(torch.cat([batch.index for batch in ordered(source, 64, 0, most=5000)])) == 1000


@pytest.mark.parametrize(("shape", "size"), [((3, 32, 32), 512), ((3, 128, 128), 32), ((3, 2048, 2048), 1)])
def test_passes_over_large_images_take_fewer_at_once(shape, size):
    assert training.evaluation_batch(shape) == size
