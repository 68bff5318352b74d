"""The analyst's guide, followed to the letter in a copy of the project: its edits, its commands, what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import paths
from crm_migrate.settings import Settings
from people import value
from snippets import blocks, commands, edit
from transcripts import told

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

GUIDE = paths.DOCS / "analyst-guide.md"
ANALYST = "anna"


class Desk:
    """An analyst's copy of the project, and the database to try things on."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._settings = settings
        for name in ("dbt_project", "seeds", "soda", "sql", "wrapper", "docs"):
            # what dbt and Python left there is not the project's
            left = ("target", "logs") if name == "dbt_project" else ("__pycache__",)
            shutil.copytree(paths.PROJECT / name, folder / name, ignore=shutil.ignore_patterns(*left))
        shutil.copyfile(paths.PROJECT / ".sqlfluff", folder / ".sqlfluff")
        shutil.copytree(settings.seeds_dir, folder / "seeds", dirs_exist_ok=True)

    def run(self, command: str, *, code: int = 0) -> str:
        """What a command of the guide says; only where programs and database are is not the guide's."""
        place, _, words = command.rpartition(" && ")
        given = words.split()
        if given[0] == "psql":
            return self._ask(command)
        while "=" in given[0]:
            given.pop(0)
        folder = self.folder / place.removeprefix("cd ") if place else self.folder
        program = Path(given[0]).name
        ran = subprocess.run(
            [sys.executable, "-m", "crm_migrate", *given[1:]]
            if program == "crm-migrate"
            else [str(Path(sys.executable).parent / program), *given[1:]],
            cwd=folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert ran.returncode == code, ran.stdout[-4000:] + ran.stderr[-4000:]
        return ran.stdout

    def _environment(self) -> dict[str, str]:
        info = psycopg.conninfo.conninfo_to_dict(self._settings.dsn)
        return {
            **os.environ,
            "USER": ANALYST,
            "PYTHONPATH": str(self.folder / "wrapper"),
            "DATABASE_URL": self._settings.dsn,
            "PGHOST": str(info["host"]),
            "PGPORT": str(info["port"]),
            "PGUSER": str(info["user"]),
            "PGDATABASE": str(info["dbname"]),
            "CRM_MIGRATE_WORK_DIR": str(self._settings.work_dir),
            "CRM_MIGRATE_LOG_FILE": str(self._settings.log_file),
            "CRM_MIGRATE_REHEARSAL_MAX_SECONDS": str(self._settings.rehearsal_max_seconds),
            "COLUMNS": "400",
            "NO_COLOR": "1",
        }

    def _ask(self, command: str) -> str:
        (query,) = re.findall(r'psql -c "(.*)"$', command)
        with psycopg.connect(self._settings.dsn) as connection:
            return "\n".join(str(row) for row in connection.execute(query.replace("$USER", ANALYST)))


def lines_with(said: str, *words: str) -> str:
    """The lines of an output that the guide shows."""
    return "\n".join(line for line in said.splitlines() if any(word in line for word in words))


def test_the_guide_is_followed(tried_2026: Connection, mapped: MakeSettings, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "clone", mapped(tried_2026))
    mapping, column, contract, unit_test, check = blocks(GUIDE, "diff")
    to_compare, _alone, lint, build, look = commands(GUIDE)

    # a mapping: which rows it moves. The template of this database comes from a run of the guide's first command
    assert to_compare == "crm-migrate dry-run"
    edit(desk.folder, mapping)
    said = desk.run("crm-migrate dry-run --compare last")
    moves = said[said.index("Against run") : said.index("Cutover rehearsed")].strip()
    told("mapping-moves", "crm-migrate dry-run --compare last", moves, document=GUIDE)
    moved = {
        key: value(tried_2026, "select array_agg(id::text order by id) from public.deals where stage = %s", key)
        for key in ("delayed", "tasting-scheduled")
    }
    assert sum(map(len, moved.values())) == 7, "the guide says how many"
    for before, after, keys in (
        ("nurturing", "qualified", moved["delayed"]),
        ("lead", "qualified", moved["tasting-scheduled"]),
    ):
        shown = re.escape(", ".join(keys[:3]))
        assert re.search(rf"{before} -> {after}  \({len(keys)}\) +{shown} *$", moves, re.M)
    assert "7 records with another outcome" in moves
    assert "deals.unmapped_stage" not in said

    # a column, with its contract and its unit test
    edit(desk.folder, column)
    written = edit(desk.folder, contract)
    known = written.read_text(encoding="utf-8")
    edit(desk.folder, unit_test)
    desk.run(lint)
    built = desk.run(build)
    (name,) = re.findall(r"\+  - name: (\w+)", unit_test)
    assert re.search(rf"PASS opportunities::{name}\b", built)
    filled = desk.run(look)
    years = tried_2026.execute(
        "select extract(year from created_at at time zone 'UTC')::integer"
        " + (extract(month from created_at at time zone 'UTC') >= 7)::integer, count(*)"
        " from public.deals group by 1 order by 1"
    ).fetchall()
    assert filled == "\n".join(map(str, years))
    assert len(years) > 2
    complete = written.read_text(encoding="utf-8")
    written.write_text(
        known.replace("      - name: fiscal_year\n        desc", "      - name: year\n        desc"), encoding="utf-8"
    )
    refused = desk.run(build.replace("build --select +", "run --select "), code=1)
    assert "fiscal_year" in refused, "the contract must not take a column that it does not know"
    written.write_text(complete, encoding="utf-8")

    # a check, and a deal for it
    edit(desk.folder, check)
    typed = value(tried_2026, "update public.deals set amount = 4800000000 where id = %s returning id::text", 50)
    said = desk.run("crm-migrate dry-run --compare last --keep-build")
    warned = lines_with(said, "deals.too_large")
    told("check-warns", "crm-migrate dry-run", warned, document=GUIDE)
    assert re.search(rf"warning +deals\.too_large +1 +{typed} ", warned)
    assert "0 records with another outcome" in said
    assert value(tried_2026, "select count(fiscal_year) from crm_build.opportunities") == len(
        tried_2026.execute("select from public.deals").fetchall()
    )


def test_an_edit_without_a_single_place_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "seeds.csv"
    file.write_text("head\none,1\none,1\ntwo,2\n", encoding="utf-8")
    edit(tmp_path, "--- seeds.csv\n two,2\n+three,3\n")
    edit(tmp_path, "--- seeds.csv\n-head\n+HEAD\n")
    edit(tmp_path, "--- seeds.csv\n+four,4\n")
    assert file.read_text(encoding="utf-8") == "HEAD\none,1\none,1\ntwo,2\nthree,3\nfour,4\n"
    for wrong in ("--- seeds.csv\n-one,1\n", "--- seeds.csv\n-ead\n", "--- seeds.csv\n wo,2\n+x\n"):
        with pytest.raises(AssertionError, match="no single place"):
            edit(tmp_path, wrong)
