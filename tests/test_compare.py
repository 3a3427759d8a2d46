"""`compare` and `tour`: what may be ranked is, what may not is named, and the page stands alone."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from PIL import Image

from gentool.cli import catalogue, main
from gentool.comparison import ranked, read_runs, tables
from gentool.metrics.directions import BETTER
from gentool.plots.trilemma import Corner, trilemma
from gentool.training.checkpoints import identity

PROTOCOL = {"split": "test", "n": 100, "kind": "importance", "draws": 100, "weights": "ema", "seed": 0}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(folder, model="vae", dataset="digits", values=None, protocol=None, **more):
    """Write what a finished run leaves, and what `evaluate` wrote of it."""
    folder = Path(folder)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "samples").mkdir()
    (folder / "checkpoints" / "best.pt").write_bytes(str(folder).encode())
    summary = {
        "model": model,
        "dataset": dataset,
        "parameters": 1234,
        "seconds": 65.0,
        "best": {"metric": "model/loss"},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.yaml").write_text(yaml.safe_dump({"dataset": {"binarize": "none", "root": str(folder)} | more}))
    lines = [{"step": i, "epoch": 1, "split": s, "model/loss": 9.0 / i} for i in (1, 2, 3) for s in ("train", "valid")]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for step in (10, 20):
        Image.new("L", (40, 40), step).save(folder / "samples" / f"step_{step:08d}.png")
    if values:
        measure(folder, values, protocol)
    return folder


def measure(folder, values, protocol=None, name="evaluate"):
    report = {
        "metrics": values,
        "standard_error": dict.fromkeys(values, 0.5),
        "protocol": {metric: PROTOCOL | (protocol or {}) for metric in values},
        "unavailable": {"modes": "no mixture"},
        "run": identity(folder / "checkpoints" / "best.pt"),
    }
    (folder / name).mkdir()
    (folder / name / "metrics.json").write_text(json.dumps(report))


def run(*words, code=0):
    assert main(["compare", *words]) == code


def table(folder):
    return list(csv.DictReader(Path(folder, "table.csv").read_text().splitlines()))


@pytest.fixture
def three():
    make("a", "vae", values={"nll": 90.0, "recall": 0.5, "precision": 0.7, "samples_per_second": 1000.0})
    make("b", "iwae", values={"nll": 88.0, "recall": 0.4, "precision": 0.9, "samples_per_second": 100.0})
    make("c", "made", values={"nll": 80.0, "recall": 0.9}, protocol={"kind": "exact", "draws": 1})


def test_the_best_of_what_was_measured_alike_is_bold(three, capsys):
    run("runs=[a,b,c]", "out=done")
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "done"
    markdown = Path("done/table.md").read_text()
    vae, iwae, made = (
        next(line for line in markdown.splitlines() if f"| {n} |" in line) for n in ("vae", "iwae", "made")
    )
    assert "**0.9000 ± 0.5" in iwae and "**0.5000 ± 0.5" not in iwae and "**1,000" in vae
    assert "| 88 ± 0.5 importance† |" in iwae and "| 90 ± 0.5 importance† |" in vae and "| 80 ± 0.5 |" in made
    says = "† nll: none is the best: of vae (importance), iwae (importance) the values are upper bounds"
    assert f"{says}, and the true ones may be below that of made, the lowest" in markdown and says in printed.out
    rows = {row["model"]: row for row in table("done")}
    assert rows["iwae"]["nll"] == "88.0" and rows["iwae"]["nll_best"] == "false"
    assert rows["iwae"]["nll_ranked"] == "false" and rows["made"]["nll_best"] == "false"


@pytest.mark.parametrize(
    ("values", "best", "undecided"),
    [
        ({"exact": 95.0, "importance": 92.3}, "importance", []),  # a bound below an exact value decides
        ({"exact": 90.0, "importance": 92.3}, None, ["importance"]),  # the true value may be below 90
        ({"bound": 118.9, "importance": 92.3}, None, ["bound"]),
        ({"ode": 93.0, "bound": 92.0, "exact": 95.0}, "bound", []),
        ({"ode": 91.0, "exact": 95.0}, "ode", []),
        ({"ode": 91.0, "exact": 95.0, "bound": 99.0}, None, ["bound"]),
    ],
)
def test_kinds_of_likelihood_are_ranked_as_far_as_bounds_decide(values, best, undecided):
    for kind, value in values.items():
        make(kind, kind, values={"nll": value}, protocol={"kind": kind, "draws": 1})
    (ranking,) = ranked(read_runs(list(values)))
    assert ranking.best == ((best,) if best else ()) and list(ranking.unranked) == undecided
    assert ("none is the best" in ranking.note) == bool(undecided)


def test_protocols_of_equally_many_runs_crown_nobody():
    for name, value, k in (("a", 0.1, 5), ("b", 0.2, 5), ("c", 0.3, 3), ("d", 0.4, 3)):
        make(name, values={"recall": value}, protocol={"k": k})
    (ranking,) = ranked(read_runs(list("abcd")))
    assert not ranking.best and set(ranking.unranked) == set("abcd")
    assert ranking.note == "recall: no protocol is that of most runs, none is ranked; unlike a: c, d (k 3 not 5)"


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ({"protocol": {"n": 10}}, "n 10 not 100"),
        ({"protocol": {"split": "valid"}}, "split valid not test"),
        ({"binarize": "static"}, "binarize static not none"),
        ({"dataset": "mnist"}, "dataset mnist not digits"),
        ({"protocol": {"conditional": True}}, "conditional True not none"),
    ],
)
def test_other_protocols_are_not_ranked_and_the_difference_is_said(other, differs):
    make("a", values={"nll": 90.0})
    make("b", values={"nll": 89.0})
    make("c", values={"nll": 1.0}, **other)
    (ranking,) = ranked(read_runs(["a", "b", "c"]))
    assert ranking.best == ("b",) and ranking.unranked == ("c",) and differs in ranking.note


def test_weights_knobs_and_the_place_of_the_data_are_no_protocol():
    make("a", values={"nll": 90.0}, protocol={"weights": "raw", "sampler": {"steps": 3}})
    make("b", values={"nll": 89.0})
    (ranking,) = ranked(read_runs(["a", "b"]))
    assert ranking.best == ("b",) and not ranking.note


def test_one_value_is_not_the_best_and_an_unknown_name_has_no_direction():
    make("a", values={"nll": 90.0, "novelty": 1.0})
    make("b", values={"novelty": 2.0})
    nll, novelty = ranked(read_runs(["a", "b"]))
    assert (nll.metric, nll.best, novelty.best, novelty.better) == ("nll", (), (), None)


def test_where_no_two_were_measured_alike_none_is_ranked():
    make("a", values={"recall": 0.9})
    make("b", values={"recall": 0.8}, protocol={"k": 7})
    (ranking,) = ranked(read_runs(["a", "b"]))
    assert not ranking.best and ranking.unranked == ("a", "b") and "b (k 7 not none)" in ranking.note


def test_every_metric_of_evaluate_has_a_direction():
    options = catalogue.options(catalogue.verb_file("evaluate"))
    names = {key[1] for key in (o.key.split(".") for o in options) if key[0] == "definitions" and len(key) == 2}
    assert names <= BETTER.keys(), "gentool/metrics/directions.py says which way each number is better"


def test_what_was_not_evaluated_is_named_with_the_command(three, capsys):
    make("d")
    run("runs=[a,d]", code=2)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "d; gentool evaluate ckpt=d, or evaluate=true" in line
    assert not Path("outputs").exists()


def test_numbers_of_an_older_checkpoint_do_not_count(three, capsys):
    Path("a/checkpoints/best.pt").write_bytes(b"trained on")
    run("runs=[a,b]", code=2)
    assert "a; gentool evaluate ckpt=a" in capsys.readouterr().err


def test_the_newest_number_counts_and_others_are_kept():
    folder = make("a", values={"nll": 90.0, "recall": 0.5})
    measure(folder, {"nll": 70.0, "modes": 8.0}, name="later")
    (found,) = read_runs(["a"])
    assert found.values == {"nll": 70.0, "recall": 0.5, "modes": 8.0} and not found.unavailable


@pytest.mark.parametrize(
    ("asked", "models"),
    [
        ("runs=x/*", ["made", "vae"]),
        ("runs=x", ["made", "vae"]),
        ("runs=[x/b=1 [é],x/a#2]", ["vae", "made"]),
        ("runs=[x/b=1 [é],x/*]", ["vae", "made"]),
    ],
)
def test_runs_are_folders_folders_of_them_or_patterns(asked, models, capsys):
    make("x/b=1 [é]", "vae", values={"nll": 1.0})
    make("x/a#2", "made", values={"nll": 2.0})
    run(asked, "out=done")
    assert [row["model"] for row in table("done")] == models


@pytest.mark.parametrize(
    ("asked", "models"),
    [
        ("runs=x/model-vae,seed-*", ["vae", "vae"]),
        ("runs=x/model-vae,seed-1", ["vae"]),
        ("runs=[x/model-vae,seed-0,x/model-made,seed-0]", ["vae", "made"]),
        ("runs=x/model-made,seed-0,x/model-vae,seed-1", ["made", "vae"]),
    ],
)
def test_folders_of_a_sweep_may_hold_commas(asked, models):
    for name in ("model-vae,seed-0", "model-vae,seed-1", "model-made,seed-0"):
        make(f"x/{name}", name[6:].partition(",")[0], values={"nll": float(len(name))})
    run(asked, "out=done")
    assert [row["model"] for row in table("done")] == models


@pytest.mark.parametrize(
    ("asked", "says"),
    [("nowhere", "no such folder"), ("empty", "there is no run"), ("stopped", "gentool train resume=stopped")],
)
def test_what_is_no_finished_run_is_refused(asked, says, capsys):
    Path("empty").mkdir()
    Path("stopped/checkpoints").mkdir(parents=True)
    run(f"runs={asked}", code=2)
    assert says in capsys.readouterr().err


def test_without_runs_every_evaluated_one_is_compared(capsys):
    run(code=2)
    make("outputs/train/vae-digits/1", values={"nll": 1.0})
    make("outputs/train/vae-digits/2", values={"nll": 2.0})
    make("outputs/train/vae-digits/3")
    run("out=done")
    assert [row["run"] for row in table("done")] == ["1", "2"], "same model, so the folder tells them apart"


class Tags(HTMLParser):
    """Holds a page to being well-formed and alone."""

    ALONE = ("meta", "img", "line", "circle", "polyline", "rect", "br", "wbr")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.ALONE:
            assert self.open.pop() == tag

    def find(self, tag, **attrs):
        return [a for t, a in self.seen if t == tag and attrs.items() <= a.items()]


def test_the_page_stands_alone_and_holds_everything(three):
    make("d <b>", "gan", values={"recall": 0.1, "precision": 0.2, "samples_per_second": 9.0})
    run("runs=[a,b,c,d <b>]", "out=done")
    text = Path("done/compare.html").read_text()
    page = Tags()
    page.feed(text)
    assert page.open == []
    assert not page.find("script") and not page.find("link") and not page.find("a")
    assert not re.search(r"""(src|href)=["'](?!data:)""", text) and "url(" not in text
    pictures = page.find("img")
    assert len(pictures) == 4 and all(a["src"].startswith("data:image/png;base64,") for a in pictures)
    assert len(page.find("circle", **{"class": "disc"})) == 3
    assert len(page.find("polyline")) == 8, "train and valid of each run"
    assert len(page.find("tr")) == 5 and text.count("<b>1,000") == 1
    assert "Not measured: made." in text


def test_discs_stand_where_recall_and_precision_say_and_grow_with_speed():
    drawn = trilemma({"low": Corner(0, 0, 1.0), "high": Corner(1, 1, 1000.0), "unknown": Corner(0.5, 0.5, None)})
    discs = {
        name: (float(x), float(y), float(r))
        for x, y, r, name in re.findall(r'cx="(.*?)" cy="(.*?)" r="(.*?)"><title>(\w+)', drawn)
    }
    assert discs["low"][0] < discs["unknown"][0] < discs["high"][0]
    assert discs["low"][1] > discs["unknown"][1] > discs["high"][1]
    assert discs["high"][2] > 2 * discs["low"][2] and "speed not measured" in drawn
    assert trilemma({}) == "" and trilemma({"x": Corner(float("nan"), 0, None)}) == ""


def test_labels_of_the_trilemma_do_not_overlap():
    crowd = {f"model_{i}": Corner(0.5 + 0.004 * i, 0.5 + 0.003 * (i % 4), 10.0**i) for i in range(9)}
    drawn = trilemma({**crowd, "low": Corner(0, 0.2, 1.0), "far": Corner(1, 1, 1.0)})
    labels = [(float(x), float(y), name) for x, y, name in re.findall(r'<text x="([\d.]+)" y="([\d.]+)">(\w+)<', drawn)]
    assert {"low", "far"} < {name for *_, name in labels} and len(labels) >= 8, "few are left out"
    for (x, y, name), (u, v, other) in combinations(labels, 2):
        assert abs(y - v) >= 12.9 or x + 6.4 * len(name) <= u + 0.1 or u + 6.4 * len(other) <= x + 0.1, (name, other)
    assert all(x >= 56 and x + 6.4 * len(name) <= 900 and y < 520 - 44 for x, y, name in labels)
    assert drawn.count("<title>model") == 9


def test_the_axes_of_the_trilemma_fit_what_is_shown():
    drawn = trilemma({"a": Corner(0.62, 0.21, 1.0), "b": Corner(0.71, 0.26, 2.0)})
    across = [float(tick) for tick in re.findall(r'text-anchor="middle">([\d.]+)<', drawn)]
    up = [float(tick) for tick in re.findall(r'text-anchor="end">([\d.]+)<', drawn)]
    assert across == pytest.approx([0.2, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.27])
    assert up == pytest.approx([0.6, 0.62, 0.64, 0.66, 0.68, 0.7, 0.72])
    whole = trilemma({"a": Corner(0, 0, 1.0), "b": Corner(1, 1, 2.0)})
    assert [float(t) for t in re.findall(r'"middle">([\d.]+)<', whole)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_a_table_says_nothing_twice(three, capsys):
    run("runs=[a,b,c]", "out=done")
    heading = Path("done/table.md").read_text().splitlines()[0]
    assert heading.startswith("| run | parameters | time | nll")  # the names are the models', the data is one
    make("d", "vae", dataset="moons", values={"nll": 1.0})
    run("runs=[a,d]", "out=two")
    assert Path("two/table.md").read_text().startswith("| run | model | dataset | parameters")


def test_what_was_not_measured_is_said_in_one_sentence(three):
    for name, kind in (("x", "GAN"), ("y", "Autoencoder")):
        reason = f"{kind} does not implement HasLikelihood (log_prob)"
        folder = make(name, name, values={"recall": 0.5})
        report = json.loads((folder / "evaluate/metrics.json").read_text())
        report["unavailable"] = {"nll": reason, "bits_per_dim": reason}
        (folder / "evaluate/metrics.json").write_text(json.dumps(report))
    measure(Path("a"), {"bits_per_dim": 2.0}, name="more")
    run("runs=[a,x,y]", "out=done")
    said = [line for line in Path("done/table.md").read_text().splitlines() if "not measured" in line]
    assert said == ["not measured, no likelihood: nll, bits_per_dim (x, y)"]


def test_a_latex_table_is_written_too(three):
    run("runs=[a,b,c]", "out=done")
    text = Path("done/table.tex").read_text()
    assert "\\begin{tabular}{lrrrrrr}" in text and "samples\\_per\\_second $\\uparrow$" in text
    assert "88 $\\pm$ 0.5 importance$^\\dagger$" in text and "\\textbf{0.9000 $\\pm$ 0.5" in text
    assert "†" not in text and "±" not in text


def test_runs_that_differ_in_their_seed_alone_become_mean_and_deviation(capsys):
    for seed, nll in enumerate((90.0, 92.0, 94.0)):
        make(f"vae{seed}", "vae", values={"nll": nll})
    make("other", "vae", values={"nll": 80.0})
    for path in Path().glob("*/config.yaml"):
        config = yaml.safe_load(path.read_text())
        extra = {"model": {"beta": 4.0 if path.parent.name == "other" else 1.0}, "seed": len(path.parent.name)}
        path.write_text(yaml.safe_dump(config | extra))
    run("runs=[vae0,vae1,vae2,other]", "group=model", "out=done")
    first, second = table("done")
    assert first["seeds"] == "3" and float(first["nll"]) == 92.0 and float(first["nll_deviation"]) == 2.0
    assert second["seeds"] == "1" and float(second["nll"]) == 80.0, "another model, by its options"
    said = capsys.readouterr().out
    assert "± is the standard deviation over seeds" in said and "92 ± 2 importance" in said


def test_bold_on_a_terminal():
    text = tables.plain(["run"], [[tables.Cell("1", True)], [tables.Cell("22")]], bold=True)
    assert text == "run\n\033[1m1  \033[0m\n22"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_page_in_a_browser(three, place):
    run("runs=[a,b,c]", "out=done")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,1600", f"--screenshot={place}/page.png"]
    page = (place / "done/compare.html").as_uri()
    subprocess.run([CHROMIUM, *flags, page], check=True, timeout=120, capture_output=True)
    drawn = Image.open(place / "page.png").convert("L")
    assert drawn.getcolors(256) is not None and len(drawn.getcolors(256)) > 20, "something is drawn"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    dom = subprocess.run([CHROMIUM, *flags, page], check=True, timeout=120, capture_output=True, text=True).stdout
    seen = Tags()
    seen.feed(dom)
    assert len(seen.find("img")) == 3 and len(seen.find("circle", **{"class": "disc"})) == 2
