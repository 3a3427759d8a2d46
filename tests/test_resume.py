"""A run killed at random moments and resumed is, bit for bit, the run that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

STEPS = 300
COMMON = [
    "model=vae",
    "dataset=digits",
    "device=cpu",
    f"trainer.steps={STEPS}",
    "trainer.batch_size=32",
    "trainer.ema=0.99",
    "trainer.log_every=7",
    "trainer.validate_every=50",
    "trainer.sample_every=100",
    "trainer.save_every=11",
    "schedule=cosine",
    "model.latent_dim=2",
    "model.kl_warm_up=0.5",
]
FLOW = [
    "model=glow",
    "dataset=digits",
    "device=cpu",
    "model.dequantisation=variational",
    "model.transform.steps=1",
    "model.transform.network.hidden_channels=4",
    "trainer.steps=120",
    "trainer.batch_size=8",
    "trainer.log_every=5",
    "trainer.save_every=11",
]
KEYS = ("model", "ema", "optimizers", "schedules", "step", "rng")


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "gentool", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def last(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)


def assert_equal(a: Any, b: Any, where: str = "") -> None:
    if isinstance(a, Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}/{i}")
    else:
        assert a == b, where


def steps(run: Path, split: str) -> list[int]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["split"] == split]


def wait_for_step(run: Path, process: subprocess.Popen[str], step: int) -> None:
    while process.poll() is None:
        path = run / "metrics.jsonl"
        if path.exists() and f'"step": {step}' in path.read_text():
            return
        time.sleep(0.002)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    finish(start(*COMMON, f"out={run}"))
    return run


def kill_and_resume(run: Path, kills: int, seed: int) -> None:
    """Kill with SIGKILL at random moments of the training, then let it end."""
    clock = random.Random(seed)
    process = start(*COMMON, f"out={run}")
    while not (run / "checkpoints" / "last.pt").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    for _ in range(kills):
        time.sleep(clock.uniform(0.0, 0.4))
        process.kill()
        process.communicate()
        last(run)  # whole and loadable, whenever the kill came
        process = start(f"resume={run}")
        opened = (run / "train.log").stat().st_size
        while process.poll() is None and (run / "train.log").stat().st_size <= opened:
            time.sleep(0.01)
    finish(process)


def assert_same_run(run: Path, whole: Path) -> None:
    ours, theirs = last(run), last(whole)
    for key in KEYS:
        assert_equal(ours.get(key), theirs.get(key), key)
    for split in ("train", "valid"):
        assert steps(run, split) == steps(whole, split), split


def test_killed_twice_and_resumed_is_the_run_left_alone(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    kill_and_resume(run, kills=2, seed=0)
    assert_same_run(run, whole)


def test_a_flow_that_learns_its_noise_resumes_too(tmp_path: Path) -> None:
    finish(start(*FLOW, f"out={tmp_path / 'whole'}"))
    run = tmp_path / "run"
    process = start(*FLOW, f"out={run}")
    wait_for_step(run, process, 30)
    process.kill()
    process.communicate()
    assert 22 <= last(run)["step"] < 120, "the run was not killed half-way"
    finish(start(f"resume={run}"))
    assert_same_run(run, tmp_path / "whole")


@pytest.mark.slow
def test_killed_ten_times_and_resumed_is_the_run_left_alone(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    kill_and_resume(run, kills=10, seed=1)
    assert_same_run(run, whole)
    assert event_steps(run) == event_steps(whole)


def event_steps(run: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [event.step for event in events.Scalars("train/model/loss")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_first_and_says_how_to_go_on(number: int, code: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(*COMMON, f"out={run}", "trainer.steps=100000", "trainer.save_every=100000")
    wait_for_step(run, process, 70)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert f"gentool train resume={run}" in err
    assert "Traceback" not in err
    assert last(run)["step"] >= 70
    finish(start(f"resume={run}", f"trainer.steps={last(run)['step'] + 5}"))
    assert (run / "summary.json").exists()


def test_resuming_with_another_model_is_refused_with_a_diff(whole: Path) -> None:
    process = start(f"resume={whole}", "model.latent_dim=3")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "model.latent_dim: 2 -> 3" in err
