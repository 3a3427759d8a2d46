"""Tables of numbers in text (`.csv`, `.tsv`) and Parquet files, one column of which may hold class labels."""

import csv
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gentool.data.headers import Columns, csv_columns, is_number
from gentool.errors import UsageError, nearest

Label = str | int
"""A column by its name, or by its number from 0."""


class NumberTable(NamedTuple):
    """A table as it was read.

    Attributes:
        x: (rows, columns) floats, all finite.
        y: (rows,) int64 labels, or None.
        class_names: where the labels were words, those words in alphabetical order; else empty.
    """

    x: Any
    y: Any
    class_names: tuple[str, ...]


def read_csv(file: Path, label: Label | None) -> NumberTable:
    """Read a text table; its first line may hold names, and its delimiter is a comma, a semicolon or a tab.

    Args:
        file: UTF-8 text.
        label: the column that holds integers or words that become labels; None: there is none.

    Returns:
        The table: float64.

    Raises:
        UsageError: naming the first line that is ragged, or the first field that is not a finite number.
    """
    try:
        columns = csv_columns(file)
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{file}: not a table in UTF-8 text ({error})") from error
    at = _position(file, columns.names, label)
    codes: dict[str, int] = {}
    converters: Any = None if at is None else {at: lambda field: _code(field, codes)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "input contained no data", which is said below
            table = np.loadtxt(
                file, delimiter=columns.delimiter, skiprows=int(columns.has_names), comments=None, quotechar='"',
                ndmin=2, encoding="utf-8-sig", converters=converters,
            )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"{file}: {_offender(file, columns, at)}") from error
    if not len(table):
        raise UsageError(f"{file}: holds no rows; expected at least one example")
    if table.shape[1] != len(columns.names) or not np.isfinite(_narrow(table)).all():
        raise UsageError(f"{file}: {_offender(file, columns, at)}")
    if at is None:
        return NumberTable(table, None, ())
    return NumberTable(np.delete(table, at, axis=1), *_numbered(table[:, at].astype(np.int64), list(codes)))


def read_parquet(file: Path, label: Label | None) -> NumberTable:
    """Read a Parquet file; pandas' own index is left out.

    Args:
        file: the file.
        label: the column that holds integers or words that become labels; None: there is none.

    Returns:
        The table: float32.

    Raises:
        UsageError: pyarrow is not installed, the file is damaged, a column does not hold numbers or a number is not
            finite; the first is named.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(f"{file}: Parquet files need pyarrow: pip install 'gentool[parquet]'") from error
    try:
        table = parquet.read_table(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: not a readable Parquet file ({error})") from error
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    if not table.num_rows or not names:
        raise UsageError(f"{file}: holds no rows; expected at least one example")
    at = _position(file, names, label)
    x = np.empty((table.num_rows, len(names) - (at is not None)), np.float64)
    for i, name in enumerate(name for j, name in enumerate(names) if j != at):
        kind = table.column(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            hint = "" if label is not None else f" (dataset.label={name} makes its values classes)"
            raise UsageError(f"{file}: column '{name}' holds values of type {kind}; expected numbers{hint}")
        column = table.column(name)
        x[:, i] = column.cast(pa.float64(), safe=False).to_numpy() if pa.types.is_boolean(kind) else column.to_numpy()
        bad = np.flatnonzero(~np.isfinite(_narrow(x[:, i])))
        if len(bad):
            raise UsageError(f"{file}: row {bad[0]}, column '{name}': {x[bad[0], i]} is not a finite float32")
    if at is None:
        return NumberTable(x, None, ())
    words, codes = np.unique([str(value) for value in table.column(names[at]).to_pylist()], return_inverse=True)
    return NumberTable(x, *_numbered(codes, words.tolist()))


def _narrow(x: Any) -> Any:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        return x.astype(np.float32)


def _position(file: Path, names: Sequence[str], label: Label | None) -> int | None:
    if label is None:
        return None
    if str(label) in names:
        at = names.index(str(label))
    elif isinstance(label, int) and 0 <= label < len(names):
        at = label
    else:
        raise UsageError(f"dataset.label={label}: {file} has no such column; {nearest(label, names)}")
    if len(names) == 1:
        raise UsageError(f"dataset.label={label}: {file} has no other column; expected numbers beside the labels")
    return at


def _code(field: str, codes: dict[str, int]) -> int:
    field = field.strip()
    if not field:
        raise ValueError("an empty label")
    return codes.setdefault(field, len(codes))


def _numbered(codes: Any, words: list[str]) -> tuple[Any, tuple[str, ...]]:
    """Return labels and class names, of codes (rows,) that index `words`: integers are labels as they are."""
    if all(word.removeprefix("-").isdecimal() for word in words):
        return np.array([int(word) for word in words], np.int64)[codes], ()
    names = sorted(words)
    place = {word: i for i, word in enumerate(names)}
    return np.array([place[word] for word in words], np.int64)[codes], tuple(names)


def _offender(file: Path, columns: Columns, label: int | None) -> str:
    """Say which line or field comes first among those that do not fit."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream, delimiter=columns.delimiter)
            if columns.has_names:
                next(lines)
            for fields in lines:
                fault = _fault(fields, columns, label) if fields else None
                if fault:
                    return f"line {lines.line_num}{fault}"
    except (csv.Error, UnicodeDecodeError) as error:
        return f"not a table in UTF-8 text ({error})"
    return "not a table of numbers"


def _fault(fields: Sequence[str], columns: Columns, label: int | None) -> str | None:
    if len(fields) != len(columns.names):
        return f" has {len(fields)} fields; expected {len(columns.names)}, as in the first line"
    for i, (field, name) in enumerate(zip(fields, columns.names, strict=True)):
        where = f", column '{name}'"
        if not field.strip():
            return f"{where} is empty; expected a {'number' if i != label else 'class'}"
        if i == label:
            continue
        if not is_number(field):
            hint = "" if label is not None else f" (dataset.label={name} makes the column's values classes)"
            return f"{where}: '{field.strip()[:40]}' is not a number{hint}"
        if not math.isfinite(_narrow(np.float64(field))):
            return f"{where}: {field.strip()} is not a finite float32"
    return None
