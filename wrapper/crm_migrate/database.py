"""Connections, SQL files and the few rules every statement of the program follows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from crm_migrate import fault_points, paths, redaction
from crm_migrate.errors import ConnectionFailed
from crm_migrate.settings import Settings, without_password

# the server, too, notices that this machine is gone: its session keeps the claim and the locks until then
_FORGET_THE_DEAD = """
    select
        set_config('tcp_keepalives_idle', '30', false),
        set_config('tcp_keepalives_interval', '10', false),
        set_config('tcp_keepalives_count', '6', false),
        set_config('client_connection_check_interval', '10s', false)
"""

Connection = psycopg.Connection[Any]
Query = LiteralString | sql.SQL | sql.Composed

# connection failures, admin shutdown, crash shutdown, cannot connect now
CONNECTION_LOST = frozenset({"57P01", "57P02", "57P03", "08000", "08003", "08006", "08001", "08004"})
# serialization failure, deadlock detected: worth another try
RETRYABLE = frozenset({"40001", "40P01"})
# the same as programs of others say it, which hand on no SQLSTATE
LOST = re.compile(
    r"server closed the connection|terminating connection|could not connect|connection .*(refused|failed|timed out)"
    r"|SSL (connection|SYSCALL)|connection already closed|the database system is|lost synchronization|network is",
    re.IGNORECASE,
)
_NOT_YET = re.compile("the database system is")
_LOOK_AGAIN_SECONDS = 0.5


def connect(settings: Settings, *, database: str | None = None, application: str = "crm-migrate") -> Connection:
    """Open a connection in autocommit mode, with an empty search path and UTC.

    A server that starts up, recovers or shuts down is waited for, `recovery_timeout` seconds at most.

    Raises:
        ConnectionFailed: no server, wrong password, no such database. Its text never holds the password.
    """
    overrides: dict[str, Any] = {"application_name": application, "connect_timeout": settings.connect_timeout}
    if database is not None:
        overrides["dbname"] = database
    # a network that is gone is noticed within a minute and a half instead of two hours
    overrides |= {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 6}
    if settings.network_timeout:
        overrides["tcp_user_timeout"] = int(settings.network_timeout * 1000)
    connection = _connected(settings, overrides)
    # a service or password file may have given it
    redaction.remember(connection.info.password)
    connection.execute("select set_config('search_path', '', false), set_config('timezone', 'UTC', false)")
    connection.execute("set client_min_messages = warning")
    connection.execute(_FORGET_THE_DEAD)
    if settings.statement_timeout:
        set_timeout(connection, "statement_timeout", settings.statement_timeout)
    # and the server notices within the same time that we are gone: until then our locks stay
    connection.execute(
        "select set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false),"
        " set_config('tcp_keepalives_count', '6', false)"
    )
    return connection


def _connected(settings: Settings, overrides: Mapping[str, Any]) -> Connection:
    deadline = time.monotonic() + settings.recovery_timeout
    while True:
        try:
            return psycopg.connect(settings.dsn, autocommit=True, **overrides)
        except psycopg.OperationalError as error:
            if _NOT_YET.search(str(error)) and time.monotonic() < deadline:
                time.sleep(_LOOK_AGAIN_SECONDS)
                continue
            raise ConnectionFailed(
                f"Cannot connect to {without_password(settings.dsn) or 'the database of the PG* variables'}.",
                why=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
                next="Check host, port, user and password (DATABASE_URL or --dsn), then run crm-migrate doctor.",
            ) from None


def is_lost(error: psycopg.Error) -> bool:
    """Whether the error says that the connection is gone, and not that the server refused something."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    # what psycopg says by itself, such as "the connection is closed", has no SQLSTATE
    return error.sqlstate is None or error.sqlstate in CONNECTION_LOST


def set_timeout(connection: Connection, name: str, seconds: float, *, local: bool = False) -> None:
    """Set `lock_timeout` or `statement_timeout`, in seconds."""
    connection.execute("select set_config(%s, %s, %s)", [name, f"{int(seconds * 1000)}ms", local])


@contextmanager
def timeouts(connection: Connection, *, lock: float) -> Iterator[None]:
    """Within the block no statement waits longer than `lock` seconds for a lock."""
    before = connection.execute("select current_setting('lock_timeout')").fetchone()
    set_timeout(connection, "lock_timeout", lock)
    try:
        yield
    finally:
        if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            connection.execute("select set_config('lock_timeout', %s, false)", [before[0] if before else "0"])


def renamed(text: str, rename: Mapping[str, str]) -> str:
    """Replace `public.old` by `public.new` for each new table whose own name is taken.

    Columns are named by their table, `old.column`, and so follow it; so do an alias `old` and whole rows, `(old)`.
    A text that does not name `public.old`, such as one about the build schema, is left as it is.
    """
    for old, new in rename.items():
        if not re.search(rf"\bpublic\.{re.escape(old)}\b", text):
            continue
        name = sql.Identifier(new).as_string(None).replace("\\", "\\\\")
        text = re.sub(rf"\bpublic\.{re.escape(old)}\b", "public." + name, text)
        text = re.sub(rf"""(?<![\w."']){re.escape(old)}(?=\.[a-z_"*])""", name, text)
        text = re.sub(rf"(?<=\(){re.escape(old)}(?=\))", name, text)
        text = re.sub(rf"\bas {re.escape(old)}\b(?! \()", "as " + name, text)
    return text


def run_sql_file(connection: Connection, path: Path, *, rename: Mapping[str, str] | None = None) -> None:
    """Run one file of `sql/` as a single simple query (several statements, no parameters)."""
    text = renamed(path.read_text(encoding="utf-8"), rename or {})
    connection.execute(text)


def run_sql_folder(connection: Connection, folder: str, *, rename: Mapping[str, str] | None = None) -> None:
    """Run the numbered files of a folder of `sql/`, in order of their names; a fault point behind each."""
    for path in sorted((paths.SQL / folder).glob("*.sql")):
        run_sql_file(connection, path, rename=rename)
        fault_points.reached(f"sql.{folder}/{path.stem}")


def rows(connection: Connection, query: Query, params: Any = None) -> list[dict[str, Any]]:
    """All rows of a query that returns few of them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, params).fetchall()


def scalar(connection: Connection, query: Query, params: Any = None) -> Any:
    """The first column of the first row, or None."""
    row = connection.execute(query, params).fetchone()
    return None if row is None else row[0]


@contextmanager
def one_state(connection: Connection) -> Iterator[str]:
    """A transaction that sees one state of the database, and may idle while other connections look at it.

    Yields:
        The exported snapshot by which they see the same.
    """
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true)")
        yield str(scalar(connection, "select pg_catalog.pg_export_snapshot()"))


def count(connection: Connection, table: sql.Composable) -> int:
    """Rows of a table, one by one."""
    return int(scalar(connection, sql.SQL("select count(*) from {}").format(table)))


def exists(connection: Connection, relation: str) -> bool:
    """Whether a relation of this qualified name exists."""
    return bool(scalar(connection, "select to_regclass(%s) is not null", [relation]))


def beside_parameters(*name: str) -> sql.SQL:
    """A name as an identifier of a statement that has parameters, where a percent sign would start a placeholder."""
    quoted = sql.Identifier(*name).as_string(None).replace("%", "%%")
    return sql.SQL(quoted)


def drop_database(connection: Connection, name: str) -> None:
    """Drop a database with the sessions that are in it; in autocommit mode."""
    drop = sql.SQL("drop database if exists {}").format(sql.Identifier(name))
    try:
        connection.execute(drop + sql.SQL(" with (force)"))
    except psycopg.errors.InsufficientPrivilege:
        # only a superuser may force autovacuum out; without force the server asks it to leave, and waits
        connection.execute(drop)
