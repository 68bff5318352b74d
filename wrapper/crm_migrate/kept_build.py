"""A dry run's build that waits for its apply, which then makes anew only what changed meanwhile."""

from __future__ import annotations

from psycopg import sql

from crm_migrate import database, fault_points
from crm_migrate.control import BUILD_SCHEMA
from crm_migrate.database import Connection

# the label of the row versions that belong to it
LABEL = "build"
# of 2³²: a number of a transaction that is given out again would make another row look like the same
_MOST_TRANSACTIONS = 2**31


def keep(connection: Connection, run_id: str) -> None:
    """Leave the build for the apply: its tables only.

    Views would keep people from altering the tables that they read; the foreign keys come back, checked, when the
    build is prepared again.
    """
    with connection.transaction():
        for (name,) in connection.execute(
            "select relname from pg_catalog.pg_class where relnamespace = %s::regnamespace and relkind = 'v'",
            [BUILD_SCHEMA],
        ).fetchall():
            connection.execute(sql.SQL("drop view if exists {} cascade").format(sql.Identifier(BUILD_SCHEMA, name)))
        for table, name in connection.execute(
            "select relname, conname from pg_catalog.pg_constraint"
            " inner join pg_catalog.pg_class on pg_class.oid = conrelid"
            " where contype = 'f' and relnamespace = %s::regnamespace",
            [BUILD_SCHEMA],
        ).fetchall():
            connection.execute(
                sql.SQL("alter table {} drop constraint {}").format(
                    sql.Identifier(BUILD_SCHEMA, table), sql.Identifier(name)
                )
            )
        connection.execute(
            "update crm_migration.builds"
            " set kept_at = clock_timestamp(), kept_in = current_database(),"
            " kept_transaction = pg_catalog.pg_current_xact_id()::text::numeric"
            " where schema_name = %s and run_id = %s",
            [BUILD_SCHEMA, run_id],
        )
    fault_points.reached("build.kept")


def why_not(connection: Connection, run_id: str) -> str | None:
    """Why the build of this dry run cannot be gone on with; None when it can."""
    kept = connection.execute(
        "select pg_catalog.pg_current_xact_id()::text::numeric - kept_transaction, kept_in = current_database()"
        " from crm_migration.builds where schema_name = %s and run_id = %s and kept_at is not null",
        [BUILD_SCHEMA, run_id],
    ).fetchone()
    if kept is None:
        return "no build of the dry run was kept"
    if not 0 <= kept[0] <= _MOST_TRANSACTIONS:
        return "there were too many transactions since the dry run, or the server is another one"
    if not kept[1]:
        # what was compiled names the database
        return "the database had another name at the dry run"
    changed = [
        row[0]
        for row in connection.execute(
            """
            select model
            from crm_migration.model_loads
            where run_id = %s and (
                finished_at is null
                or target_oid is distinct from to_regclass(format('%%I.%%I', %s::text, model))::oid
                or target_filenode is distinct from
                    pg_catalog.pg_relation_filenode(to_regclass(format('%%I.%%I', %s::text, model)))
            )
            order by model
            """,
            [run_id, BUILD_SCHEMA, BUILD_SCHEMA],
        )
    ]
    # rows are missing where people deleted deals while the dry run read them, and the ledger still counts those
    changed = changed or [
        model
        for model, counted in connection.execute(
            "select model, sum(rows_written)::bigint from crm_migration.batches where run_id = %s"
            " group by model order by model",
            [run_id],
        ).fetchall()
        if counted != database.count(connection, sql.Identifier(BUILD_SCHEMA, model))
    ]
    return f"{', '.join(changed)} of the kept build is not what the dry run left" if changed else None


def adopt(connection: Connection, dry_run_id: str, run_id: str) -> None:
    """Make the build of a dry run that of an apply, with its ledger. Safe to repeat."""
    with connection.transaction():
        owner = database.scalar(
            connection, "select run_id from crm_migration.builds where schema_name = %s for update", [BUILD_SCHEMA]
        )
        if owner == run_id:
            return
        for table in ("model_loads", "batches", "rejected_records"):
            columns = sql.SQL(", ").join(
                sql.Identifier(row[0])
                for row in connection.execute(
                    "select attname from pg_catalog.pg_attribute where attrelid = %s::regclass and attnum > 0"
                    " and not attisdropped and attname <> 'run_id' order by attnum",
                    [f"crm_migration.{table}"],
                )
            )
            connection.execute(
                sql.SQL(
                    "insert into crm_migration.{0} (run_id, {1})"
                    " select {2}, {1} from crm_migration.{0} where run_id = {3}"
                ).format(sql.Identifier(table), columns, run_id, dry_run_id)
            )
        connection.execute("update crm_migration.builds set run_id = %s where schema_name = %s", [run_id, BUILD_SCHEMA])
    fault_points.reached("build.adopted")
