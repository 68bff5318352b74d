"""The transcripts of docs/what-if.md: each fault is provoked, and the program says what the page shows.

Transcripts of faults that need a server or a network of their own are held by the tests of those faults.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crm_migrate import database as db
from crm_migrate import fault_points, lock, paths
from crm_migrate.errors import Exit
from crm_migrate.settings import Settings
from people import as_role
from running import program, unlocked
from small_disk import MEGABYTE, small_disk
from transcripts import WHAT_IF, told

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

CONFIRMED = {"apply", "rollback", "lock", "unlock", "archive"}


def say(settings: Settings, command: str, *, code: int = 0, prelude: str = "", **environ: str) -> str:
    """Run a command as an administrator would, and return what the terminal shows."""
    name = psycopg.conninfo.conninfo_to_dict(settings.dsn)["dbname"]
    words = command.split()
    confirmed = ["--confirm-database", str(name)] if words[0] in CONFIRMED else []
    run = program(settings, *words, *confirmed, prelude=prelude, COLUMNS="400", **environ)
    result, said = run.communicate(timeout=250)
    assert run.returncode == code, said + result
    assert "Traceback" not in said
    return said + result


def at(point: str, *lines: str) -> str:
    """A prelude that does something once, when the run comes to a place."""
    done = "\n        ".join(lines)
    return (
        "import os, psycopg\nfrom crm_migrate import fault_points\nwaiting = [True]\n"
        f"def reached(point):\n    if point == {point!r} and waiting:\n        waiting.clear()\n        {done}\n"
        "fault_points.reached = reached"
    )


def test_a_killed_run_goes_on_and_nobody_gets_in_between(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    say(settings, "dry-run")
    killed = say(settings, "apply", code=-9, **{fault_points.KILL_AT: "apply.cutover.started"})
    assert "killed at" in killed, "the fault did not happen"
    told("killed", "crm-migrate apply", killed)
    told("killed-status", "crm-migrate status", say(settings, "status"))

    with as_role(legacy_2026), pytest.raises(psycopg.Error) as refused:
        legacy_2026.execute("update public.deals set stage = 'won' where id = 1")
    told(
        "write-while-locked",
        "psql -c \"update deals set stage = 'won' where id = 1\"",
        f"{refused.value.diag.severity}:  {refused.value.diag.message_primary}"
        + (f"\nHINT:  {refused.value.diag.message_hint}" if refused.value.diag.message_hint else ""),
    )

    with db.connect(settings) as other:
        lock.claim(other)
        told("second-operator", "crm-migrate apply", say(settings, "apply", code=Exit.WRONG_STATE))

    seed = settings.seeds_dir / "stage_mapping.csv"
    as_tried = seed.read_text(encoding="utf-8")
    seed.write_text(as_tried + "demo-held,qualified,active,25\n", encoding="utf-8")
    told("changed-inputs", "crm-migrate apply", say(settings, "apply", code=Exit.NO_GO))
    seed.write_text(as_tried, encoding="utf-8")

    resumed = say(settings, "apply")
    assert "Going on with apply" in resumed
    told("killed-resumed", "crm-migrate apply", resumed)
    assert unlocked(legacy_2026)

    window = legacy_2026.execute(
        "update crm_migration.runs set rollback_until = rollback_until - interval '49 hours'"
        " where kind = 'apply' returning run_id"
    ).fetchone()
    told("late-rollback", "crm-migrate rollback", say(settings, "rollback", code=Exit.WINDOW))
    legacy_2026.execute(
        "update crm_migration.runs set rollback_until = rollback_until + interval '49 hours' where run_id = %s", window
    )

    told("purge-too-early", "crm-migrate archive purge", say(settings, "archive purge", code=Exit.WINDOW))
    silent = {
        "CRM_MIGRATE_SMTP_HOST": "127.0.0.1",
        "CRM_MIGRATE_SMTP_PORT": "1",
        "CRM_MIGRATE_MAIL_FROM": "crm@localhost",
    }
    told("mail-server-down", "crm-migrate announce due", say(settings, "announce due", code=Exit.RESUMABLE, **silent))

    killed = say(settings, "rollback", code=-9, **{fault_points.KILL_AT: "rollback.committed"})
    assert "killed at rollback.committed" in killed, "the fault did not happen"
    told("killed-rollback-status", "crm-migrate status", say(settings, "status"))
    told("killed-rollback-resumed", "crm-migrate rollback", say(settings, "rollback"))
    assert unlocked(legacy_2026)


def test_what_a_dry_run_says_no_to(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    seed = settings.seeds_dir / "stage_mapping.csv"
    right = seed.read_text(encoding="utf-8")
    seed.write_text(right + "demo-held,qualifed,active,25\n", encoding="utf-8")
    told("seed-wrong", "crm-migrate dry-run --quick", say(settings, "dry-run --quick", code=Exit.NO_GO))
    seed.write_text(right, encoding="utf-8")

    legacy_2026.execute("update public.deals set stage = 'on ice' where id % 10 = 0")
    told("stages-unmapped", "crm-migrate dry-run --quick", say(settings, "dry-run --quick", code=Exit.NO_GO))
    legacy_2026.execute("update public.deals set stage = 'won' where stage = 'on ice'")

    one_less = (
        "from crm_migrate import gates; scan = gates._scan;"
        " gates._scan = lambda *asked: (lambda found: (found[0][1:], *found[1:]))(scan(*asked))"
    )
    said = say(settings, "dry-run --quick", code=Exit.NO_GO, prelude=one_less)
    told("checks-incomplete", "crm-migrate dry-run --quick", said)

    legacy_2026.execute("create view public.per_deal as select deals.*, count(*) from public.deals group by deals.id")
    told("view-not-carried", "crm-migrate dry-run", say(settings, "dry-run", code=Exit.NO_GO))


def test_rows_that_the_role_does_not_see(legacy_2026: Connection, mapped: MakeSettings) -> None:
    mapped(legacy_2026)
    legacy_2026.execute("create role half_blind login in role authenticated")
    try:
        for (policy,) in legacy_2026.execute("select policyname from pg_policies where tablename = 'deals'").fetchall():
            legacy_2026.execute(sql.SQL("drop policy {} on public.deals").format(sql.Identifier(policy)))
        legacy_2026.execute("create policy own on public.deals to authenticated using (sales_id = 1)")
        settings = mapped(legacy_2026, dsn=make_conninfo(legacy_2026.info.dsn, user="half_blind"))
        told("rows-hidden", "crm-migrate dry-run", say(settings, "dry-run", code=Exit.USAGE))
    finally:
        legacy_2026.execute("drop role half_blind")


def test_a_table_that_somebody_holds(tried_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(tried_2026)
    with psycopg.connect(tried_2026.info.dsn, application_name="month's report") as busy:
        busy.execute("lock table public.deals in share mode")
        said = say(settings, "apply", code=Exit.WRONG_STATE, CRM_MIGRATE_LOCK_TIMEOUT="1")
        assert str(busy.info.backend_pid) in said
        busy.rollback()
    told("table-locked", "crm-migrate apply", said)
    assert unlocked(tried_2026)


def test_a_run_that_is_stopped_and_one_that_loses_its_connection(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    say(settings, "dry-run")
    stop = {fault_points.KILL_AT: "apply.sources.started", fault_points.KILL_WITH: "SIGINT"}
    said = say(settings, "apply", code=Exit.INTERRUPTED, **stop)
    told("interrupted", "crm-migrate apply", re.sub("killed at .*", "^C", said))

    end_session = at(
        "apply.gates.started",
        "with psycopg.connect(os.environ['DATABASE_URL']) as other:",
        '    other.execute("select pg_terminate_backend(pid) from pg_stat_activity'
        " where datname = current_database() and application_name = 'crm-migrate'\")",
    )
    said = say(settings, "apply", prelude=end_session)
    assert "Connected again" in said
    told("connection-lost", "crm-migrate apply", said)
    with db.connect(settings) as connection:
        assert unlocked(connection)


def test_no_room_for_the_backup(tried_2026: Connection, mapped: MakeSettings) -> None:
    with small_disk(80 * MEGABYTE) as disk:
        settings = mapped(tried_2026, backup_dir=disk.path / "backups")
        fill = at(
            "apply.backup.started",
            f"with open({str(disk.path / 'full')!r}, 'wb', buffering=0) as file:",
            "    try:",
            "        while file.write(b'0' * 65536): pass",
            "    except OSError: pass",
        )
        said = say(settings, "apply", code=Exit.UNEXPECTED, prelude=fill)
    told("backup-disk-full", "crm-migrate apply", said.replace(str(disk.path), "/srv/crm"))
    assert unlocked(tried_2026)


def test_a_backup_that_was_damaged(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    said = say(settings, "backup create")
    made = Path(said.split("  ")[0].replace("\n", ""))
    largest = max((made / "dump").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    told(
        "backup-altered",
        "crm-migrate backup verify /srv/crm/backups/20261128-220000-5e1f",
        say(settings, f"backup verify {made}", code=Exit.UNEXPECTED),
    )


def test_every_transcript_is_held_by_a_test_and_every_fault_has_its_place() -> None:
    page = WHAT_IF.read_text(encoding="utf-8")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (paths.PROJECT / "tests").rglob("test_*.py"))
    names = re.findall(r"<!-- transcript: ([\w-]+) -->", page)
    unheld = [name for name in names if not re.search(rf'told\(\s*"{name}"', sources)]
    assert unheld == [], "nothing keeps these transcripts true"
    empty = [name for name in names if f"<!-- transcript: {name} -->\n<!-- end -->" in page]
    assert empty == [], "these transcripts were never written"
    faults = {int(number) for number in re.findall(r"(?:^### |· )(\d+) ·", page, re.M)}
    assert faults == set(range(1, 28))


def test_a_transcript_that_is_out_of_date_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- transcript: one -->\n```console\n$ run\n3 rows\n```\n<!-- end -->\n", encoding="utf-8")
    monkeypatch.delenv("CRM_WRITE_TRANSCRIPTS", raising=False)
    told("one", "run", "17 rows", document=page)
    with pytest.raises(AssertionError, match="but the program said"):
        told("one", "run", "17 rows lost", document=page)
    with pytest.raises(AssertionError, match="no single place"):
        told("two", "run", "17 rows", document=page)
