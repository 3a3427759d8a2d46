"""Moving pictures: the frames a run left behind, as one GIF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gentool.plots.files import write_gif

_REST = 10  # the last frame stands ten frames' time: it is what training came to


def animate(frames: Sequence[Path], out: Path, *, milliseconds: int = 150, most: int = 60) -> Path | None:
    """Join picture files into a GIF that plays for ever and rests on its last frame.

    Args:
        frames: picture files in order; of more than `most`, evenly spaced ones are taken, the first and last among
            them. Frames of another size are scaled to the size of the last.
        out: the file to write.
        milliseconds: how long each frame stands.
        most: frames in the GIF at most, >= 2.

    Returns:
        `out`, or None where there are no frames.
    """
    from PIL import Image

    if not frames:
        return None
    if len(frames) > most:
        frames = [frames[round(i * (len(frames) - 1) / (most - 1))] for i in range(most)]
    pictures = []
    for path in frames:
        with Image.open(path) as picture:
            pictures.append(picture.convert("L" if picture.mode == "L" else "RGB"))
    size, mode = pictures[-1].size, max(picture.mode for picture in pictures)  # RGB where there is one in colour
    scaled = [p if p.size == size else p.resize(size, Image.Resampling.NEAREST) for p in pictures]
    pixels = [np.asarray(picture.convert(mode)) for picture in scaled]
    half = out.with_suffix(".tmp")
    with half.open("wb") as file:
        write_gif(file, [*pixels, *pixels[-1:] * (_REST - 1)], milliseconds)
    half.replace(out)
    return out
