"""From one end to the other as a role without superuser, which has what docs/privileges.md gives it and no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crm_migrate import access, backup, control, doctor, fingerprint, paths, trial_restore
from crm_migrate import database as db
from crm_migrate.observer import Silent
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run, on_copy, rollback, verify
from owners import ROLE, STATEMENTS, documented
from people import as_role, value
from support import fresh_database, make_template

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


@pytest.fixture
def legacy_2025_on_15(postgres15: EmbeddedServer) -> Iterator[Connection]:
    """A legacy CRM of generation 2025 on PostgreSQL 15."""
    template = make_template(postgres15, "2025", name="unprivileged_2025")
    with fresh_database(postgres15, template=template) as connection:
        yield connection


def as_migrator(mapped: MakeSettings, connection: Connection) -> Settings:
    mapped(connection)  # the mapping files are written by somebody who may read the generator's tables
    return mapped(connection, dsn=make_conninfo(connection.info.dsn, user=ROLE))


def there_and_back(admin: Connection, settings: Settings, layers: tuple[str, ...], *, copy: bool) -> None:
    with db.connect(settings) as own:
        assert own.execute("select rolsuper from pg_roles where rolname = current_user").fetchone() == (False,)
        found = doctor.examine(own, settings)
        assert found.ok, [check for check in found.checks if not check.ok]
        assert found.layers == layers
        control.install(own, settings)
        before, allowed = fingerprint.take(own), access.capture(own)

    step = on_copy.run if copy else dry_run.run
    with db.connect(settings) as own:
        report = step(own, settings, Silent(), accepted={})
    assert report.verdict == "GO", (report.reasons, report.findings)
    with db.connect(settings) as own:
        apply.run(own, settings, Silent())
    with db.connect(settings) as own:
        assert verify.run(own, settings).ok

    with as_role(admin):
        admin.execute("update public.opportunities set stage = 'closed_won' where id = 1")
        admin.execute("update public.deals set stage = 'lost' where id = 2")
    with db.connect(settings) as own:
        done = rollback.run(own, settings, Silent(), keep_changes=True)
    assert done.differences == []
    assert done.carried_over["deals"]["updated"] == 2
    with db.connect(settings) as own:
        assert access.capture(own) == allowed
        after = fingerprint.take(own, content=False)
    assert fingerprint.compare(fingerprint.Fingerprint(before.schema, {}, {}), after) == []


def test_as_the_owner_on_the_newest_server(legacy_2026: Connection, mapped: MakeSettings) -> None:
    with documented(legacy_2026, "owner"):
        settings = as_migrator(mapped, legacy_2026)
        there_and_back(legacy_2026, settings, ("fence", "grants", "owner"), copy=False)


def test_as_a_member_of_the_owner_on_the_oldest_server(legacy_2025_on_15: Connection, mapped: MakeSettings) -> None:
    with documented(legacy_2025_on_15, "member", "logins"):
        settings = as_migrator(mapped, legacy_2025_on_15)
        there_and_back(legacy_2025_on_15, settings, ("fence", "grants", "logins", "sessions", "owner"), copy=True)


def test_a_checkpoint_is_asked_for_where_the_role_may(legacy_2026: Connection, mapped: MakeSettings) -> None:
    last = "select checkpoint_lsn from pg_control_checkpoint()"
    with documented(legacy_2026, "owner"):
        settings = as_migrator(mapped, legacy_2026)
        before = value(legacy_2026, last)
        with db.connect(settings) as own:
            assert apply.write_what_is_in_memory(own) is False
        legacy_2026.execute(sql.SQL("grant pg_checkpoint to {}").format(sql.Identifier(ROLE)))
        with db.connect(settings) as own:
            assert apply.write_what_is_in_memory(own) is True
        assert value(legacy_2026, last) != before


@pytest.mark.parametrize("createdb", [True, False], ids=["scratch database", "private server"])
def test_backup_and_its_restore_test(legacy_2026: Connection, mapped: MakeSettings, createdb: bool) -> None:
    with documented(legacy_2026, "owner"):
        if createdb:
            legacy_2026.execute(sql.SQL("alter role {} createdb").format(sql.Identifier(ROLE)))
        settings = as_migrator(mapped, legacy_2026)
        with db.connect(settings) as own:
            made = backup.create(own, settings, run_id="r", folder=settings.backup_dir)
            tested = trial_restore.run(own, settings, made)
        assert tested.ok
        assert tested.place == ("database crm_scratch_r" if createdb else "private server")
        assert tested.rows == sum(table.rows for table in made.tables.values()) > 1000


@pytest.mark.parametrize(
    ("taken", "check"),
    [
        ("revoke create on schema public from crm_migrator", "create_schema"),
        ("alter table public.tags owner to postgres", "ownership"),
        ("grant service_role to crm_migrator; alter table public.tags owner to service_role", "owner_may_create"),
        ("alter table public.tags owner to postgres", "lock_layers"),
        ("alter table public.deals force row level security", "visibility"),
    ],
)
def test_doctor_misses_what_the_document_gives(
    legacy_2026: Connection, mapped: MakeSettings, taken: str, check: str
) -> None:
    with documented(legacy_2026, "owner"):
        settings = as_migrator(mapped, legacy_2026)
        legacy_2026.execute(taken)
        with db.connect(settings) as own:
            missing = {found.id for found in doctor.examine(own, settings).checks if not found.ok}
    assert check in missing


def test_document_names_the_doctor_s_checks_and_the_lock_s_layers(
    legacy_2026: Connection, mapped: MakeSettings
) -> None:
    text = (paths.PROJECT / "docs/privileges.md").read_text(encoding="utf-8")
    found = doctor.examine(legacy_2026, mapped(legacy_2026))
    assert set(found.layers) <= set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    for check in ("create_schema", "ownership", "lock_layers", "visibility", "scratch_database"):
        assert f"`{check}`" in text
        assert check in {item.id for item in found.checks}
    assert set(STATEMENTS) == {"role", "owner", "member", "logins"}
