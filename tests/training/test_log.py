"""The run's log: what is written reads back, and a resumed run holds every step once."""

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from gentool.errors import RunError
from gentool.training.log import RunLog

HEADER = {"model": "vae", "run": "outputs/train/vae-digits/2026"}


def opened(folder: Path, step: int = 0) -> RunLog:
    return RunLog(folder, step=step, steps=12, header=HEADER)


def train(log: RunLog, first: int, last: int) -> None:
    for step in range(first, last + 1):
        log.progress(step, 12, step / 4, {"model/loss": 100.0 / step, "model/kl": float(step)}, 500.0, 12.0 - step)
        if step % 2 == 0:
            log.validation(step, step / 4, {"loss": 101.0 / step, "kl_per_dim": [2.0, 0.5, float("nan")]})
            log.image(step, "step", np.full((6, 8), step, np.uint8))
            log.image(step, "reconstruction", np.full((6, 8, 3), step, np.uint8))


def finish(log: RunLog, step: int) -> None:
    final = {"train/model/loss": 7.25, "valid/loss": 7.5, "valid/kl_per_dim": [1.0]}
    best = {"metric": "loss", "value": 7.0, "step": 2}
    summary = {"steps": step, "seconds": 3.0, "final": final, "best": best}
    log.finish(summary, {"model": {"beta": 4.0, "kind": "mlp"}, "ema": True}, ["gentool sample", "gentool evaluate"])


def lines(folder: Path) -> list[dict]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def raw(folder: Path) -> Counter:
    """Every (tag, step) that stands in the event files themselves."""
    found: Counter = Counter()
    for path in sorted((folder / "tensorboard").iterdir()):
        for event in LegacyEventFileLoader(str(path)).Load():
            found.update((value.tag, event.step) for value in event.summary.value)
    return found


def tensorboard(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "histograms": 0})
    return events.Reload()


def assert_whole(folder: Path, last: int) -> None:
    """Every step from 1 to `last` stands once in each place."""
    every, even = list(range(1, last + 1)), list(range(2, last + 1, 2))
    assert [line["step"] for line in lines(folder) if line["split"] == "train"] == every
    assert [line["step"] for line in lines(folder) if line["split"] == "valid"] == even
    assert set(raw(folder).values()) == {1}
    events = tensorboard(folder)
    assert [e.step for e in events.Scalars("train/model/loss")] == every
    assert [e.step for e in events.Scalars("valid/loss")] == even
    assert [e.step for e in events.Histograms("valid/kl_per_dim")] == even
    assert [e.step for e in events.Images("samples")] == even
    names = {f"{tag}_{step:08d}.png" for tag in ("step", "reconstruction") for step in even}
    assert {path.name for path in (folder / "samples").iterdir()} - {"samples.gif"} == names


def test_lines_are_strict_json_in_the_documented_form(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.progress(5, 12, 1.25, {"model/loss": 2.5, "model/kl": float("inf"), "c": [1.0, float("nan")]}, 9.0, None)
        log.validation(5, 1.25, {"loss": 3.0})
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [
        '{"step": 5, "epoch": 1.25, "split": "train", "model/loss": 2.5, "model/kl": null, "c": [1.0, null]}',
        '{"step": 5, "epoch": 1.25, "split": "valid", "loss": 3.0}',
    ]


def test_tensorboard_reads_back_what_was_logged(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        train(log, 1, 12)
        finish(log, 12)
    assert_whole(tmp_path, 12)
    events = tensorboard(tmp_path)
    assert [e.value for e in events.Scalars("train/model/loss")] == pytest.approx([100 / s for s in range(1, 13)])
    assert events.Scalars("speed/examples_per_second")[0].value == 500
    picture = events.Images("reconstruction")[-1]
    assert (picture.height, picture.width) == (6, 8)
    assert np.array_equal(np.asarray(Image.open(BytesIO(picture.encoded_image_string))), np.full((6, 8, 3), 12))
    histogram = events.Histograms("valid/kl_per_dim")[0].histogram_value
    assert (histogram.num, histogram.min, histogram.max) == (2, 0.5, 2.0)  # the NaN is left out
    assert sum(histogram.bucket) == 2


def test_hparams_stand_beside_the_final_metrics(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import metadata

    with opened(tmp_path) as log:
        train(log, 1, 2)
        finish(log, 2)
    events = tensorboard(tmp_path)
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    assert hparams["model.beta"].number_value == 4.0
    assert hparams["model.kind"].string_value == "mlp"
    assert hparams["ema"].bool_value is True
    assert [(e.step, e.value) for e in events.Scalars("final/valid/loss")] == [(2, 7.5)]
    assert [(e.step, e.value) for e in events.Scalars("best/loss")] == [(2, 7.0)]


def test_a_resumed_run_forgets_what_lies_beyond_its_step(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        train(log, 1, 9)
    (tmp_path / "samples" / "step_00000004.tmp").write_bytes(b"half")
    with opened(tmp_path, step=6) as log:
        assert_whole(tmp_path, 6)  # before anything new is written
        train(log, 7, 12)
        finish(log, 12)
    assert_whole(tmp_path, 12)


@pytest.mark.parametrize("torn", [1, 7, 40])
def test_lines_and_records_that_a_kill_tore_are_forgotten(tmp_path: Path, torn: int) -> None:
    with opened(tmp_path) as log:
        train(log, 1, 6)
        log.flush()
        train(log, 7, 7)
    for path in (tmp_path / "metrics.jsonl", *(tmp_path / "tensorboard").iterdir()):
        path.write_bytes(path.read_bytes()[:-torn])
    with opened(tmp_path, step=6) as log:
        train(log, 7, 12)
    assert_whole(tmp_path, 12)


def test_a_line_without_its_end_is_never_continued(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        train(log, 1, 5)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    with opened(tmp_path, step=5) as log:
        train(log, 6, 6)
    assert [line["step"] for line in lines(tmp_path) if line["split"] == "train"] == [1, 2, 3, 4, 6]


def test_a_run_may_be_resumed_again_and_again_from_any_step(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        train(log, 1, 8)
    for step, last in ((8, 9), (5, 6), (5, 11), (2, 4), (4, 12)):
        with opened(tmp_path, step=step) as log:
            train(log, step + 1, last)
        assert_whole(tmp_path, last)


def test_a_finished_run_that_goes_on_has_final_metrics_once(tmp_path: Path) -> None:
    for start, end in ((0, 6), (6, 12), (12, 12)):
        with opened(tmp_path, step=start) as log:
            train(log, start + 1, end)
            finish(log, end)
        found = raw(tmp_path)
        assert [key for key in found if key[0] == "final/valid/loss"] == [("final/valid/loss", end)]
        assert sum(count for (tag, _), count in found.items() if tag.startswith("_hparams_")) == 2
        assert_whole(tmp_path, end)


def test_a_killed_process_loses_nothing_it_flushed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from tests.training.test_log import opened, train\n"
        "log = opened(Path(sys.argv[1])); train(log, 1, 6); log.flush(); train(log, 7, 9)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, env=environment, check=False)
    assert process.returncode == -signal.SIGKILL
    with opened(tmp_path, step=6) as log:
        assert_whole(tmp_path, 6)
        train(log, 7, 12)
    assert_whole(tmp_path, 12)


def test_a_step_is_logged_once_however_often_it_is_reported(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        train(log, 1, 4)
        log.validation(4, 1.0, {"loss": 9.0})
    with opened(tmp_path, step=4) as log:
        log.progress(4, 12, 1.0, {"model/loss": 9.0}, 1.0, 1.0)
    assert_whole(tmp_path, 4)


def test_epochs_have_as_many_digits_as_one_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path) as log:
        log.progress(2, 708, 0.1, {"model/loss": 9.0}, 1.0, 1.0)
    assert "epoch 0.1/35.4  " in capsys.readouterr().out


def test_without_a_terminal_lines_are_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path) as log:
        train(log, 1, 2)
        log.say("stopped early")
        finish(log, 2)
    shown = capsys.readouterr().out
    assert shown.splitlines()[:4] == [
        "model  vae",
        "run    outputs/train/vae-digits/2026",
        "step 1/12  epoch 0.2/3  500 ex/s  loss 100  kl 1  0:11 left",
        "step 2/12  epoch 0.5/3  500 ex/s  loss 50  kl 2  0:10 left",
    ]
    assert "\x1b" not in shown
    assert re.search(r"\n +train +valid +best \(step 2\)\n +model/loss +7\.2500\n +loss +7\.5000 +7\n", shown)
    assert f"report: {tmp_path}/report.html" in shown
    assert shown.endswith("try next\n  gentool sample\n  gentool evaluate\n")
    kept = [line[21:] for line in (tmp_path / "train.log").read_text().splitlines()]
    assert [line for line in shown.splitlines() if line] == [line for line in kept if line]


@pytest.mark.parametrize("planned", [400, None])
def test_without_a_terminal_a_long_run_prints_few_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], planned: int | None
) -> None:
    with RunLog(tmp_path, step=0, steps=planned, header=HEADER) as log:
        for step in range(1, 401):
            log.progress(step, planned, step / 4, {"model/loss": 1.0}, 500.0, None)
            log.validation(step, step / 4, {"loss": 1.0})
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert 20 <= len(shown) <= 120 and len(lines(tmp_path)) == 800, "the file holds every step"
    assert (tmp_path / "train.log").read_text().count("  step ") == 800
    if planned:
        assert len(shown) <= 62 and shown[-1].startswith("step 400  valid")


@pytest.mark.parametrize("columns", [40, 140])
def test_on_a_terminal_one_line_is_drawn_anew(tmp_path: Path, columns: int) -> None:
    code = (
        "import sys; from pathlib import Path; import gentool.training.console as c; c._REFRESH_SECONDS = 0\n"
        "from tests.training.test_log import opened, train\n"
        "log = opened(Path(sys.argv[1])); train(log, 1, 12); log.close(); print('done')"
    )
    shown = in_terminal([sys.executable, "-c", code, str(tmp_path)], columns)
    frames = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", frame) for frame in shown.split("\x1b[2K")]
    live = [frame.strip("\n") for frame in frames if "left" in frame][1:]
    assert len(live) >= 10
    assert max(map(len, live)) < columns  # none wraps
    assert all("\n" not in line and "step" in line and "loss" in line for line in live)
    assert ("kl" in live[-1]) == (columns == 140)
    assert ("valid loss" in live[-1]) == (columns == 140)
    assert ("\u2501" in live[-1]) == (columns == 140)
    assert "\x1b[?25l" not in shown.replace("\x1b[?25l\x1b[?25h", "")  # the cursor is never left hidden
    assert "left" not in frames[-1]  # the live line is gone
    assert frames[-1].strip() == "done"


def in_terminal(arguments: list[str], columns: int) -> str:
    import fcntl
    import termios

    root = Path(__file__).parents[2]
    child, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": str(root), "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(arguments, cwd=root, env=environment, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    try:
        while piece := os.read(child, 65536):
            shown += piece
    except OSError:  # Linux says so at the end of a terminal
        pass
    assert process.wait() == 0, shown.decode()
    return shown.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "train.log").symlink_to("/dev/full")
    log = opened(tmp_path)
    with pytest.raises(RunError, match=r"could not write .*: No space left on device; the last checkpoint is safe"):
        log.flush()
    with pytest.raises(RunError):
        log.close()
