"""`report.html` and `samples.gif`: made of the run's own files, complete, and alone."""

import base64
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gentool.plots.animation import animate
from gentool.plots.curves import bars, curves, thinned
from gentool.training.report import write_report

VOID = {"meta", "img", "br", "circle", "polyline", "line", "rect"}


class Page(HTMLParser):
    """Checks that elements close in order, and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "srcset", "data", "action")]
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def run(folder: Path, pictures: int = 5) -> Path:
    (folder / "samples").mkdir()
    steps = [100 * (i + 1) for i in range(pictures)]
    for step in steps:
        Image.fromarray(np.full((8, 12), step % 251, np.uint8)).save(folder / "samples" / f"step_{step:08d}.png")
        Image.fromarray(np.full((8, 12, 3), 9, np.uint8)).save(folder / "samples" / f"reconstruction_{step:08d}.png")
    animate(sorted((folder / "samples").glob("step_*.png")), folder / "samples" / "samples.gif")
    rows = []
    for step in steps:
        rows.append({"step": step, "epoch": 1.0, "split": "train", "model/loss": 500 / step, "model/kl": None})
        rows.append({"step": step, "epoch": 1.0, "split": "valid", "model/loss": 510 / step, "kl_per_dim": [1, 0.5]})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.yaml").write_text("model:\n  beta: 4.0  # <b>&\n")
    facts = {"model": "vae", "dataset": "digits", "parameters": 1234567, "device": "cpu", "seconds": 83.0}
    numbers = {
        "final": {"valid/model/loss": 1.25},
        "best": {"step": 7, "value": 1, "metric": "model/loss"},
        "versions": {"torch": "2.14.1"},
    }
    (folder / "summary.json").write_text(json.dumps({**facts, "steps": steps[-1], **numbers}))
    return folder


def pixels(image: dict[str, str | None]) -> np.ndarray:
    data = re.fullmatch(r"data:image/(?:png|gif);base64,(.+)", image["src"] or "")
    assert data
    return np.asarray(Image.open(BytesIO(base64.b64decode(data[1]))))


def test_the_page_holds_facts_numbers_curves_pictures_and_config(tmp_path: Path) -> None:
    path = write_report(run(tmp_path))
    text = path.read_text()
    page = Page(text)
    assert path == tmp_path / "report.html"
    for word in ("<h1>vae on digits</h1>", "1,234,567", "1:23", "2.14.1", "1.2500", "beta: 4.0  # &lt;b&gt;&amp;"):
        assert word in text
    assert [image["alt"] for image in page.images] == [
        "samples, step 100", "samples, step 300", "samples, step 500", "samples, from the first step to the last",
        "reconstruction, step 500",
    ]  # fmt: skip
    assert [pixels(image)[0, 0] for image in page.images[:3]] == [100, 300 % 251, 500 % 251]
    assert re.search(r'<h3>model/loss</h3>.*?polyline class="train".*?polyline class="valid"', text)
    assert text.count('class="chart"') == 2  # the loss, and the bars of the list; a metric of nulls has no chart
    assert len(re.findall('class="bar"', text)) == 2


def test_the_page_stands_alone(tmp_path: Path) -> None:
    text = write_report(run(tmp_path)).read_text()
    assert all(link.startswith("data:image/") for link in Page(text).links)
    assert "<script" not in text
    assert not re.search(r"https?://|url\(|@import", text)


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    Page(write_report(tmp_path).read_text())
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "epoch": 0.5, "split": "train", "model/loss": 2}\n{"step": 2, "ep'
    )
    text = write_report(
        tmp_path, {"model": "<vae>", "final": {"valid/model/loss": 2.0}, "best": {"value": None}}
    ).read_text()
    Page(text)
    assert "&lt;vae&gt;" in text
    assert '<circle class="train"' in text


def test_curves_place_points_on_their_axes() -> None:
    drawn = curves({"train": [(0, 0.0), (50, 4.0), (100, 8.0)]}, "step")
    found = re.search('points="([^"]+)"', drawn)
    assert found
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, pair.split(","))) for pair in found[1].split()]
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y1 - y0 == pytest.approx(y2 - y1)
    assert y0 > y1  # up is more
    for label in (4, 8):
        found = re.search(rf'y="([\d.]+)" text-anchor="end">{label}<', drawn)
        assert found
        assert float(found[1]) - 4 == pytest.approx({4: y1, 8: y2}[label], abs=0.11)


def test_a_steep_beginning_does_not_flatten_the_rest() -> None:
    steep = [(0, 1e6), *((x, 10 + 5 * (x % 2)) for x in range(10, 100))]
    points = re.search('points="([^"]+)"', curves({"train": steep}, "step"))
    assert points
    heights = [float(pair.split(",")[1]) for pair in points[1].split()][1:]
    assert max(heights) - min(heights) > 100


@pytest.mark.parametrize("line", [[], [(1, float("nan"))], [(1, 2.0)], [(1, 0.0), (2, 0.0)], [(1, 1e300), (2, -1e300)]])
def test_odd_curves_are_drawn_or_left_out(line: list[tuple[float, float]]) -> None:
    drawn = curves({"train": line}, "step")
    assert "nan" not in drawn
    Page(drawn)


def test_bars_stand_on_zero_and_fall_below_it() -> None:
    heights = [float(height) for height in re.findall(r'class="bar".*?height="([\d.]+)"', bars([-1.0, 2.0, 1.0]))]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[1] == pytest.approx(heights[2], abs=0.2)
    assert bars([]) == ""


def test_a_thinned_curve_keeps_its_mean_and_its_end() -> None:
    line = [(float(i), float(i)) for i in range(10_001)]
    short = thinned(line)
    assert len(short) <= 300
    assert short[-1] == line[-1]
    assert all(x == y for x, y in short)


def test_the_gif_takes_evenly_spaced_frames_of_one_size(tmp_path: Path) -> None:
    for i in range(21):
        shape = (4, 4, 3) if i == 0 else (8, 8, 3)
        Image.fromarray(np.full(shape, 10 * i, np.uint8)).save(tmp_path / f"step_{i:08d}.png")
    out = animate(sorted(tmp_path.glob("*.png")), tmp_path / "samples.gif", most=5)
    assert out
    with Image.open(out) as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (5, (8, 8), 0)
        shades = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            shades.append(int(np.asarray(gif.convert("RGB"))[0, 0, 0]))
    assert shades == [0, 50, 100, 150, 200]
    assert animate([], tmp_path / "none.gif") is None
