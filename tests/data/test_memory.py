"""Reading takes little more memory than what is kept; working in pieces changes no result."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from gentool.data import facts
from gentool.data import text as texts
from tests.data.files import npz

PEAK = """
import os, resource, sys
from gentool.data.arrays import image_array
from gentool.data.text import text
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{"images": image_array, "text": text}[sys.argv[1]](path=sys.argv[2])
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / os.path.getsize(sys.argv[2]))
"""


def test_pieces_change_no_result(monkeypatch):
    content = "".join(np.random.default_rng(0).choice(list("abcdeé\U0001f600"), 5000))
    x = torch.randint(256, (500, 3, 4, 5), dtype=torch.uint8)
    keys = {"stored_levels": 256, "levels": 256, "classes": 0, "examples": 500}
    whole = texts.tokenise(content, "character", Path("a")), facts.image_space(x, None, **keys)
    monkeypatch.setattr(texts, "_CHUNK", 7)
    monkeypatch.setattr(facts, "_CHUNK", 70)
    pieces = texts.tokenise(content, "character", Path("a")), facts.image_space(x, None, **keys)
    assert torch.equal(whole[0][0], pieces[0][0]) and whole[0][1] == pieces[0][1]
    assert torch.equal(whole[1].loc, pieces[1].loc)


def test_text_is_numbered_in_pieces():
    content = "to be or not to be " * 500_000
    tracemalloc.start()
    try:
        texts.tokenise(content, "character", Path("a"))
        assert tracemalloc.get_traced_memory()[1] < 3 * len(content)
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["images", "text"])
def test_the_peak_is_at_most_three_times_the_file(tmp_path, what):
    path = str(tmp_path / "a.txt")
    if what == "images":
        path = npz(tmp_path / "a.npz", x=np.random.default_rng(0).integers(0, 256, (6000, 64, 64, 3), dtype=np.uint8))
    else:
        Path(path).write_text("to be or not to be " * 3_000_000)
    done = subprocess.run([sys.executable, "-c", PEAK, what, path], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 3
