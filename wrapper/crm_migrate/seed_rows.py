"""The rows of a mapping file for dbt, read from the file whenever they are asked for.

dbt makes an agate table of the file and a matrix of that table and keeps both, which takes a megabyte for a thousand
lines. Its materialization of seeds asks a table for no more than names, types and rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import agate
from dbt_common.clients import agate_helper

_read_whole = agate_helper.from_csv
# as dbt reads a column whose type the project gives: the server makes something else of the text
_TEXT = agate.Text(null_values=("null", ""))


class Rows:
    """The lines below the header, each as long as that."""

    def __init__(self, path: str, delimiter: str, width: int) -> None:
        self._path, self._delimiter, self._width = path, delimiter, width
        self._length: int | None = None

    def __iter__(self) -> Iterator[list[str | None]]:
        for number, cells in enumerate(_records(self._path, self._delimiter)):
            if number == 0:
                continue
            if len(cells) > self._width:
                raise ValueError(f"Row {number} has {len(cells)} values, but there are only {self._width} columns.")
            yield [*map(_TEXT.cast, cells), *[None] * (self._width - len(cells))]

    def __len__(self) -> int:
        if self._length is None:
            self._length = sum(1 for _ in self)
        return self._length

    def values(self) -> tuple[()]:
        """What dbt would keep as the result of having read the file, and nobody looks at."""
        return ()


class SeedTable:
    """As much of an agate table as dbt's materialization of seeds uses."""

    def __init__(self, path: str, delimiter: str, names: list[str]) -> None:
        self.column_names = tuple(names)
        self.column_types = tuple(_TEXT for _ in names)
        self.rows = Rows(path, delimiter, len(names))


def from_csv(abspath: str, text_columns: Mapping[str, str], delimiter: str = ",") -> Any:
    """What `agate_helper.from_csv` gives; line by line where the project gives the type of every column."""
    names = next(_records(abspath, delimiter), [])
    if names and len({*names}) == len(names) and {*names} <= {*text_columns}:
        return SeedTable(abspath, delimiter, names)
    return _read_whole(abspath, text_columns, delimiter)


def install() -> None:
    """Have dbt read its seeds by this."""
    agate_helper.from_csv = from_csv


def _records(path: str, delimiter: str) -> Iterator[list[str]]:
    with Path(path).open(encoding="utf-8-sig") as file:
        yield from csv.reader(file, delimiter=delimiter)
