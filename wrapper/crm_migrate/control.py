"""The control schema: installed by every command that writes, never by one that only looks."""

from __future__ import annotations

from crm_migrate import database, fault_points, paths
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

SCHEMA = "crm_migration"
BUILD_SCHEMA = "crm_build"
# which legacy rows were read, and in which version; it goes with the build
VERSIONS_SCHEMA = "crm_versions"


def install(connection: Connection, settings: Settings) -> None:
    """Create what is missing of the control schema; changes nothing of the CRM. Safe to repeat."""
    with connection.transaction():
        # two commands at once would both create the same function and one would fail
        connection.execute("select pg_advisory_xact_lock(hashtextextended('crm-migrate/control', 0))")
        # functions may name the tables of the batch ledger, which dbt creates when the first model is built
        connection.execute("set local check_function_bodies = off")
        for path in sorted((paths.SQL / "control").glob("*.sql")):
            database.run_sql_file(connection, path)
        fault_points.reached("control.written")
    fault_points.reached("control.installed")


def installed(connection: Connection) -> bool:
    """Whether this database has ever been touched by the program."""
    return database.exists(connection, "crm_migration.runs")


def begin_build(connection: Connection, run_id: str, batch_size: int) -> None:
    """Give the build schema to a run. Whatever an earlier run built there is dropped; a resumed run keeps its own."""
    owner = database.scalar(
        connection, "select run_id from crm_migration.builds where schema_name = %s", [BUILD_SCHEMA]
    )
    if owner == run_id:
        return
    with connection.transaction():
        connection.execute("drop schema if exists crm_build, crm_versions cascade")
        connection.execute("create schema crm_build")
        connection.execute("create schema crm_versions")
        connection.execute(
            "insert into crm_migration.builds values (%s, %s, %s) on conflict (schema_name)"
            " do update set run_id = excluded.run_id, batch_size = excluded.batch_size,"
            " kept_at = null, kept_in = null, kept_transaction = null",
            [BUILD_SCHEMA, run_id, batch_size],
        )
    fault_points.reached("build.begun")


def end_build(connection: Connection) -> None:
    """Drop the build schema: its views would keep people from altering the tables that they read."""
    with connection.transaction():
        connection.execute("drop schema if exists crm_build, crm_versions cascade")
        connection.execute("delete from crm_migration.builds where schema_name = %s", [BUILD_SCHEMA])
    fault_points.reached("build.ended")


def renew_build(connection: Connection) -> None:
    """Empty the build schema of a run; what is known of the legacy rows stays."""
    with connection.transaction():
        connection.execute("drop schema if exists crm_build cascade")
        connection.execute("create schema crm_build")
    fault_points.reached("build.renewed")
