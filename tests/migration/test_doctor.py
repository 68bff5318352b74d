"""The doctor: what it says of good and bad databases, and that it writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crm_migrate import control, doctor, fingerprint
from crm_migrate import database as db
from crm_migrate.checks import Check
from crm_migrate.errors import Exit
from crm_migrate.settings import Settings

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]
ROLE = "doctor_test_role"


def by_id(found: doctor.Examination) -> dict[str, Check]:
    return {check.id: check for check in found.checks}


@pytest.fixture
def stranger(legacy_2026: Connection, make_settings: MakeSettings) -> Iterator[Settings]:
    """Settings of a role that owns nothing and may read everything."""
    name = sql.Identifier(ROLE)
    legacy_2026.execute(sql.SQL("create role {} login").format(name))
    legacy_2026.execute(sql.SQL("grant authenticated to {}").format(name))
    yield make_settings(legacy_2026, dsn=make_conninfo(legacy_2026.info.dsn, user=ROLE))
    legacy_2026.execute(sql.SQL("drop owned by {}").format(name))
    legacy_2026.execute(sql.SQL("drop role {}").format(name))


def test_a_legacy_database_is_fit(legacy: Connection, make_settings: MakeSettings) -> None:
    found = doctor.examine(legacy, make_settings(legacy))
    assert found.ok, [check for check in found.checks if not check.ok]
    assert found.exit_code == Exit.OK
    assert found.generation in ("2025", "2026")
    assert {"fence", "grants", "owner"} <= set(found.layers)
    document = found.as_json()
    assert set(document["checks"][0]) == {"id", "ok", "severity", "message", "hint"}


def test_nothing_is_written(legacy: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(legacy)
    control.install(legacy, settings)
    before = fingerprint.take(legacy)
    doctor.examine(legacy, settings)
    assert fingerprint.compare(before, fingerprint.take(legacy)) == []
    assert db.scalar(legacy, "select current_setting('default_transaction_read_only')") == "off"


def test_it_looks_at_a_database_that_it_never_touched(legacy: Connection, make_settings: MakeSettings) -> None:
    found = doctor.examine(legacy, make_settings(legacy))
    assert by_id(found)["dependants"].ok
    assert not control.installed(legacy)


def test_a_role_that_owns_nothing_is_refused(stranger: Settings) -> None:
    with db.connect(stranger) as connection:
        found = doctor.examine(connection, stranger)
    checks = by_id(found)
    assert not found.ok
    assert found.exit_code == Exit.NO_GO
    assert not checks["ownership"].ok
    assert not checks["create_schema"].ok
    assert not checks["lock_layers"].ok
    assert "fence" not in found.layers


def test_rows_that_row_level_security_hides_are_missed(legacy_2026: Connection, stranger: Settings) -> None:
    with db.connect(stranger) as connection:
        assert not by_id(doctor.examine(connection, stranger))["visibility"].ok
    legacy_2026.execute(sql.SQL("alter role {} bypassrls").format(sql.Identifier(ROLE)))
    legacy_2026.execute(sql.SQL("grant select on all tables in schema public to {}").format(sql.Identifier(ROLE)))
    with db.connect(stranger) as connection:
        assert by_id(doctor.examine(connection, stranger))["visibility"].ok


def test_forced_row_level_security_hides_from_an_owner(legacy_2026: Connection, stranger: Settings) -> None:
    legacy_2026.execute(sql.SQL("alter table public.deals owner to {}").format(sql.Identifier(ROLE)))
    legacy_2026.execute("alter table public.deals force row level security")
    with db.connect(stranger) as connection:
        check = by_id(doctor.examine(connection, stranger))["visibility"]
    assert not check.ok
    assert "deals" in check.message
    legacy_2026.execute("alter table public.deals owner to postgres")


def test_a_transaction_pooler_is_recognized(
    legacy_2026: Connection, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(legacy_2026)
    original = db.scalar
    backends = iter(range(1000))

    def pooled(connection: Connection, query: Any, params: Any = None) -> Any:
        return next(backends) if query == "select pg_backend_pid()" else original(connection, query, params)

    monkeypatch.setattr(db, "scalar", pooled)
    check = by_id(doctor.examine(legacy_2026, settings))["pooler"]
    assert not check.ok
    assert check.severity == "blocker"


def test_prepared_and_long_transactions_are_named(
    legacy_2026: Connection, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(legacy_2026)
    monkeypatch.setattr(doctor, "LONG_TRANSACTION_SECONDS", 0)
    with psycopg.connect(legacy_2026.info.dsn) as other:
        other.execute("select 1")
        check = by_id(doctor.examine(legacy_2026, settings))["long_transactions"]
        assert not check.ok
        assert str(other.info.backend_pid) in check.message


def test_too_little_room_is_told(
    legacy_2026: Connection, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crm_migrate import machine

    monkeypatch.setattr(machine, "SMALLEST", 2**60)
    checks = by_id(doctor.examine(legacy_2026, make_settings(legacy_2026)))
    assert not checks["disk.backup"].ok
    assert not checks["disk.server"].ok
    assert "Make room" in checks["disk.backup"].hint


def test_room_that_a_dry_run_takes_already_is_not_asked_for_again(legacy_2026: Connection) -> None:
    from crm_migrate import machine

    legacy, needed = machine.legacy_bytes(legacy_2026), machine.server_bytes(legacy_2026)
    assert needed > 3 * legacy > 0
    legacy_2026.execute("create schema crm_build")
    legacy_2026.execute("create table crm_build.kept as select * from public.contacts")
    kept: int = db.scalar(legacy_2026, "select pg_total_relation_size('crm_build.kept')")
    assert machine.legacy_bytes(legacy_2026) == legacy, "what the migration makes is no part of the CRM"
    assert machine.server_bytes(legacy_2026) == needed - kept
    legacy_2026.execute("alter table crm_build.kept set schema public")
    assert machine.server_bytes(legacy_2026) > needed + 3 * kept, "a table of the CRM is restored, too"
