"""`tour`: what fits is trained and evaluated, what fails is told, and the same words go on."""

import csv
import shutil
import time
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from gentool.cli import main
from gentool.commands import compare as comparing
from gentool.commands import tour as touring
from gentool.commands.workers import Job, Outcome, outcomes


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table(folder):
    return list(csv.DictReader(Path(folder, "table.csv").read_text().splitlines()))


@pytest.fixture
def inside(monkeypatch, capsys):
    """Run the program in this process; the models named in `broken` fail to train."""
    broken, typed = {}, []

    def program(words, log=None):
        typed.append(words)
        model = next((word.partition("=")[2] for word in words if word.startswith("model=")), None)
        if model in broken:
            return broken[model], f"{model} diverged"
        outer, composed = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
        GlobalHydra.instance().clear()
        code = main([word if "minutes=" not in word else "trainer.steps=5" for word in words])
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = outer, composed
        return code, ""

    def one_by_one(jobs, **_):
        for job in jobs:
            codes = (program(words) for words in job.commands)
            code, said = next((result for result in codes if result[0]), (0, ""))
            yield Outcome(job, code, said, is_late=False)

    monkeypatch.setattr(comparing, "gentool", program)
    monkeypatch.setattr(touring, "outcomes", one_by_one)
    monkeypatch.setattr(touring, "warm_up", lambda: None)
    monkeypatch.setattr(touring, "BUILD", 1e3)  # a busy machine is as fast as any
    return broken, typed


TOUR = [
    "tour",
    "dataset=moons",
    "dataset.examples=300",
    "minutes=0.5",
    "n=100",
    "seconds.others=0.1",
    "device=cpu",
    "models=[gaussian,known,pixelcnn]",
    "metrics=[nll]",
    "num_samples=200",
]


def test_a_tour_trains_what_fits_goes_on_and_ends_in_the_page(inside, capsys):
    broken, typed = inside
    broken["known"] = 3
    assert main(TOUR) == 0
    printed = capsys.readouterr().out
    assert "pixelcnn is refused: " in printed and "known failed: known diverged" in printed
    folder = Path(printed.splitlines()[-1])
    assert folder.parent == Path("outputs/tour") and folder.name.startswith("moons_0.5min_seed0")
    assert [row["model"] for row in table(folder)] == ["gaussian"]
    assert "known failed" in (folder / "compare.html").read_text()
    minutes = [float(word.partition("=")[2]) for words in typed for word in words if "minutes=" in word]
    assert len(minutes) == 2 and 0 < minutes[1] <= minutes[0]
    config = yaml.safe_load((folder / "runs/gaussian/config.yaml").read_text())
    assert config["dataset"]["examples"] == 300
    broken.clear()
    typed.clear()
    capsys.readouterr()
    assert main(TOUR) == 0
    assert [words[:2] for words in typed] == [["train", "model=known"], ["evaluate", f"ckpt={folder}/runs/known"]]
    assert typed[1][2:5] == ["metrics=[nll]", "num_samples=200", "n=60"]
    assert "gaussian:" not in capsys.readouterr().out, "it was finished before"
    assert [row["model"] for row in table(folder)] == ["gaussian", "known"]
    assert main(["compare", f"runs={folder}/runs", "out=again"]) == 0
    shutil.rmtree(folder / "runs/known/evaluate")
    assert main(["compare", f"runs={folder}/runs", "evaluate=true", "out=again", "overwrite=true"]) == 0


def test_a_tour_that_cannot_start_says_so(inside, capsys):
    assert main(["tour", "models=[gaussain]"]) == 2
    assert "did you mean 'gaussian'?" in capsys.readouterr().err
    assert main(["tour", "models=[known]"]) == 2
    assert main(["tour", "minutes=0"]) == 2
    assert not Path("outputs").exists()


def test_models_that_do_not_fit_in_the_minutes_are_named_before_any_is_trained(inside, capsys):
    _, typed = inside
    assert main([*TOUR, "models=[gaussian,ddpm]", "seconds.ddpm=1e5"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("left out, for want of time: ddpm;") < printed.index("1/1  gaussian: trained and evaluated")
    assert not any("model=ddpm" in words for words in typed)
    folder = Path(printed.splitlines()[-1])
    assert "ddpm is left out: its evaluation takes about" in (folder / "compare.html").read_text()
    assert main([*TOUR, "minutes=0.1", "out=short"]) == 2
    assert capsys.readouterr().err.startswith("gentool: minutes: too few for gaussian, known; expected about 0.")


def test_the_slowest_are_left_out_until_the_rest_have_a_second_of_training_each():
    costs = {"a": 5.0, "b": 10.0, "c": 2.0}
    assert touring.too_slow(costs, 20) == [] and touring.too_slow(costs, 19.9) == ["b"]
    assert touring.too_slow(costs, 8.9) == ["b", "a"] and touring.too_slow(costs, 2) == ["b", "a", "c"]


def test_the_time_of_training_shrinks_for_those_that_come_late(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(touring.time, "monotonic", lambda: now[0])
    plan = touring.Plan({"a": 3.0, "b": 3.0}, 2, until=10.0)
    assert plan.share() == 7.0
    plan.waiting.pop("a")
    assert plan.share() == 7.0, "what a left over is nobody's: the shares are equal"
    now[0] = 7.0
    assert plan.share() == 3.0


@pytest.mark.slow
def test_workers_fail_alone_and_stop_when_the_time_is_up(tmp_path):
    def jobs():
        train = ["train", "model=vae", "dataset=digits", "device=cpu"]
        yield Job("bad", [["train", "model=nothing"], ["list"]], tmp_path / "bad.log")
        yield Job("long", [[*train, "trainer.minutes=60", "out=long"], ["list"]], tmp_path / "long.log")

    ended = {}
    for outcome in outcomes(jobs(), count=2, threads=1, until=time.monotonic() + 20):
        ended[outcome.job.name] = outcome
    assert ended["bad"].code == 2 and "model=nothing" in ended["bad"].said and not ended["bad"].is_late
    assert ended["long"].code == 143 and ended["long"].is_late and Path("long/checkpoints/last.pt").is_file()
