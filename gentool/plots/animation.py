"""Moving pictures: frames into one GIF, by Pillow."""

from collections.abc import Sequence
from pathlib import Path


def animate(frames: Sequence[Path], out: Path, *, milliseconds: int = 150, most: int = 60) -> Path | None:
    """Join pictures into a GIF that plays for ever and rests on its last frame for ten frames' time.

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
    size = pictures[-1].size
    pictures = [p if p.size == size else p.resize(size, Image.Resampling.NEAREST) for p in pictures]
    if any(p.mode == "RGB" for p in pictures):
        pictures = [p.convert("RGB").quantize(256, dither=Image.Dither.NONE) for p in pictures]
    times = [milliseconds] * (len(pictures) - 1) + [10 * milliseconds]
    half = out.with_suffix(".tmp")
    pictures[0].save(half, format="gif", save_all=True, append_images=pictures[1:], duration=times, loop=0)
    half.replace(out)
    return out
