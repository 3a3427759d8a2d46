"""Tables of numbers in text and Parquet files: what is read, and the first offender of what is not."""

import numpy as np
import pytest
import torch

from gentool.data.arrays import array
from gentool.errors import UsageError
from gentool.kinds import kind_of

ALL = {"validation": 0.0, "test": 0.0, "seed": 0}
ROWS = np.random.default_rng(0).normal(size=(20, 4)).round(3)


def written(path, lines, encoding="utf-8"):
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


def lines(delimiter=",", words=None):
    fields = [[*map(str, row), *([words[i]] if words else [])] for i, row in enumerate(ROWS.tolist())]
    return [delimiter.join(row) for row in fields]


@pytest.mark.parametrize("delimiter, name", [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv"), (",", "a.txt")])
@pytest.mark.parametrize("head", ["", "one two three four"])
def test_a_text_table_is_read(tmp_path, delimiter, name, head):
    path = written(tmp_path / name, [delimiter.join(head.split())] * bool(head) + lines(delimiter))
    data = array(path=path, label=None, **ALL)
    assert torch.equal(data.train.x, torch.from_numpy(ROWS.astype(np.float32))) and data.train.y is None
    assert data.space.class_names == () and data.space.classes == 0


def test_quotes_blank_lines_spaces_and_a_byte_order_mark(tmp_path):
    content = ['"size, in m",weight', "", '" 1.5",2', "3e2 , -4", ""]
    data = array(path=written(tmp_path / "a.csv", content, "utf-8-sig"), label=None, **ALL)
    assert data.train.x.tolist() == [[1.5, 2], [300, -4]]


def test_a_column_of_words_becomes_classes(tmp_path):
    words = [("red", "green", "blue")[i % 3] for i in range(20)]
    path = written(tmp_path / "a.csv", ["a,b,c,d,kind", *lines(words=words)])
    data = array(path=path, label="kind", **ALL)
    assert data.space.class_names == ("blue", "green", "red") and data.space.classes == 3
    assert data.train.y.tolist() == [(2, 1, 0)[i % 3] for i in range(20)]
    assert torch.equal(data.train.x, torch.from_numpy(ROWS.astype(np.float32)))


@pytest.mark.parametrize("label", ["kind", 4])
def test_a_column_of_integers_is_taken_as_it_is(tmp_path, label):
    numbers = [str((i * 7) % 11) for i in range(20)]
    data = array(path=written(tmp_path / "a.csv", ["a,b,c,d,kind", *lines(words=numbers)]), label=label, **ALL)
    assert data.train.y.tolist() == [int(word) for word in numbers] and data.space.class_names == ()
    assert data.space.classes == 11


@pytest.mark.parametrize(
    "content, label, message",
    [
        (["a,b", "1,2", "3"], None, "line 3 has 1 fields; expected 2"),
        (["1,2", "3,4,5"], None, "line 2 has 3 fields; expected 2"),
        (["a,b", "1,2", "", "1,x"], None, "line 4, column 'b': 'x' is not a number .dataset.label=b makes"),
        (["a,b", "1,2", "1,"], None, "line 3, column 'b' is empty; expected a number"),
        (["a,b", "1,nan"], None, "line 2, column 'b': nan is not a finite float32"),
        (["a,b", "1,2", "-inf,2"], None, "line 3, column 'a': -inf is not a finite float32"),
        (["a,b", "1,1e39"], None, "line 2, column 'b': 1e39 is not a finite float32"),
        (["a,b", "1,cat", "x,dog"], "b", "line 3, column 'a': 'x' is not a number$"),
        (["a,b", "1,cat", "2, "], "b", "line 3, column 'b' is empty; expected a class"),
        (["a,b", "1,cat", "2,dog,3"], "b", "line 3 has 3 fields"),
        (["a,b", "1,2"], "bb", "dataset.label=bb: .* no such column; did you mean 'b'"),
        (["a,b", "1,2", "1_000,3"], None, "line 3, column 'a': '1_000' is not a number"),
        (["1,2", "1,2"], 2, "dataset.label=2: .* no such column"),
        (["a", "1"], "a", "no other column"),
        (["a,b", "1,-1", "2,0"], "b", "label -1 of example 0"),
        (["a,b"], None, "holds no rows"),
        ([], None, "is empty"),
    ],
)
def test_the_first_offender_is_named(tmp_path, content, label, message):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(content))
    with pytest.raises(UsageError, match=message) as caught:
        array(path=str(path), label=label, **ALL)
    assert "\n" not in str(caught.value) and "pickle" not in str(caught.value)


def test_what_is_not_text_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n\xff\xfe,3\n")
    with pytest.raises(UsageError, match="UTF-8"):
        array(path=str(tmp_path / "a.csv"), label=None, **ALL)
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(UsageError, match="dataset.label=b: only a .csv or .parquet has columns"):
        array(path=str(tmp_path / "a.npy"), label="b", **ALL)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"need pyarrow: pip install 'gentool\[parquet\]'"):
        array(path=str(tmp_path / "a.parquet"), label=None, **ALL)


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"a": ROWS[:, 0], "b": np.arange(20), "c": ROWS[:, 2] > 0, "kind": ["x", "y"] * 10}
    path = str(tmp_path / "a.parquet")
    parquet.write_table(pa.table({**columns, "__index_level_0__": np.arange(20)}), path)
    data = array(path=path, label="kind", **ALL)
    assert data.space.class_names == ("x", "y") and data.train.y.tolist() == [0, 1] * 10
    expected = np.stack([columns[name] for name in "abc"], 1).astype(np.float32)
    assert torch.equal(data.train.x, torch.from_numpy(expected))
    assert kind_of({"_target_": "gentool.data.arrays.array", "path": path, "label": "kind"}) == "points"
    with pytest.raises(UsageError, match="column 'kind' holds values of type string; .*dataset.label=kind makes"):
        array(path=path, label=None, **ALL)
    parquet.write_table(pa.table({"a": [1.0, None], "b": [1, 2]}), path)
    with pytest.raises(UsageError, match="row 1, column 'a': nan is not a finite"):
        array(path=path, label=None, **ALL)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match="not a readable Parquet file"):
        array(path=str(tmp_path / "bad.parquet"), label=None, **ALL)
