"""The warm apply where something is not as it should be: what was missed is found, what is old is built anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from crm_migrate import backup, backup_delta, control, fingerprint, ledger, redo, row_versions, trial_restore
from crm_migrate import database as db
from crm_migrate.errors import Interrupted, MigrationError
from crm_migrate.observer import Silent
from crm_migrate.reports import ApplyReport
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run, rollback, verify, warm
from crm_migrate.steps.stage import UNLOCKED
from running import unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


class Sabotage(Silent):
    """Does something when a step is done."""

    def __init__(self, step: str, do: Callable[[], Any]) -> None:
        self.step, self.do = step, do

    def step_done(self, name: str, seconds: float, rows: int | None) -> None:
        if name == self.step:
            self.do()


@pytest.fixture
def tried(kept_2026: Connection, mapped: MakeSettings) -> tuple[Connection, Settings]:
    """A CRM with a passed dry run whose build was kept, and a deal that changed since."""
    settings = mapped(kept_2026)
    kept_2026.execute("update public.deals set amount = 4711 where id = (select min(id) from public.deals)")
    return kept_2026, settings


def go(settings: Settings, observer: Silent | None = None, *, cold: bool = False) -> ApplyReport:
    """Apply, on a connection of its own."""
    with db.connect(settings) as connection:
        return apply.run(connection, settings, observer or Silent(), cold=cold)


def build_of(connection: Connection, report: ApplyReport) -> Any:
    """How the run was built, as its ledger says."""
    return ledger.get(connection, report.run_id).summary["build"]


def forget(connection: Connection, label: str, table: str) -> None:
    """Lose what was found of a table's changes."""
    name = db.scalar(connection, "select crm_migration.changes_name(%s, %s::regclass)", [label, f"public.{table}"])
    assert connection.execute(f"delete from {name}".encode()).rowcount


def test_the_dry_run_leaves_tables_only(tried: tuple[Connection, Settings]) -> None:
    crm, _ = tried
    kinds = crm.execute(
        "select distinct relkind::text from pg_class"
        " where relnamespace = 'crm_build'::regnamespace and relkind in ('r', 'v')"
    ).fetchall()
    assert kinds == [("r",)]
    # the team may still change its tables: nothing of the build depends on them
    crm.execute("alter table public.contacts drop column background cascade")


def test_a_change_that_was_not_noticed_is_found_by_the_books(tried: tuple[Connection, Settings]) -> None:
    crm, settings = tried
    # no gate asks for the day of a company
    crm.execute("update public.companies set created_at = created_at - interval '1 day' where id = 7")
    before = fingerprint.take(crm)
    with pytest.raises(warm.ChangeMissed, match="companies") as missed:
        go(settings, Sabotage("changes", lambda: forget(crm, "build", "companies")))
    assert "--cold" in missed.value.next
    assert missed.value.state == UNLOCKED
    assert unlocked(crm)
    assert fingerprint.compare(before, fingerprint.take(crm)) == []


class Misses(Silent):
    """Changes a row before the lock, and loses what was found of it."""

    def __init__(self, connection: Connection, table: str, change: LiteralString) -> None:
        self.connection, self.table, self.change = connection, table, change

    def step_done(self, name: str, seconds: float, rows: int | None) -> None:
        if name == "base":
            self.connection.execute(self.change)
        if name == "changes":
            forget(self.connection, "base", self.table)


def test_a_change_that_the_delta_lacks_is_found_by_the_books(tried: tuple[Connection, Settings]) -> None:
    crm, settings = tried
    crm.execute("create table public.own_notes (id bigint primary key, text text)")
    crm.execute("insert into public.own_notes values (1, 'ours'), (2, 'ours too')")
    with db.connect(settings) as connection:
        assert dry_run.run(connection, settings, Silent(), accepted={}).verdict == "GO"
    with pytest.raises(warm.ChangeMissed, match="Rows of own_notes changed"):
        go(settings, Misses(crm, "own_notes", "update public.own_notes set text = '!' where id = 1"))
    assert unlocked(crm)
    with db.connect(settings) as connection:
        assert dry_run.run(connection, settings, Silent(), accepted={}).verdict == "GO"
    with pytest.raises(warm.ChangeMissed, match="Rows of contacts changed"):
        go(settings, Misses(crm, "contacts", "update public.contacts set title = 'x!' where id = 1"))
    assert unlocked(crm)


def test_a_change_that_the_archive_lacks_is_found_by_the_oracles(tried: tuple[Connection, Settings]) -> None:
    crm, settings = tried
    # no model reads them
    change: LiteralString = "update public.tags set name = name || '!' where id = (select min(id) from public.tags)"
    with pytest.raises(apply.VerificationFailed) as failed:
        go(settings, Misses(crm, "tags", change))
    assert "O3: Rows do not come back as they were: tags " in failed.value.why
    assert not unlocked(crm)
    # the row itself was never lost, and the rollback says that it is not what was remembered
    with db.connect(settings) as connection, pytest.raises(rollback.NotAsBefore, match="content tags"):
        rollback.run(connection, settings, Silent())
    assert db.scalar(crm, "select count(*) from public.tags where name like '%!'") == 1


def test_a_row_that_changed_under_the_same_version_is_read_again(tried: tuple[Connection, Settings]) -> None:
    crm, settings = tried
    # as a fault of a disk would: the row is the dry run's by its version, and not by its text
    versions = db.scalar(crm, "select crm_migration.versions_name('build', 'public.companies')")
    totals = db.scalar(crm, "select crm_migration.totals_name('build', 'public.companies')")
    crm.execute(f'update {versions} set "crm hash" = "crm hash" - 5 where id = 7'.encode())
    crm.execute(f"update {totals} set hash = hash - 5".encode())
    report = go(settings)
    changes = next(step for step in ledger.steps(crm, report.run_id) if step.name == "changes")
    assert changes.detail["changed"] == {"companies": 1, "deals": 1}


def test_a_delta_that_does_not_restore_is_no_backup(
    tried: tuple[Connection, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    crm, settings = tried
    new = "update public.tags set name = 'another' where id = (select min(id) from public.tags)"
    real = backup_delta._copy_out

    def lose(connection: Connection, query: Any, path: Path) -> None:
        real(connection, query, path)
        if path.suffix == ".rows":
            path.write_bytes(path.read_bytes().replace(b"another", b"an other"))

    monkeypatch.setattr(backup_delta, "_copy_out", lose)
    with pytest.raises(trial_restore.RestoreTestFailed) as failed:
        go(settings, Sabotage("base", lambda: crm.execute(new)))
    assert "public.tags" in failed.value.why
    assert unlocked(crm)


def test_a_delta_is_part_of_the_backup(tried: tuple[Connection, Settings]) -> None:
    crm, settings = tried
    new = "insert into public.tags (id, name, color) overriding system value values (990, E'a\\tb\\nc', '#fff')"
    report = go(settings, Sabotage("base", lambda: crm.execute(new)))
    folder = Path(report.backup["path"])
    made = backup.verify(folder)
    assert made.delta is not None
    assert [table["name"] for table in made.delta["tables"]] == ["tags"]
    assert trial_restore.run(crm, settings, made).ok
    rows = next(folder.glob("delta/*.rows"))
    rows.chmod(0o600)
    rows.write_bytes(rows.read_bytes().replace(b"990", b"991"))
    with pytest.raises(backup.BackupAltered, match="not what was written"):
        backup.verify(folder)


def test_an_apply_that_was_interrupted_under_the_lock_goes_on(tried: tuple[Connection, Settings]) -> None:
    crm, settings = tried

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        go(settings, Sabotage("changes", stop))
    report = go(settings)
    assert build_of(crm, report) == {"kind": "warm"}
    # what was restored before went with the process: all of it was backed up again, under the lock
    made = backup.verify(Path(report.backup["path"]))
    assert made.delta is None
    assert made.locked_state is not None
    assert db.scalar(crm, "select amount from public.deals order by id limit 1") == 4711
    assert verify.run(crm, settings).ok


def test_an_apply_that_failed_before_its_lock_begins_again(tried: tuple[Connection, Settings]) -> None:
    crm, settings = tried

    def fail() -> None:
        raise MigrationError("Nothing works today.")

    with pytest.raises(MigrationError, match="today"):
        go(settings, Sabotage("base", fail))
    assert unlocked(crm)
    crm.execute("update public.deals set amount = 4712 where id = (select min(id) from public.deals)")
    report = go(settings)
    assert build_of(crm, report) == {"kind": "warm"}
    assert db.scalar(crm, "select amount from public.deals order by id limit 1") == 4712
    # the backup of the first try is gone
    assert [made.path for made in backup.list_backups(settings.backup_dir)] == [Path(report.backup["path"])]


def test_too_many_changes_are_built_anew(tried: tuple[Connection, Settings]) -> None:
    crm, settings = tried
    crm.execute("update public.contacts set title = 'all of them'")
    report = go(settings)
    build = build_of(crm, report)
    assert build["kind"] == "cold"
    assert "% of the rows changed" in build["why"]
    assert backup.verify(Path(report.backup["path"])).delta is not None
    assert verify.run(crm, settings).ok


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("truncate crm_build.opportunities cascade", "opportunities"),
        ("update crm_migration.builds set kept_transaction = kept_transaction - 3000000000", "transactions"),
        ("update crm_migration.builds set kept_in = 'another'", "another name"),
        ("drop schema crm_build cascade", "opportunities"),
    ],
)
def test_a_build_that_cannot_be_gone_on_with_is_built_anew(
    tried: tuple[Connection, Settings], spoil: str, why: str
) -> None:
    crm, settings = tried
    crm.execute(spoil.encode())
    with db.connect(settings) as connection:
        from crm_migrate import kept_build

        run = ledger.latest(connection, "dry-run", states=("passed",))
        assert run is not None
        said = kept_build.why_not(connection, run.run_id)
    assert said is not None
    assert why in said


def test_a_model_without_rule_and_key_is_built_anew(
    tried: tuple[Connection, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    crm, settings = tried
    real = redo.rule_for
    monkeypatch.setattr(redo, "rule_for", lambda model, *more: None if model.name == "activities" else real(model))
    report = go(settings)
    assert build_of(crm, report) == {"kind": "cold", "why": "activities has neither a rule in sql/redo nor a key"}
    assert verify.run(crm, settings).ok


def test_rows_that_cannot_be_told_apart_keep_no_build(
    legacy_2026: Connection, mapped: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = mapped(legacy_2026, batch_size=60)
    without_a_key = "select crm_migration.remember_versions('build', 'public.keyless'::regclass)"
    control.install(legacy_2026, settings)
    legacy_2026.execute("create table public.keyless as select 1 as id")
    assert db.scalar(legacy_2026, without_a_key) is None
    legacy_2026.execute("drop table public.keyless")
    monkeypatch.setattr(row_versions, "remember", lambda *asked: (["public.tasks"], 0))
    with db.connect(settings) as connection:
        assert dry_run.run(connection, settings, Silent(), accepted={}).verdict == "GO"
    assert db.scalar(legacy_2026, "select to_regnamespace('crm_build') is null")


def test_cold_on_demand(tried: tuple[Connection, Settings]) -> None:
    crm, settings = tried
    report = go(settings, cold=True)
    assert build_of(crm, report) == {"kind": "cold", "why": "asked for"}
    assert db.scalar(crm, "select to_regnamespace('crm_build') is null and to_regnamespace('crm_versions') is null")
