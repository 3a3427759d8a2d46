"""`make table`: what is typed can be typed, what failed is counted, and a cell says what was measured and how."""

import importlib.util
from pathlib import Path

import pytest

from gentool.cli import catalogue
from gentool.comparison import Run

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "lecture_table.py"


@pytest.fixture
def table():
    spec = importlib.util.spec_from_file_location("lecture_table", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(**values):
    protocols = {"nll": {"kind": "bound"}} | {name: {} for name in values if name != "nll"}
    return Run(Path("here"), "name", {}, {}, values, {"nll": 0.61, "frechet": 0.2}, protocols, {})


def test_every_row_can_be_typed(table):
    models = {path.stem for path in (ROOT / "configs" / "model").glob("*.yaml")}
    typed = {word.removeprefix("model=") for family in table.FAMILIES.values() for word in family.words[:1]}
    assert typed <= models
    assert all(len(family.said) in (0, 5) for family in table.FAMILIES.values())
    options = catalogue.options(catalogue.verb_file("evaluate"))
    assert set(table.METRICS) <= {
        option.key.split(".")[1] for option in options if option.key.startswith("definitions.")
    }


def test_a_seed_fails_that_does_not_finish_or_loses_to_one_gaussian(table):
    assert table.failed([run(frechet=11.0), None, run(frechet=12.0), run(frechet=float("nan"))], limit=11.5) == 3


def test_cells_say_number_error_kind_and_the_lectures_word(table):
    seeds = [run(nll=86.234, frechet=6.271, samples_per_second=71234.0), None]
    cells = table.row("vae", seeds, limit=11.5)
    assert cells == [
        "prescribed",
        "`vae`",
        "1 of 2 failed · *stable*",
        "86.23 ± 0.6 (bound) · *approximate*",
        "71,234 / s · *fast*",
        "– · *lossy*",
        "– · *yes*",
        "6.27 ± 0.2",
        "–",
    ]
    text = table.markdown({table.GAUSSIAN: [run(frechet=11.5, samples_per_second=7.25)], "ddpm": [None]})
    assert text.splitlines()[-1] == "| diffusion | `ddpm` | 1 of 1 failed | – | – | – | – | – | – |"
    assert "| 7.2 / s |" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_what_is_done_is_skipped_and_a_failed_training_is_told(table, monkeypatch, tmp_path, capsys):
    typed = []

    def program(words, log):
        typed.append(words[0])
        return (3, "it diverged") if words[0] == "train" else (0, "")

    monkeypatch.setattr(table, "gentool", program)
    assert table.train("gan", 1, tmp_path) is None
    assert "gan, seed 1: failed: it diverged" in capsys.readouterr().out
    monkeypatch.setattr(table, "gentool", lambda words, log: (130, ""))
    with pytest.raises(SystemExit, match="130"):
        table.train("gan", 1, tmp_path)
    done = tmp_path / "runs" / "gan" / "seed_1"
    done.mkdir(parents=True)
    (done / "summary.json").touch()
    monkeypatch.setattr(table, "gentool", program)
    monkeypatch.setattr(table, "read_runs", lambda runs: [run(frechet=1.0)])
    assert table.train("gan", 1, tmp_path).values == {"frechet": 1.0}
    assert typed == ["train"]
