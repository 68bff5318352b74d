"""What people did before a rollback and the legacy shape could not hold, put back by the next migration.

It is done after the verification and before the unlock, in one transaction: to the oracles and to the next rollback
these rows are what they are, changes of people. Where the migration makes such a row itself, what people said counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import database, fault_points, table_locks
from crm_migrate.database import Connection
from crm_migrate.dependants import statement
from crm_migrate.errors import Stopped
from crm_migrate.settings import Settings

_EXAMPLES = 20
_WAITING = "kind in ('inserted', 'changed', 'deleted') and state in ('waiting', 'does not fit')"


@dataclass(frozen=True)
class _Table:
    """How rows of a table are found again: by their own key (`stable`), or by what they join."""

    name: str
    stable: bool = False
    natural_key: tuple[str, ...] = ()


# parents before children, and the flags of the companies before what asks for them
_TABLES = (
    _Table("companies", stable=True),
    _Table("contacts", stable=True),
    _Table("products"),
    _Table(
        "principal_distributor_relationships", natural_key=("principal_organization_id", "distributor_organization_id")
    ),
    _Table("opportunities", stable=True),
    _Table("contact_organizations", natural_key=("contact_id", "organization_id")),
    _Table("contact_preferred_principals", natural_key=("contact_id", "principal_organization_id")),
    _Table("opportunity_participants", natural_key=("opportunity_id", "organization_id", "role")),
    _Table("opportunity_products"),
    _Table("activities", natural_key=("legacy_task_id",)),
    _Table("interaction_participants"),
)


class PutBackBlocked(Stopped):
    """A table lock was not granted; nothing was put back yet."""

    code = "CRM-705"


@dataclass(frozen=True)
class Unfit:
    """A row that no longer fits, or only in part. It stays in the control schema."""

    table: str
    key: str
    reason: str


@dataclass(frozen=True)
class PutBack:
    """Rows per table and outcome (`put back`, `in part`, `does not fit`), and some of those that do not fit."""

    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unfit: Sequence[Unfit] = ()

    @property
    def total(self) -> int:
        """Rows that are back, whole or in part."""
        return sum(count for counts in self.rows.values() for state, count in counts.items() if state != "does not fit")


def waiting(connection: Connection) -> dict[str, int]:
    """How many rows of each table wait for the next migration."""
    if not database.exists(connection, "crm_migration.exported_rows"):
        return {}
    query = sql.SQL("select table_name, count(*) from crm_migration.exported_rows where {} group by 1 order by 1")
    return dict(connection.execute(query.format(sql.SQL(statement(_WAITING)))).fetchall())


def execute(connection: Connection, settings: Settings, run_id: str) -> None:
    """Put back everything that waits, in one transaction; nothing happens twice.

    Args:
        connection: in autocommit mode, under the maintenance lock, after the cutover.
        run_id: the migration into whose tables it goes.

    Raises:
        PutBackBlocked: a table lock was not granted.
    """
    if not waiting(connection):
        return
    try:
        with connection.transaction():
            database.set_timeout(connection, "lock_timeout", settings.lock_timeout, local=True)
            _put_back(connection, settings, run_id)
            fault_points.reached("put_back.before-commit")
    except psycopg.errors.LockNotAvailable:
        raise PutBackBlocked(
            "A table into which rows are put back is locked by somebody else.",
            why=table_locks.describe_blockers(connection),
            state="The new tables are published; the CRM is locked until the run has gone on.",
            next="End that session, then run crm-migrate apply again.",
        ) from None
    fault_points.reached("put_back.committed")


def result(connection: Connection, run_id: str) -> PutBack:
    """What became of the rows that a run put back, or could not."""
    rows: dict[str, dict[str, int]] = {}
    for table, state, count in connection.execute(
        "select table_name, state, count(*) from crm_migration.exported_rows where put_back_by = %s"
        " group by 1, 2 order by 1, 2",
        [run_id],
    ):
        rows.setdefault(table, {})[state] = count
    unfit = connection.execute(
        "select table_name, key, reason from crm_migration.exported_rows"
        " where put_back_by = %s and state <> 'put back' order by id limit %s",
        [run_id, _EXAMPLES],
    ).fetchall()
    return PutBack(rows, tuple(Unfit(*row) for row in unfit))


def _put_back(connection: Connection, settings: Settings, run_id: str) -> None:
    # the order on the board is not a change of the deal: its time stays
    connection.execute("select set_config('crm_compat.through_view', 'on', true)")
    states = _only_our_triggers(connection)
    for table in _TABLES:
        name = sql.Identifier("public", settings.rename.get(table.name, table.name)).as_string(None)
        if not database.exists(connection, name):
            continue
        left_out: list[str] = []
        if table.name == "opportunities":
            left_out = database.scalar(connection, "select crm_migration.columns_held_by_deals(%s::regclass)", [name])
        connection.execute(
            "select crm_migration.put_back_rows(%s, %s, %s::regclass, %s::text[], %s, %s::text[])",
            [run_id, table.name, name, list(table.natural_key), table.stable, left_out],
        )
        fault_points.reached(f"put_back.{table.name}")
    connection.execute("set constraints all immediate")
    for name, state in states.items():
        connection.execute("select crm_migration.resume_triggers(%s::regclass, %s)", [name, Jsonb(state)])


def _only_our_triggers(connection: Connection) -> dict[str, Any]:
    """The fence and the installation's triggers rest; the journal, and what keeps old and new in step, do not."""
    states: dict[str, Any] = {}
    ours = connection.execute(
        "select tgrelid::regclass::text, tgname::text, tgenabled <> 'D' and (nspname = 'crm_compat'"
        " or starts_with(tgname, 'crm_migrate_journal_')) from pg_catalog.pg_trigger"
        " inner join pg_catalog.pg_class on pg_class.oid = tgrelid"
        " inner join pg_catalog.pg_proc on pg_proc.oid = tgfoid"
        " inner join pg_catalog.pg_namespace on pg_namespace.oid = pronamespace"
        " where not tgisinternal and relkind = 'r' and relnamespace = 'public'::regnamespace order by 1, 2"
    ).fetchall()
    for table, name, fires in ours:
        if table not in states:
            states[table] = database.scalar(connection, "select crm_migration.pause_triggers(%s::regclass)", [table])
        if fires:
            connection.execute(
                sql.SQL("alter table {} enable trigger {}").format(sql.SQL(statement(table)), sql.Identifier(name))
            )
    return states
