"""A compatibility view in the database: with its triggers, and with the count of who uses it."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

from crm_migrate import compat_triggers
from crm_migrate.compat_views import View, catalog_text
from crm_migrate.database import Connection

# values that are kept as text are written in the one form that every session reads alike
_TEXT_FORM = " set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set extra_float_digits = 1"

OPERATIONS: dict[str, Callable[[View], sql.Composable]] = {
    "insert": compat_triggers.insert,
    "update": compat_triggers.update,
    "delete": compat_triggers.delete,
}


def create(connection: Connection, view: View) -> None:
    """Create a view with its defaults, and with the triggers that write into the successor."""
    connection.execute(bare(view))
    for column in view.columns:
        if column.default is not None and column.written:
            connection.execute(
                sql.SQL("alter view {} alter column {} set default {}").format(
                    view.identifier, column.identifier, catalog_text(column.default)
                )
            )
    for operation, body in OPERATIONS.items():
        connection.execute(
            sql.SQL(
                "create function {function}() returns trigger language plpgsql{whose}"
                " set search_path = ''{form} as {body}"
            ).format(
                whose=sql.SQL(" security definer" if view.owner else ""),
                function=view.function(operation),
                form=sql.SQL(_TEXT_FORM if any(column.target is None for column in view.columns) else ""),
                body=_quoted(body(view), connection),
            )
        )
        connection.execute(
            sql.SQL("comment on function {}() is {}").format(
                view.function(operation),
                sql.Literal(
                    f"Trigger: an {operation} of the old application."
                    if operation != "delete"
                    else "Trigger: a delete of the old application."
                ),
            )
        )
        connection.execute(
            sql.SQL("create trigger {} instead of {} on {} for each row execute function {}()").format(
                sql.Identifier(f"crm_{operation}"), catalog_text(operation), view.identifier, view.function(operation)
            )
        )
    connection.execute(
        sql.SQL(
            "create trigger crm_count after insert or update or delete on {} for each statement"
            " execute function crm_compat.count_use({})"
        ).format(view.identifier, sql.Literal(view.successor))
    )


def bare(view: View) -> sql.Composed:
    """The statement that creates a view, which then can only be read."""
    whose = sql.SQL("" if view.owner else " with (security_invoker = true)")
    return sql.SQL("create view {}{} as\n{}").format(view.identifier, whose, view.selection)


def _quoted(body: sql.Composable, connection: Connection) -> sql.Composable:
    """The body as a string literal: no dollar quote that a name of the installation could end."""
    return sql.Literal(body.as_string(connection))
