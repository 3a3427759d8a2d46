"""`tour`: what fits is trained and evaluated, what fails is told, and the same words go on."""

import csv
import shutil
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from gentool.cli import main
from gentool.commands import compare as comparing
from gentool.commands import tour as touring


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
        code = main(list(words))
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = outer, composed
        return code, ""

    monkeypatch.setattr(comparing, "gentool", program)
    monkeypatch.setattr(touring, "run_program", program)
    return broken, typed


TOUR = [
    "tour",
    "dataset=moons",
    "dataset.examples=300",
    "minutes=0.002",
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
    assert folder.parent == Path("outputs/tour") and folder.name.startswith("moons_0.002min_seed0")
    assert [row["model"] for row in table(folder)] == ["gaussian"]
    assert "known failed" in (folder / "compare.html").read_text()
    config = yaml.safe_load((folder / "runs/gaussian/config.yaml").read_text())
    assert config["trainer"]["minutes"] == pytest.approx(0.001) and config["dataset"]["examples"] == 300
    broken.clear()
    typed.clear()
    assert main(TOUR) == 0
    assert [words[:2] for words in typed] == [["train", "model=known"], ["evaluate", f"ckpt={folder}/runs/known"]]
    assert typed[1][2:4] == ["metrics=[nll]", "num_samples=200"]
    assert "gaussian: finished before" in capsys.readouterr().out
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
