"""What waits since a rollback is put into the new tables: once, as people left it, and never dropped silently."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from crm_migrate import fault_points, lock, put_back
from crm_migrate.put_back import PutBack
from crm_migrate.settings import Settings
from people import add_company, value
from running import unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def wait(
    connection: Connection, table: str, content: dict[str, Any] | None, before: dict[str, Any] | None = None
) -> None:
    """A row that an earlier rollback has kept."""
    known: dict[str, Any] = content or before or {}
    kind = "deleted" if content is None else "inserted" if before is None else "changed"
    connection.execute(
        "insert into crm_migration.exported_rows (run_id, table_name, key, kind, content, before, state)"
        " values ('earlier', %s, %s, %s, %s, %s, 'waiting')",
        [table, str(known["id"]), kind, *(None if part is None else Jsonb(part) for part in (content, before))],
    )


def execute(connection: Connection, settings: Settings) -> PutBack:
    lock.acquire(connection, settings)
    put_back.execute(connection, settings, "now")
    fences = value(
        connection, "select count(*) from pg_trigger where tgname = 'crm_migrate_fence' and tgenabled <> 'A'"
    )
    assert fences == 0, "the fence stands as before"
    lock.release(connection, settings)
    assert unlocked(connection)
    return put_back.result(connection, "now")


def row(connection: Connection, table: str, key: int) -> dict[str, Any]:
    found: dict[str, Any] = value(connection, f"select to_jsonb(t) from public.{table} as t where id = %s", key)
    return found


def test_only_what_people_made_different_is_written(migrated_2026: Connection, mapped: MakeSettings) -> None:
    now = row(migrated_2026, "opportunities", 31)
    # as another mapping would have made it, and as people changed that
    before = now | {"principal_organization_id": 999, "priority": "medium", "amount": 1}
    wait(migrated_2026, "opportunities", before | {"priority": "high", "next_action": "call", "amount": 2}, before)
    assert execute(migrated_2026, mapped(migrated_2026)).rows == {"opportunities": {"put back": 1}}
    assert row(migrated_2026, "opportunities", 31) == now | {"priority": "high", "next_action": "call"}


def test_what_people_said_counts_where_the_migration_makes_the_same(
    migrated_2026: Connection, mapped: MakeSettings
) -> None:
    link = value(migrated_2026, "select to_jsonb(l) from public.contact_organizations as l where id = 6")
    wait(migrated_2026, "contact_organizations", link | {"id": 70_000, "role": "buyer", "origin": "manual"})
    result = execute(migrated_2026, mapped(migrated_2026))
    assert result.rows == {"contact_organizations": {"put back": 1}}
    assert (row(migrated_2026, "contact_organizations", 6)["role"]) == "buyer"
    assert value(migrated_2026, "select new_key from crm_migration.exported_rows") == "6"


def test_a_number_that_is_taken_is_replaced_and_children_follow(
    migrated_2026: Connection, mapped: MakeSettings
) -> None:
    activity = row(migrated_2026, "activities", 23)
    own = activity | {"legacy_task_id": None, "subject": "own"}
    wait(
        migrated_2026,
        "interaction_participants",
        {"id": 5, "activity_id": 23, "contact_id": 8, "created_at": "2026-01-01", "updated_at": "2026-01-01"},
    )
    wait(migrated_2026, "activities", own)
    assert execute(migrated_2026, mapped(migrated_2026)).unfit == ()
    new = value(migrated_2026, "select id from public.activities where subject = 'own'")
    assert new != 23
    assert row(migrated_2026, "activities", 23) == activity
    assert row(migrated_2026, "interaction_participants", 5)["activity_id"] == new
    # the sequences go on behind them
    assert (
        value(
            migrated_2026,
            "insert into public.activities (activity_type, contact_id) values ('engagement', 8) returning id",
        )
        > new
    )


def test_what_does_not_fit_is_told_and_kept(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    maker = add_company(migrated_2026, "maker", "principal")
    times = {"created_at": "2026-01-01", "updated_at": "2026-01-01"}
    wait(migrated_2026, "companies", {"id": 9999, "segment": "big"}, {"id": 9999, "segment": None})
    wait(
        migrated_2026,
        "contact_preferred_principals",
        {"id": 1, "contact_id": 9998, "principal_organization_id": maker, **times},
    )
    wait(migrated_2026, "products", {"id": 1, "name": "x", "principal_organization_id": 8, **times})
    wait(
        migrated_2026,
        "opportunities",
        row(migrated_2026, "opportunities", 31) | {"territory": "north"},
        row(migrated_2026, "opportunities", 31),
    )
    result = execute(migrated_2026, settings)
    assert {(item.table, item.key): item.reason.split(".")[0] for item in result.unfit} == {
        ("companies", "9999"): "companies 9999 is not there any more",
        ("contact_preferred_principals", "1"): 'insert or update on table "contact_preferred_principals" violates'
        ' foreign key constraint "contact_preferred_principals_contact_id_fkey"',
        ("products", "1"): "Company 8 is not a principal",
        ("opportunities", "31"): "Columns that are not there any more: territory",
    }
    assert result.total == 1, "in part"
    # mended meanwhile: the next time it fits
    migrated_2026.execute(
        "update public.companies set is_principal = true, organization_type = 'principal' where id = 8"
    )
    assert put_back.waiting(migrated_2026) == {"companies": 1, "contact_preferred_principals": 1, "products": 1}
    assert execute(migrated_2026, settings).rows["products"] == {"put back": 1}
    assert put_back.waiting(migrated_2026) == {"companies": 1, "contact_preferred_principals": 1}


def test_the_installations_triggers_rest_and_the_journal_does_not(
    migrated_2026: Connection, mapped: MakeSettings
) -> None:
    migrated_2026.execute(
        "create function public.call_out() returns trigger language plpgsql as"
        " $$ begin raise exception 'called out'; end $$"
    )
    migrated_2026.execute(
        "create trigger call_out before update on public.companies for each row execute function public.call_out()"
    )
    wait(migrated_2026, "companies", {"id": 8, "segment": "big"}, {"id": 8, "segment": None})
    assert execute(migrated_2026, mapped(migrated_2026)).rows == {"companies": {"put back": 1}}
    journaled = "select key from crm_migration.changes where table_name = 'companies' and before ->> 'id' = '8'"
    assert value(migrated_2026, journaled) == "8"
    with pytest.raises(psycopg.errors.RaiseException, match="called out"):
        migrated_2026.execute("update public.companies set segment = 'small' where id = 8")


@pytest.mark.parametrize("point", ["put_back.companies", "put_back.before-commit", "put_back.committed"])
def test_killed_while_putting_back(migrated_2026: Connection, mapped: MakeSettings, point: str) -> None:
    settings = mapped(migrated_2026)
    maker = add_company(migrated_2026, "maker", "principal")
    times = {"created_at": "2026-01-01", "updated_at": "2026-01-01"}
    wait(migrated_2026, "companies", {"id": 8, "segment": "big"}, {"id": 8, "segment": None})
    wait(migrated_2026, "products", {"id": 1, "name": "x", "principal_organization_id": maker, **times})
    lock.acquire(migrated_2026, settings)
    code = (
        "from crm_migrate import database, put_back; from crm_migrate.settings import Settings; "
        f"settings = Settings(dsn={settings.dsn!r}); put_back.execute(database.connect(settings), settings, 'now')"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), fault_points.KILL_AT: point},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    there = value(migrated_2026, "select count(*) from public.products")
    assert there == (point == "put_back.committed")
    assert bool(put_back.waiting(migrated_2026)) == (point != "put_back.committed")
    assert execute(migrated_2026, settings).total == 2
    assert value(migrated_2026, "select count(*) from public.products") == 1
    assert value(migrated_2026, "select segment from public.companies where id = 8") == "big"
