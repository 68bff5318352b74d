"""The doctor: can this database be migrated from this machine, by this role? Looks only, writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from crm_migrate import access, database, lock, machine, privileges
from crm_migrate.checks import Check
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, MigrationError
from crm_migrate.settings import Settings

FIRST_SUPPORTED = 150000
LONG_TRANSACTION_SECONDS = 60


@dataclass(frozen=True)
class Examination:
    """What the doctor found."""

    checks: tuple[Check, ...]
    generation: str | None
    server_version: str
    layers: tuple[str, ...]
    run_id: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way."""
        return all(check.ok or check.severity != "blocker" for check in self.checks)

    @property
    def exit_code(self) -> Exit:
        """0, or 3 when something stands in the way."""
        return Exit.OK if self.ok else Exit.NO_GO

    def as_json(self) -> dict[str, Any]:
        """The keys of the doctor's JSON document."""
        return {
            "checks": [check.as_json() for check in self.checks],
            "generation": self.generation,
            "server_version": self.server_version,
            "layers": list(self.layers),
        }


def examine(connection: Connection, settings: Settings) -> Examination:
    """Look at server, role, data and machine; every check is made, also after one that failed."""
    version = connection.info.server_version
    checks: list[Check] = []
    generation: str | None = None
    layers: tuple[str, ...] = ()
    with _read_only(connection):
        checks += _server(connection)
        checks.append(session(connection))
        checks += _guarded("generation", lambda: [_generation(connection)])
        if checks[-1].ok and checks[-1].id == "generation":
            generation = _generation_name(connection)
        if generation is not None:
            checks += _guarded("visibility", lambda: [privileges.visibility(connection)])
            checks += _guarded("privileges", lambda: privileges.examine(connection))
            layers = lock.layers(connection, settings, access.login_roles(connection))
            checks.append(privileges.lock_check(layers))
            checks += _guarded("dependants", lambda: _dependants(connection, settings))
        checks += _guarded("activity", lambda: _activity(connection))
        checks += _guarded("replication", lambda: [_replication(connection)])
        checks += _guarded("disk", lambda: machine.disk(connection, settings))
        checks += _guarded("tools", lambda: machine.client_tools(connection))
    shown = str(database.scalar(connection, "select current_setting('server_version')"))
    return Examination(tuple(checks), generation, shown or str(version), layers)


@contextmanager
def _read_only(connection: Connection) -> Iterator[None]:
    # the promise to write nothing is kept by the server
    before = database.scalar(connection, "select current_setting('default_transaction_read_only')")
    connection.execute("select set_config('default_transaction_read_only', 'on', false)")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("select set_config('default_transaction_read_only', %s, false)", [before])


def _guarded(check_id: str, look: Callable[[], list[Check]]) -> list[Check]:
    """A look that fails is a finding and not the end of the examination; a lost connection is the end."""
    try:
        return look()
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate in database.CONNECTION_LOST:
            raise
        said = str(error).splitlines()[0]
        return [
            Check.failed(check_id, f"This could not be looked at: {said}.", "Grant the role what it needs to look.")
        ]


def _server(connection: Connection) -> list[Check]:
    version = connection.info.server_version
    values = database.rows(
        connection,
        """
        select
            pg_is_in_recovery() as standby,
            current_setting('server_encoding') as encoding,
            current_setting('max_locks_per_transaction')::int as locks,
            current_setting('max_connections')::int as connections,
            (
                select count(*) from pg_catalog.pg_class
                where relnamespace in (select oid from pg_catalog.pg_namespace where nspname = 'public')
            ) as relations,
            (select datallowconn and datconnlimit <> 0 from pg_catalog.pg_database where datname = current_database())
                as allows
        """,
    )[0]
    # the cutover locks the relations of the schema, old and new, in one transaction
    slots = values["locks"] * values["connections"]
    needed = 4 * values["relations"] + 200
    citext = database.scalar(
        connection, "select count(*) from pg_catalog.pg_available_extensions where name = 'citext'"
    )
    return [
        Check.of(
            "server_version",
            version >= FIRST_SUPPORTED,
            f"The server is PostgreSQL {version // 10000}.",
            f"The server is PostgreSQL {version // 10000}; 15 is the oldest that is supported.",
            "Upgrade the server to PostgreSQL 15 or newer.",
        ),
        Check.of(
            "primary",
            not values["standby"],
            "The server is a primary.",
            "The server is a standby: it cannot be written to.",
            "Give the primary's address in --dsn.",
        ),
        Check.of(
            "encoding",
            values["encoding"] == "UTF8",
            "The database is in UTF8.",
            f"The database is in {values['encoding']}; the CRM's texts need UTF8.",
            "Dump the database and restore it into one that is made with encoding UTF8.",
        ),
        Check.of(
            "locks",
            slots >= needed,
            f"The lock table has room for {slots} locks.",
            f"The lock table has room for {slots} locks; the cutover may need {needed}.",
            f"Set max_locks_per_transaction to {needed // max(values['connections'], 1) + 64} and restart the server.",
            severity="warning",
        ),
        Check.of(
            "extensions",
            bool(citext),
            "The extension citext is available.",
            "The extension citext is not available: a backup that uses it cannot be restored here for its test.",
            "Install PostgreSQL's contrib package on the server.",
            severity="warning",
        ),
    ]


def session(connection: Connection) -> Check:
    """Whether the session is really ours: a transaction pooler gives every transaction another backend."""
    return _guarded("pooler", lambda: [_pooler(connection)])[0]


def _pooler(connection: Connection) -> Check:
    message, hint = "", "Give the server's own address and port in --dsn (often 5432 instead of 6432 or 6543)."
    try:
        key = "hashtextextended('crm-migrate/doctor', 0)"
        if not database.scalar(connection, f"select pg_try_advisory_lock({key})"):
            return Check("pooler", True, "info", "Another crm-migrate doctor is at work; the session was not probed.")
        connection.execute("select set_config('crm_migrate.probe', 'set', false)")
        backends = {database.scalar(connection, "select pg_backend_pid()") for _ in range(5)}
        kept = database.scalar(connection, "select current_setting('crm_migrate.probe', true)") == "set"
        held = database.scalar(
            connection,
            "select exists (select from pg_catalog.pg_locks"
            " where locktype = 'advisory' and pid = pg_backend_pid() and granted)",
        )
        released = database.scalar(connection, f"select pg_advisory_unlock({key})")
        told = connection.info.backend_pid
        if len(backends) > 1 or not kept or not held or not released:
            message = "A transaction pooler is in between: locks and settings of the session do not last."
        elif told not in backends:
            # a session pooler is fine as such, but cancelling would hit somebody else
            return Check("pooler", True, "info", "A session pooler is in between.", hint)
    except (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement):
        message = "A transaction pooler is in between: prepared statements do not last."
    return Check.of("pooler", not message, "The connection is a session of its own.", message, hint)


def _generation(connection: Connection) -> Check:
    try:
        name = _generation_name(connection)
    except MigrationError as error:
        why = f" {error.why}" if error.why else ""
        return Check.failed("generation", f"{error.what}{why}", error.next)
    return Check("generation", True, "blocker", f"This is a legacy CRM of generation {name}.")


def _generation_name(connection: Connection) -> str:
    from crm_migrate import legacy

    return str(legacy.detect(connection).generation.value)


def _dependants(connection: Connection, settings: Settings) -> list[Check]:
    from crm_migrate import control, legacy, preflight

    if not control.installed(connection):
        # its functions are part of the control schema, which only a command that writes puts there
        return [Check("dependants", True, "info", "What depends on the legacy tables is examined by the dry run.")]
    found = preflight.run(connection, settings, legacy.detect(connection))
    if not found:
        return [Check("dependants", True, "blocker", "Whatever depends on the legacy tables can be carried over.")]
    # the dry run says NO-GO because of them, with one finding each; looking at them needs no dry run
    return [Check(item.code, False, "warning", item.message, item.hint) for item in found]


def _activity(connection: Connection) -> list[Check]:
    long = _texts(
        connection,
        """
        select concat(
            'session ', pid, ' (', usename, ', ', round(extract(epoch from clock_timestamp() - xact_start)), ' s)'
        )
        from pg_catalog.pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
            and xact_start < clock_timestamp() - make_interval(secs => %s)
        order by xact_start
        """,
        [LONG_TRANSACTION_SECONDS],
    )
    prepared = _texts(
        connection,
        "select gid from pg_catalog.pg_prepared_xacts where database = current_database() order by prepared",
    )
    return [
        Check.of(
            "long_transactions",
            not long,
            "No transaction has been open for long.",
            f"Transactions that have been open for more than {LONG_TRANSACTION_SECONDS} s: {', '.join(long[:5])}.",
            "End them before the migration: the cutover would wait for them.",
            severity="warning",
        ),
        Check.of(
            "prepared_transactions",
            not prepared,
            "No prepared transaction holds locks.",
            f"Prepared transactions hold their locks until somebody ends them: {', '.join(prepared[:5])}.",
            "COMMIT PREPARED or ROLLBACK PREPARED them.",
        ),
    ]


def _replication(connection: Connection) -> Check:
    found = _texts(
        connection,
        """
        select 'slot ' || slot_name from pg_catalog.pg_replication_slots where database = current_database()
        union all
        select 'subscription ' || subname from pg_catalog.pg_subscription
        where subdbid = (select oid from pg_catalog.pg_database where datname = current_database())
        union all
        select 'publication ' || pubname from pg_catalog.pg_publication
        order by 1
        """,
    )
    return Check.of(
        "replication",
        not found,
        "The database is not replicated logically.",
        f"The database is replicated logically: {', '.join(found)}. Whoever reads it must know the new tables.",
        "Tell those who run the subscribers; publications are carried over.",
        severity="info",
    )


def _texts(connection: Connection, query: LiteralString, params: Any = None) -> list[str]:
    return [str(row[0]) for row in connection.execute(query, params)]
