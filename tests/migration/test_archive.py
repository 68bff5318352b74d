"""The archive of 90 days: whole, sealed, closed to everybody else, written into files, and given up in the end."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import archive, archive_files, control, fault_points, fingerprint, ledger, lock
from crm_migrate import database as db
from crm_migrate import status as newest
from crm_migrate.errors import Exit, MigrationError, UsageError, WrongState
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import admission, apply, dry_run, rollback, verify
from crm_migrate.steps import archive as step
from installation import Installation, built_templates, installation, modern, stock  # noqa: F401  # fixtures
from people import add_company, add_contact, as_role, value
from running import program, unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

LEGACY_2026 = {"companies", "contact_notes", "contacts", "deal_notes", "deals", "sales", "tags", "tasks"}


def at_home(connection: Connection) -> None:
    """The test's database is a copy of a template; make it the one in which the cutover was."""
    connection.execute(
        "update crm_migration.archives set (system_identifier, database_oid, database_name) ="
        " (select * from crm_migration.identity_of_database())"
    )


def expire(connection: Connection, before: str = "1 second") -> None:
    connection.execute(
        "update crm_migration.runs set archive_until = clock_timestamp() - %s::interval where kind = 'apply'", [before]
    )


@pytest.fixture
def expired(migrated_2026: Connection) -> Connection:
    """A migrated CRM whose 90 days are over."""
    at_home(migrated_2026)
    expire(migrated_2026)
    return migrated_2026


def purge(settings: Settings) -> step.PurgeReport:
    with db.connect(settings) as connection:
        return step.purge(connection, settings, Silent())


def test_archive_is_every_legacy_table_as_it_was(installation: Installation) -> None:  # noqa: F811
    before = fingerprint.take(installation.connection).contents
    installation.cut_over()
    held = archive.check(installation.connection, installation.run_id)
    assert [table.problem for table in held] == [""] * len(held)
    there = fingerprint.take(installation.connection).contents
    # whatever became of a table: what is not as before is in the archive as it was before
    for name, content in before.items():
        if there.get(name) != content or name in LEGACY_2026 | {"dealNotes", "contactNotes", "payouts"}:
            (kept,) = (table for table in held if table.name == name)
            assert (kept.rows, kept.sealed_rows) == (content["rows"], content["rows"]), name
    assert {table.name for table in held} >= {"deals", "companies", "payouts", installation.notes}


SABOTAGE = {
    "one value altered": ("update crm_archive.companies set name = 'x' where id = 7", "companies", "not the same"),
    "two values swapped": (
        (
            "update crm_archive.deals set amount = other.amount from crm_archive.deals as other"
            " where deals.id + other.id = 81 and deals.id in (40, 41)"
        ),
        "deals",
        "not the same",
    ),
    "a row deleted": ("delete from crm_archive.contacts where id = 5", "contacts", "rows instead of"),
    "a table dropped": ("drop table crm_archive.tags", "tags", "missing"),
    "a table added": ("create table crm_archive.mine as select 1 as id", "mine", "not a table of this archive"),
}


def test_altered_archive_is_found(migrated_2026: Connection, mapped: MakeSettings) -> None:
    report = step.status(migrated_2026)
    assert report.exit_code == Exit.OK
    assert {table.name for table in report.tables} >= LEGACY_2026
    for fault, (damage, name, problem) in SABOTAGE.items():
        with migrated_2026.transaction(force_rollback=True):
            migrated_2026.execute(damage)
            found = step.status(migrated_2026)
            assert found.exit_code == Exit.VERIFICATION_FAILED, fault
            assert [(table.name, problem in table.problem) for table in found.tables if not table.ok] == [(name, True)]


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_archive_is_closed_to_the_api(migrated: Connection, role: str) -> None:
    for name in archive.stored(migrated):
        with as_role(migrated, role), pytest.raises(psycopg.errors.InsufficientPrivilege):
            migrated.execute(f'select from crm_archive."{name}"')
    may = migrated.execute(
        "select relname, grantee from pg_catalog.pg_class"
        " cross join lateral (select grantee::regrole::text from aclexplode(relacl) where grantee <> relowner"
        "  union all select grantee::regrole::text from pg_attribute, aclexplode(attacl) where attrelid = pg_class.oid"
        " ) as granted where relnamespace = 'crm_archive'::regnamespace"
    ).fetchall()
    assert may == [], "not even behind the closed schema"


def test_default_privileges_do_not_open_the_archive(stock: Installation) -> None:  # noqa: F811
    stock.execute("alter default privileges grant usage on schemas to authenticated, public")
    stock.execute("alter default privileges grant all on tables to authenticated, anon")
    before = fingerprint.take(stock.connection)
    stock.cut_over()
    for name in ("deals", "companies"):
        with as_role(stock.connection), pytest.raises(psycopg.errors.InsufficientPrivilege):
            stock.execute(f"select from crm_archive.{name}")
    stock.roll_back(keep_changes=False)
    assert fingerprint.compare(before, fingerprint.take(stock.connection)) == []


def test_export_holds_every_row_and_is_its_owners(migrated_2026: Connection, mapped: MakeSettings) -> None:
    odd = 'a "quoted", \\ multi\nline \U0001f600 text'
    # as if it had been there: in the archive, and so in its seal
    migrated_2026.execute("update crm_archive.companies set name = %s, website = '' where id = 7", [odd])
    migrated_2026.execute(
        "update crm_migration.archived_tables set hash = now.hash"
        " from crm_migration.table_contents('crm_archive') as now where archived_tables.table_name = now.name"
    )
    settings = mapped(migrated_2026)
    report = step.export(migrated_2026, settings, None)
    assert stat.S_IMODE(report.path.stat().st_mode) == 0o700
    for path in report.path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    manifest = json.loads((report.path / archive_files.MANIFEST).read_text(encoding="utf-8"))
    assert {table["table"] for table in manifest["tables"]} == {*archive.stored(migrated_2026)} >= LEGACY_2026
    for table in manifest["tables"]:
        path = report.path / table["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == table["sha256"]
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert (
            len(rows) == table["rows"] == value(migrated_2026, f'select count(*) from crm_archive."{table["table"]}"')
        )
        assert list(rows[0]) == [column["name"] for column in table["columns"]] if rows else True
        if table["table"] == "companies":
            (row,) = (row for row in rows if row["id"] == "7")
            assert (row["name"], row["website"]) == (odd, "")
    with pytest.raises(UsageError, match="exists already"):
        step.export(migrated_2026, settings, report.path)


def test_export_of_an_altered_archive_is_not_believed(migrated_2026: Connection, tmp_path: Path) -> None:
    migrated_2026.execute("update crm_archive.deals set amount = amount + 1 where id = 40")
    with pytest.raises(archive_files.ExportDiffers, match="deals"):
        archive_files.write(migrated_2026, step._sealed(migrated_2026), tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_purge_ends_the_archive_and_nothing_else(expired: Connection, mapped: MakeSettings) -> None:
    settings = mapped(expired)
    crm = fingerprint.take(expired)
    report = purge(settings)
    assert report.tables >= len(LEGACY_2026)
    assert report.rows > 1000
    assert value(expired, "select to_regnamespace('crm_archive')") is None
    after = fingerprint.take(expired)
    assert after.contents == crm.contents
    gone = {item.identity for item in fingerprint.compare(crm, after)}
    assert gone
    assert all("crm_migrate_journal" in identity for identity in gone), gone
    emptied = [
        row[0]
        for row in expired.execute("select name from crm_migration.own_relations('crm_migration') where kind = 'r'")
    ]
    left = [(name, value(expired, f"select count(*) from crm_migration.{name}")) for name in emptied]
    assert {name for name, rows in left if rows} <= {*step.KEPT}
    assert step.status(expired).state == "purged"
    assert newest.read(expired).next_command.startswith("nothing")

    with pytest.raises(archive.ArchivePurged, match="nothing to purge"):
        purge(settings)
    with db.connect(settings) as connection, pytest.raises(archive.ArchivePurged, match="was purged at"):
        verify.run(connection, settings)
    with db.connect(settings) as connection, pytest.raises(archive.ArchivePurged, match="was purged at"):
        rollback.run(connection, settings, Silent(), force_reason="too late")
    with db.connect(settings) as connection, pytest.raises(admission.AlreadyMigrated):
        apply.run(connection, settings, Silent())
    with db.connect(settings) as connection, pytest.raises(WrongState, match="migrated already"):
        dry_run.run(connection, settings, Silent(), accepted={})
    with db.connect(settings) as connection, pytest.raises(archive.ArchivePurged):
        step.export(connection, settings, None)
    _people_work(expired)
    lock.acquire(expired, settings)
    lock.release(expired, settings)
    assert unlocked(expired)
    _people_work(expired)


def _people_work(connection: Connection) -> None:
    """What the old and the new application do most."""
    with as_role(connection):
        company = add_company(connection, "after the purge", "principal")
        contact = add_contact(connection, "Ada", company)
        deal = value(
            connection,
            "insert into public.deals (name, company_id, stage, contact_ids) values ('d', %s, 'opportunity', array[%s])"
            " returning id",
            company,
            contact,
        )
        connection.execute("update public.deals set stage = 'won', index = 3 where id = %s", [deal])
        assert value(connection, "select stage::text from public.opportunities where id = %s", deal) == "closed_won"
        connection.execute("insert into public.deal_notes (deal_id, text) values (%s, 'n')", [deal])
        connection.execute("select public.add_product(%s, 'Drill')", [company])
        task = value(
            connection,
            "insert into public.tasks (contact_id, type, text, due_date) values (%s, 'call', 't', now()) returning id",
            contact,
        )
        assert value(connection, "select count(*) from public.activities where legacy_task_id = %s", task) == 1
        assert value(connection, "select nb_deals from public.companies_summary where id = %s", company) == 1
        connection.execute("delete from public.deals where id = %s", [deal])
        connection.execute("delete from public.companies where id = %s", [company])


def test_purge_is_refused_too_early_by_the_servers_clock(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    at_home(migrated_2026)
    before = archive.stored(migrated_2026)
    expire(migrated_2026, "-2 seconds")
    with pytest.raises(step.ArchiveNotYet) as refused:
        purge(settings)
    assert refused.value.exit_code == Exit.WINDOW
    assert archive.stored(migrated_2026) == before
    assert ledger.latest(migrated_2026, "purge") is None
    expire(migrated_2026, "1 second")
    assert purge(settings).tables == len(before)


def test_ninety_days_are_counted_from_the_cutover(migrated_2026: Connection) -> None:
    assert (
        value(
            migrated_2026,
            "select extract(day from archive_until - cutover_at)::int from crm_migration.runs where kind = 'apply'",
        )
        == 90
    )


def test_purge_is_refused_in_a_copy(migrated_2026: Connection, mapped: MakeSettings) -> None:
    expire(migrated_2026)
    with pytest.raises(step.AnotherDatabase) as refused:
        purge(mapped(migrated_2026))
    assert refused.value.exit_code == Exit.WRONG_STATE
    assert step.status(migrated_2026).here is False
    assert {*archive.stored(migrated_2026)} >= LEGACY_2026


def test_purge_is_refused_while_a_run_is_unfinished_or_the_crm_locked(
    expired: Connection, mapped: MakeSettings
) -> None:
    settings = mapped(expired)
    expired.execute("update crm_migration.runs set state = 'stopped' where kind = 'apply'")
    with pytest.raises(WrongState, match="not finished"):
        purge(settings)
    expired.execute("update crm_migration.runs set state = 'completed' where kind = 'apply'")
    with db.connect(settings) as other:
        lock.claim(other)
        with pytest.raises(lock.LockHeld):
            purge(settings)
    lock.acquire(expired, settings)
    with pytest.raises(lock.LockHeld):
        purge(settings)
    lock.release(expired, settings)
    assert {*archive.stored(expired)} >= LEGACY_2026
    assert purge(settings).tables >= len(LEGACY_2026)


def test_purge_needs_a_migration(legacy_2026: Connection, mapped: MakeSettings) -> None:
    for command in (lambda: step.status(legacy_2026), lambda: purge(mapped(legacy_2026))):
        with pytest.raises(WrongState, match="never migrated"):
            command()
    assert not control.installed(legacy_2026), "looking must not write"


def test_purge_is_resumed_at_every_point(expired: Connection, mapped: MakeSettings, tmp_path: Path) -> None:
    settings = mapped(expired)
    trace = tmp_path / "trace"
    arguments = ("archive", "purge", "--confirm-database", expired.info.dbname)
    # one after the other in the same purge: each is behind the last
    for point in ("purge.marked", "purge.table.deals", "purge.schema", "purge.records.worked"):
        killed = program(settings, *arguments, **{fault_points.KILL_AT: point})
        assert killed.wait(timeout=60) == -signal.SIGKILL, point
        with db.connect(settings) as connection, pytest.raises(archive.ArchivePurged, match="not yet to the end"):
            rollback.run(connection, settings, Silent(), force_reason="regret")
        assert step.status(expired).state == "being purged"
    resumed = program(settings, *arguments, **{fault_points.TRACE: str(trace)})
    said = resumed.communicate(timeout=60)[1]
    assert resumed.returncode == 0, said
    assert step.status(expired).state == "purged"
    assert "purge.completed" in trace.read_text(encoding="utf-8")
    assert value(expired, "select count(*) from crm_migration.runs where kind = 'purge'") == 1
    told, sealed = (
        value(expired, "select rows from crm_migration.steps where name = 'archive' order by started_at desc limit 1"),
        value(expired, "select sum(row_count) from crm_migration.archived_tables"),
    )
    assert told == sealed, "also what was dropped before it was interrupted"
    _people_work(expired)


def test_purge_stops_at_what_reads_the_archive(expired: Connection, mapped: MakeSettings) -> None:
    settings = mapped(expired)
    expired.execute("create view public.of_old as select id from crm_archive.deals")
    with pytest.raises(step.InUse) as refused:
        purge(settings)
    assert "of_old" in refused.value.why
    expired.execute("drop view public.of_old")
    assert purge(settings).tables >= len(LEGACY_2026)


def test_purge_waits_for_nobody_for_long(expired: Connection, mapped: MakeSettings) -> None:
    settings = mapped(expired, lock_timeout=1.0)
    with db.connect(settings) as other, other.transaction():
        other.execute("update public.companies set name = name where id = 1")
        with pytest.raises(step.PurgeBlocked) as stopped:
            purge(settings)
    assert stopped.value.exit_code == Exit.RESUMABLE
    assert "companies" in stopped.value.why
    assert purge(settings).tables >= len(LEGACY_2026)


def test_archive_of_a_rolled_back_migration_keeps_its_time(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    at_home(migrated_2026)
    with db.connect(settings) as connection:
        rollback.run(connection, settings, Silent())
    report = step.status(migrated_2026)
    assert report.exit_code == Exit.OK
    assert {table.name for table in report.tables} == LEGACY_2026 - {"deals"} | {
        table.name for table in report.tables if table.name not in LEGACY_2026
    }
    with pytest.raises(MigrationError):
        purge(settings)
    expire(migrated_2026)
    purge(settings)
    with as_role(migrated_2026):
        migrated_2026.execute("insert into public.deals (name, stage) values ('x', 'won')")
    with db.connect(settings) as connection:
        assert dry_run.run(connection, settings, Silent(), accepted={}, quick=True).verdict == "GO"
