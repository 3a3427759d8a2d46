"""What a run tells: the terminal, `train.log`, `metrics.jsonl`, TensorBoard, pictures and the report."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from gentool.errors import RunError
from gentool.training.console import Terminal, duration, number, table_of, terms_of
from gentool.training.events import EventFile

if TYPE_CHECKING:
    import numpy as np

Metrics = Mapping[str, float | list[float]]
_FLUSH_SECONDS = 5.0  # whoever looks on (tail, TensorBoard) is never further behind than this

_LINES = 30  # that are printed of each split where no terminal draws a live one


class RunLog:
    """The log of one run, in its folder.

    A resumed run first forgets what lies beyond the step it resumes at: lines of `metrics.jsonl` (with one that a kill
    tore), events, and pictures. So every step stands everywhere once, as long as the loop logs a step, calls `flush`,
    and only then writes that step's checkpoint.

    Args:
        folder: the run's folder, which exists.
        step: the step the run stands at: 0 for a new one.
        steps: the steps planned; None where time ends the run.
        header: what to say first, name to text (model, dataset, parameters, device, precision, run folder).

    Raises:
        RunError: when a file cannot be written.
    """

    def __init__(self, folder: Path, *, step: int, steps: int | None, header: Mapping[str, str]) -> None:
        self.folder = folder
        self.steps = steps
        self._terminal = Terminal()
        self._flushed = time.monotonic()
        self._valid: list[str] = []
        self._planned = steps
        self._printed: dict[str, int] = {}  # the step of the last line printed, by split
        with _writing(folder):
            (folder / "tensorboard").mkdir(exist_ok=True)
            (folder / "samples").mkdir(exist_ok=True)
            self._last = _forget_lines(folder / "metrics.jsonl", step)
            _forget_pictures(folder / "samples", step)
            self._metrics: BinaryIO = (folder / "metrics.jsonl").open("ab")
            self._log: BinaryIO = (folder / "train.log").open("ab")
            self._events = EventFile(folder / "tensorboard", step)
        width = max(map(len, header), default=0)
        self.say("\n".join(f"{name.ljust(width)}  {text}" for name, text in header.items()))
        if step:
            self.say(f"going on from step {step:,}")

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def progress(
        self,
        step: int,
        steps: int | None,
        epoch: float,
        metrics: Metrics,
        examples_per_second: float,
        seconds_left: float | None,
    ) -> None:
        """Report a train step: the live line or a plain one, `metrics.jsonl`, TensorBoard.

        Args:
            step: train steps done.
            steps: the steps planned, as far as known now; None where nobody knows.
            epoch: epochs done, a fraction.
            metrics: `player/term` to a number, or to a list of them (a histogram).
            examples_per_second: since the last report.
            seconds_left: until the run ends; None where nobody knows.
        """
        self._write("train", step, epoch, metrics, {"speed/examples_per_second": examples_per_second, "epoch": epoch})
        total = f"/{_epochs(epoch * steps / step)}" if steps and step else ""
        self._planned = steps
        parts = [
            f"step {step:,}" + (f"/{steps:,}" if steps else ""),
            f"epoch {epoch:.1f}{total}",
            f"{number(round(examples_per_second))} ex/s",
        ]
        left = "" if seconds_left is None else f"{duration(seconds_left)} left"
        line = "  ".join([*parts, *terms_of(metrics), *([left] if left else [])])
        self._record(line)
        if self._terminal.is_live:
            terms = terms_of(metrics, digits=4)
            terms[3:3] = self._valid  # after the loss and its first two terms: a narrow terminal shows these
            self._terminal.draw(parts, terms, left, step / steps if steps else None)
        elif self._is_due("train", step):
            self._terminal.print(line)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def validation(self, step: int, epoch: float, metrics: Metrics) -> None:
        """Report what the validation split says.

        Args:
            step: train steps done.
            epoch: epochs done, a fraction.
            metrics: name to a number, or to a list of them (a histogram).
        """
        self._write("valid", step, epoch, metrics, {})
        terms = terms_of(metrics)
        self._valid = [f"valid {term}" for term in terms_of(metrics, digits=4)[:1]]
        line = "  ".join([f"step {step:,}  valid", *terms])
        self._record(line)
        if not self._terminal.is_live and self._is_due("valid", step):
            self._terminal.print(line)

    def _is_due(self, split: str, step: int) -> bool:
        """Whether a plain line is printed: about thirty a split, and the last; the files hold them all."""
        before = self._printed.get(split)
        interval = (self._planned / _LINES) if self._planned else 0.1 * step  # of an unknown length ever rarer
        due = before is None or step - before >= interval or (self._planned is not None and step >= self._planned)
        if due:
            self._printed[split] = step
        return due

    def image(self, step: int, tag: str, pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> None:
        """Save a picture as `samples/<tag>_<step>.png` and in TensorBoard.

        Args:
            step: train steps done.
            tag: what it shows: `step` for samples from the fixed noise, `reconstruction`, `field`, ….
            pixels: (H, W) or (H, W, 3) uint8.
        """
        from PIL import Image

        encoded = BytesIO()
        Image.fromarray(pixels).save(encoded, format="png")
        path = self.folder / "samples" / f"{tag}_{step:08d}.png"
        with _writing(path):
            half = path.with_suffix(".tmp")
            half.write_bytes(encoded.getvalue())
            half.replace(path)
            self._events.image(step, "samples" if tag == "step" else tag, encoded.getvalue(), pixels.shape)

    def say(self, text: str) -> None:
        """Print a line or several, above the live line, and keep them in `train.log`."""
        self._terminal.print(text)
        self._record(text)

    def flush(self) -> None:
        """Hand everything said so far to the operating system: a killed process then loses none of it."""
        self._flushed = time.monotonic()
        for file in (self._metrics, self._log, self._events):
            with _writing(self.folder):
                file.flush()

    def close(self) -> None:
        """Remove the live line, flush and close; a second call does nothing."""
        self._terminal.close()
        for file in (self._metrics, self._log, self._events):
            with _writing(self.folder):
                file.close()

    def finish(self, summary: Mapping[str, Any], hparams: Mapping[str, Any], commands: Sequence[str]) -> None:
        """Write what only a finished run has, and print the summary: hparams, `samples.gif`, `report.html`.

        Args:
            summary: what `summary.json` holds: `steps`, `seconds`, `examples_per_second`; `final` maps `split/metric`
                to a number, `best` is `{"metric", "value", "step"}`.
            hparams: the settings that the HPARAMS tab compares runs by; nested names are joined by dots.
            commands: the commands to try next.
        """
        from gentool.plots.animation import animate
        from gentool.training.report import write_report

        final, best = summary.get("final") or {}, summary.get("best") or {}
        metrics = {f"final/{name}": value for name, value in final.items() if isinstance(value, int | float)}
        if best.get("value") is not None:
            metrics[f"best/{best['metric']}"] = best["value"]
        with _writing(self.folder):
            self._events.hparams(int(summary["steps"]), flat(hparams, "."), metrics)
            self.flush()
            samples = self.folder / "samples"
            animate(sorted(samples.glob("step_*.png")), samples / "samples.gif")
            for tag in sorted({path.stem.rpartition("_")[0] for path in samples.glob("field_?*_*.png")}):
                animate(sorted(samples.glob(f"{tag}_*.png")), samples / f"{tag}.gif")
            write_report(self.folder, summary)
        self._terminal.close()
        self._summarise(summary)
        self.say(f"  report: {self.folder / 'report.html'}")
        self.say("\n".join(["", "try next", *(f"  {command}" for command in commands)]))
        self.flush()

    def _summarise(self, summary: Mapping[str, Any]) -> None:
        columns, rows = table_of(summary)
        if rows:
            self._record(self._terminal.table("summary", columns, rows))
        speed = summary.get("examples_per_second")
        self.say(
            f"\n  {summary['steps']:,} steps in {duration(float(summary.get('seconds') or 0))}"
            + (f", {number(round(float(speed)))} examples/s" if speed else "")
        )

    def _write(self, split: str, step: int, epoch: float, metrics: Metrics, extra: Mapping[str, float]) -> None:
        """Write one line and one step's events; nothing where this step stands there already."""
        if step <= self._last.get(split, -1):
            return
        self._last[split] = step
        line = {"step": step, "epoch": round(epoch, 6), "split": split, **metrics}
        with _writing(self.folder / "metrics.jsonl"):
            self._metrics.write(json.dumps(_plain(line), allow_nan=False).encode() + b"\n")
        with _writing(self.folder / "tensorboard"):
            numbers = {f"{split}/{name}": value for name, value in metrics.items() if not isinstance(value, list)}
            self._events.scalars(step, {**numbers, **extra})
            for name, value in metrics.items():
                if isinstance(value, list):
                    self._events.histogram(step, f"{split}/{name}", value)

    def _record(self, text: str) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with _writing(self.folder / "train.log"):
            self._log.write("".join(f"{now}  {line}\n" for line in text.splitlines()).encode())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise RunError(f"could not write {where}: {error.strerror}; the last checkpoint is safe") from error


def _forget_lines(path: Path, step: int) -> dict[str, int]:
    """Cut `metrics.jsonl` before the first line beyond a step or torn; return each split's last step."""
    last: dict[str, int] = {}
    end = 0
    if not path.exists():
        return last
    with path.open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
                torn = not line.endswith(b"\n")
                if torn or entry["step"] > step:
                    break
                last[entry["split"]] = entry["step"]
            except (ValueError, KeyError, TypeError):
                break
            end += len(line)
    with path.open("r+b") as file:
        file.truncate(end)
    return last


def _forget_pictures(folder: Path, step: int) -> None:
    """Remove pictures of later steps, and what a kill left half written."""
    for path in folder.iterdir():
        found = re.search(r"_(\d{8,})\.(png|tmp)$", path.name)
        if found and (found[2] == "tmp" or int(found[1]) > step):
            path.unlink()


def _plain(value: Any) -> Any:
    """The value as strict JSON has it: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _epochs(count: float) -> str:
    """Return a number of epochs, to a tenth where that is not whole.

    >>> _epochs(35.4), _epochs(20.0), _epochs(1234.5)
    ('35.4', '20', '1,234')
    """
    return f"{count:,.0f}" if count >= 100 else f"{count:.1f}".removesuffix(".0")


def flat(tree: Mapping[str, Any], joint: str) -> dict[str, Any]:
    """Flatten nested mappings, joining names.

    >>> flat({"model": {"beta": 1.0, "encoder": {"kind": "mlp"}}}, ".")
    {'model.beta': 1.0, 'model.encoder.kind': 'mlp'}
    """
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= {f"{name}{joint}{inner}": leaf for inner, leaf in flat(value, joint).items()}
        else:
            leaves[str(name)] = value
    return leaves


class Silence:
    """The log of the processes beside rank 0: every method is there and does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Return a function that does nothing."""
        return lambda *_, **__: None
