"""A mapping file that is read line by line holds what dbt's own reading of it holds."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from dbt_common.clients import agate_helper

from crm_migrate import seed_rows

TYPES = {"id": "bigint", "name": "text", "percent": "numeric(5,2)"}
TEXTS = {
    "plain": "id,name,percent\n1,Ann,10\n2,Bob,7.50\n",
    "no line": "id,name,percent\n",
    "no end": "id,name\n1,Ann",
    "blanks and nulls": "id,name,percent\n1,,null\n2, NULL ,  \n,nullable,0\n",
    "quotes": 'id,name\n1,"Dista, ""the"" Inc."\n2,"two\nlines"\n3,"\r\n"\n',
    "another order": "percent,id,name\n10,1,Ann\n",
    "a short line": "id,name,percent\n1\n2,Bob\n",
    "an empty line": "id,name,percent\n1,Ann,10\n\n2,Bob,7\n",
    "windows": "\ufeffid,name,percent\r\n1,Änn,10\r\n2,Bøb,7\r\n",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mapping.csv"


def rows(table: Any) -> list[list[Any]]:
    return [list(row) for row in table.rows]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_rows_are_those_of_dbt(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    ours, dbts = seed_rows.from_csv(str(file), TYPES), seed_rows._read_whole(str(file), TYPES)
    assert isinstance(ours, seed_rows.SeedTable)
    assert list(ours.column_names) == list(dbts.column_names)
    assert rows(ours) == rows(dbts)
    assert len(ours.rows) == len(dbts.rows)
    assert [type(one) for one in ours.column_types] == [type(one) for one in dbts.column_types]


def test_a_column_whose_type_nobody_gives_is_left_to_dbt(file: Path) -> None:
    file.write_text("id,name,since\n1,Ann,2024-05-01\n", encoding="utf-8")
    table = seed_rows.from_csv(str(file), TYPES)
    assert not isinstance(table, seed_rows.SeedTable)
    assert table.rows[0]["since"].year == 2024


def test_a_line_that_is_too_long_is_refused_by_both(file: Path) -> None:
    file.write_text("id,name\n1,Ann\n2,Bob,7\n", encoding="utf-8")
    for read in (seed_rows.from_csv, seed_rows._read_whole):
        with pytest.raises(ValueError, match="has 3 values"):
            rows(read(str(file), TYPES))


def test_memory_does_not_follow_the_lines(file: Path) -> None:
    def peak(lines: int) -> int:
        file.write_text("id,name\n" + "".join(f"{number},company {number}\n" for number in range(lines)), "utf-8")
        tracemalloc.start()
        try:
            table = seed_rows.from_csv(str(file), TYPES)
            assert sum(1 for _ in table.rows) == len(table.rows) == lines
            keep: Any = agate_helper.as_matrix
            keep(table)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < peak(200) + 100_000
