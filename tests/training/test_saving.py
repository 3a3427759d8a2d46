"""When a run saves itself."""

import pytest

from gentool.cli import main
from gentool.training import loop

TINY = ["train", "dataset=digits", "trainer.sample_every=100000", "trainer.validate_every=100000", "device=cpu",
        "trainer.log_every=100000", "model.encoder.hidden_features=[8]", "model.decoder.hidden_features=[8]",
        "out=run"]  # fmt: skip


@pytest.fixture
def saves(tmp_path, monkeypatch):
    """Steps at which a run of so many steps was saved, where a step takes one second and a save so many."""
    monkeypatch.chdir(tmp_path)
    now = 0.0

    def run(steps: int, seconds: float) -> list[int]:
        saved = []

        def save(path, state):
            nonlocal now
            now += seconds
            saved.append(state["step"])

        def step(self, *rest):
            nonlocal now
            now += 1
            at_intervals(self, *rest)

        at_intervals = loop.Loop._at_intervals
        monkeypatch.setattr(loop, "save_checkpoint", save)
        monkeypatch.setattr(loop.time, "perf_counter", lambda: now)
        monkeypatch.setattr(loop.Loop, "_at_intervals", step)
        assert main([*TINY, f"trainer.steps={steps}"]) == 0
        return saved[1:-2]  # without those before and after training

    return run


def test_the_next_save_is_counted_from_the_end_of_one(saves):
    assert saves(70, 1.0) == [15, 30, 45, 60]


def test_saving_takes_a_tenth_of_the_time_at_most(saves):
    assert saves(500, 20.0) == [15, 215, 415]
