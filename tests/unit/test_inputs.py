"""What a dry run's verdict rests on: every file of the project that decides what a run does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crm_migrate import inputs, paths


@pytest.mark.parametrize(
    "file",
    [
        "soda/source/deals.yml",
        "soda/target/deals.yml",
        "soda/published/deals.yml",
        "sql/cutover/stage_1",
        "dbt_project/models/marts/stage_1/opportunities.sql",
        "dbt_project/macros/batched/batched.sql",
        "seeds/stage_mapping.csv",
    ],
)
def test_a_change_of_any_of_these_is_noticed(tmp_path: Path, file: str) -> None:
    folder = file.split("/", 1)[0]
    copy = tmp_path / folder
    shutil.copytree(paths.PROJECT / folder, copy, ignore=shutil.ignore_patterns("logs", "dbt_packages"))
    changed = tmp_path / file
    if changed.is_dir():
        changed = sorted(changed.glob("*.sql"))[0]
    before = inputs._hash_folder(copy)
    changed.write_text(changed.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert inputs._hash_folder(copy) != before


def test_what_dbt_leaves_is_not_the_projects(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.sql").write_text("select 1")
    before = inputs._hash_folder(tmp_path, left_by_dbt=("target",))
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "a.sql").write_text("select 1")
    assert inputs._hash_folder(tmp_path, left_by_dbt=("target",)) == before
