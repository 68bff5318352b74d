"""The benchmark compares like with like: all of its ways end in the same rows, and it would notice if they did not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from bench import commands, content, edits, figures, program, report, safety, script, ways
from crm_migrate import demo_data, paths
from crm_migrate.settings import Settings

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def test_all_ways_end_in_the_same_rows_and_are_told_side_by_side(
    legacy_2026: Connection, make_settings: MakeSettings
) -> None:
    settings = make_settings(legacy_2026, batch_size=50)
    seeds = demo_data.demo_seeds(legacy_2026, settings.work_dir / "seeds")
    settings = replace(settings, seeds_dir=seeds)

    # raises where a way ends in other rows
    one = ways.run(legacy_2026, settings, "bench-0", ("alternatives", "safety"))

    assert one["ways"].keys() == report.WAYS.keys()
    assert all(way["seconds"]["opportunities"] > 0 for way in one["ways"].values())
    assert len(one["safety"]) > 3
    assert min(one["safety"].values()) > 0
    models = program.models(settings)
    assert {"opportunities", "products", "int_deals__participants"} <= {model["name"] for model in models}

    size = {"contacts": 300, **figures.median([one, one, one])}
    printed = "\n".join(report.tables([size, {**size, "contacts": 600}]))
    assert f"| **ratio** | **{one['ways']['program']['whole'] / one['ways']['bare']['whole']:.2f}** |" in printed
    assert re.search(r"^\| script, pages of 1,000 \| .* \| 0\.50 \|$", printed, re.MULTILINE), printed
    assert f"| {safety.PROGRAM} |" in printed

    # the oracle sees a changed row, a missing one and a doubled one; the script was the last that built
    assert content.differing(legacy_2026, models, only=script.TABLES) == {}
    legacy_2026.execute("update measured.opportunities set name = name || '?' where id = 1")
    legacy_2026.execute("delete from crm_build.contact_organizations where id = 1")
    legacy_2026.execute("alter table measured.activities drop constraint activities_pkey cascade")
    legacy_2026.execute("drop index measured.activities_legacy_task_id_key")
    legacy_2026.execute(
        "insert into measured.activities overriding system value select * from measured.activities limit 1"
    )
    assert content.differing(legacy_2026, models, only=script.TABLES) == {
        "opportunities": 2,
        "contact_organizations": 1,
        "activities": 1,
    }


def test_median_is_that_of_each_number() -> None:
    rounds = [{"steps": {"backup": value, "verify": 1.0}, "name": "cold"} for value in (9.0, 2.0, 4.0)]
    rounds[0]["steps"]["seldom"] = 6.0  # type: ignore[index]
    assert figures.median(rounds) == {"steps": {"backup": 4.0, "verify": 1.0, "seldom": 0}, "name": "cold"}


def test_edits_touch_every_table_and_less_than_one_row_in_a_hundred(legacy_2026: Connection) -> None:
    before = _contents(legacy_2026)
    done = edits.make(legacy_2026)
    after = _contents(legacy_2026)
    assert {table for table in before if before[table] != after[table]} == {
        "companies", "contacts", "deals", "deal_notes", "contact_notes", "tasks",
    }  # fmt: skip
    assert min(done.values()) > 0
    assert done["updated"] + done["inserted"] + done["deleted"] < done["rows"] / 50


@pytest.mark.parametrize(
    ("seconds", "kept"), [({"program": 1.2, "bare": 1.0}, True), ({"program": 1.4, "bare": 1.0}, False)]
)
def test_target_is_missed_only_at_the_size_that_it_was_set_for(seconds: dict[str, float], kept: bool) -> None:
    measured = {"ways": {way: {"whole": whole} for way, whole in seconds.items()}}
    assert [target.kept for target in report.targets({"contacts": 1_000_000, **measured})] == [kept]
    for other in (100_000, 10_000_000):
        assert report.targets({"contacts": other, **measured}) == []


@pytest.mark.parametrize("contacts", [10_000, 100_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("kept", [True, False])
def test_memory_is_asked_for_at_every_size_and_the_estimate_from_one_on(contacts: int, kept: bool) -> None:
    peak = {"peak_bytes": (200 if kept else 400) * report.MEGABYTE}
    run: dict[str, Any] = {"downtime_seconds": 10.0, "estimated_seconds": 8.0 if kept else 14.0}
    run |= dict.fromkeys(("dry-run", "verify", "rollback"), peak)
    run["apply"] = {**peak, "steps": {"verify": 1.0, "cutover: transaction": 0.1}}
    found = {target.name: target.kept for target in report.targets({"contacts": contacts, "run": {"cold": run}})}
    assert found.pop("memory of Python, cold") is kept
    assert found.pop("error of the estimate, cold", None) is (None if contacts < 100_000 else kept)
    assert len(found) == (3 if contacts == 1_000_000 else 0)


def test_command_is_measured_in_a_process_of_its_own_and_must_succeed(
    legacy_2026: Connection, make_settings: MakeSettings
) -> None:
    settings = make_settings(legacy_2026)
    measured = commands.run(legacy_2026, settings, "doctor")
    assert measured["document"]["schema"] == "crm-migrate/doctor/1"
    assert measured["seconds"] > 0
    assert 20 * report.MEGABYTE < measured["peak_bytes"] < 300 * report.MEGABYTE
    assert measured["wal_bytes"] >= 0
    with pytest.raises(commands.CommandFailed, match=r"^verify ended with 4\b"):
        commands.run(legacy_2026, settings, "verify")


def test_page_has_the_tables_and_the_flags_that_there_are() -> None:
    text = (paths.DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert [title for title in report.TITLES if f"\n## {title}\n" not in text] == []
    shown = subprocess.run(
        [sys.executable, "-m", "bench", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{paths.PROJECT / 'wrapper'}:{paths.PROJECT / 'tests'}"},
    ).stdout
    flags = set(re.findall(r"--[a-z-]+", " ".join(re.findall(r'ARGS="(.*?)"', text))))
    assert len(flags) > 3
    assert [flag for flag in flags if flag not in shown] == []


def _contents(connection: Connection) -> dict[str, str]:
    tables = ("companies", "contacts", "deals", "deal_notes", "contact_notes", "tasks", "sales", "tags")
    query = "select md5(string_agg({0}::text, ';' order by id)) from public.{0}"
    return {table: connection.execute(query.format(table).encode()).fetchone()[0] for table in tables}  # type: ignore[index]
