"""TensorBoard event files, by TensorBoard's own record writer: no thread, no TensorFlow, importable in 0.2 s."""

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

_FINAL = ("final/", "best/", "_hparams_/")  # written by `finish` only; a resumed run writes them anew


class EventFile:
    """The event files of one run, opened for appending.

    A run writes its events in the order of their steps, so what a resumed run must forget is the end of a file: it is
    cut off in place, which a kill at any moment cannot tear. The resumed process goes on in a file of its own, which
    opens with TensorBoard's START record, so that a TensorBoard that is looking on forgets the same steps.

    Args:
        folder: the run's `tensorboard/`, which exists.
        step: the step the run stands at; events of later steps are removed.

    Raises:
        OSError: when a file cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event: Any = event_pb2.Event
        self._summary: Any = summary_pb2.Summary
        earlier = sorted(folder.glob("events.out.tfevents.*"))
        for path in earlier:
            cut(path, step)
        number = int(earlier[-1].name.split(".")[3]) + 1 if earlier else 0
        self.path = folder / f"events.out.tfevents.{number:06d}.gentool"
        self._records = RecordWriter(self.path.open("xb"))
        self._write(file_version="brain.Event:2")
        if earlier:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step=step + 1, session_log=start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars of one step.

        Args:
            step: train steps done.
            values: tag to value.
        """
        if values:
            entries = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            self._write(step=step, summary=self._summary(value=entries))

    def histogram(self, step: int, tag: str, values: Sequence[float]) -> None:
        """Write a histogram of the finite ones among some numbers; nothing where there are none.

        Args:
            step: train steps done.
            tag: the name TensorBoard shows.
            values: the numbers.
        """
        import numpy as np
        from tensorboard.compat.proto.histogram_pb2 import HistogramProto

        x = np.asarray([value for value in values if isfinite(value)], dtype=np.float64)
        if not x.size:
            return
        counts, edges = np.histogram(x, bins=30)
        # Each limit is the right edge of its bucket; the empty first bucket states where the second begins.
        histogram = HistogramProto(
            min=x.min(), max=x.max(), num=x.size, sum=x.sum(), sum_squares=(x**2).sum(),
            bucket_limit=edges.tolist(), bucket=[0.0, *counts.tolist()],
        )  # fmt: skip
        self._write(step=step, summary=self._summary(value=[self._summary.Value(tag=tag, histo=histogram)]))

    def image(self, step: int, tag: str, png: bytes, shape: Sequence[int]) -> None:
        """Write a picture.

        Args:
            step: train steps done.
            tag: the name TensorBoard shows.
            png: the encoded picture.
            shape: (H, W) or (H, W, 3) of its pixels.
        """
        image = self._summary.Image(
            height=shape[0], width=shape[1], colorspace=3 if len(shape) == 3 else 1, encoded_image_string=png
        )
        self._write(step=step, summary=self._summary(value=[self._summary.Value(tag=tag, image=image)]))

    def hparams(self, step: int, hparams: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write what TensorBoard's HPARAMS tab shows of a finished run: its settings and its final metrics.

        No list of columns is written: TensorBoard then takes the union over the runs it finds, which is what a sweep
        over several families needs.

        Args:
            step: train steps done.
            hparams: name to number, truth value or text; anything else is written as text.
            metrics: name to value; the names begin with `final/` or `best/`.
        """
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        self.scalars(step, metrics)
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in hparams.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            else:
                start.hparams[name].string_value = str(value)
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
        for tag, data in (
            (metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start)),
            (metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end)),
        ):
            about = metadata.create_summary_metadata(data)
            entry = self._summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
            self._write(step=step, summary=self._summary(value=[entry]))

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        self._records.flush()

    def close(self) -> None:
        """Flush and close; a second call does nothing."""
        if not self._records.closed:
            self._records.close()

    def _write(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())


def cut(path: Path, step: int) -> None:
    """Cut an event file before its first event beyond a step, torn record, or record of a finished run.

    Args:
        path: the event file; changed in place.
        step: the last step to keep.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    end = 0
    for data, behind in _records(path):
        event = Event.FromString(data)
        final = any(value.tag.startswith(_FINAL) for value in event.summary.value)
        if event.step > step or final:
            break
        end = behind
    with path.open("r+b") as file:
        file.truncate(end)


def _records(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield (record, offset behind it) up to the end of the file or the first record that is torn."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    with path.open("rb") as file:
        offset = 0
        while len(head := file.read(12)) == 12:
            (length, check) = struct.unpack("<QI", head)
            if masked_crc32c(head[:8]) != check:
                return
            body = file.read(length + 4)
            if len(body) < length + 4:
                return
            offset += 12 + length + 4
            yield body[:-4], offset
