"""Where the records of a CRM are: live or archived, tried or published, under the names of this installation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString

from psycopg import sql

from crm_migrate import database, ledger, paths, preflight
from crm_migrate.database import Connection
from crm_migrate.errors import UsageError, WrongState
from crm_migrate.ledger import Run
from crm_migrate.settings import Settings

SHOWN = 20
_QUERIES = paths.SQL / "explain"
_LINKS = paths.SQL / "links"

Values = Mapping[str, Any]


class UnknownRecord(UsageError):
    """There is no such record, neither in the legacy tables nor in the new ones."""

    code = "CRM-014"


def unknown(entity: str, number: int) -> UnknownRecord:
    """The error for a record that is nowhere."""
    one = {"companies": "company", "activities": "activity"}.get(entity, entity.removesuffix("s").replace("_", " "))
    return UnknownRecord(
        f"There is no {one} {number}.",
        why="Neither the legacy tables nor the new ones have a row with this id.",
        next="Check the entity and the id.",
    )


class Place:
    """Where the records are in this database, now."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.connection = connection
        self.settings = settings
        parameters = {"opportunities": self.new("opportunities").as_string(connection)}
        found = self.query("where", parameters)[0]
        if not found["migrated"] and not database.exists(connection, "public.deals"):
            raise WrongState(
                f"The database {connection.info.dbname} holds no CRM.", next="Check --dsn: is this the CRM's database?"
            )
        self.is_migrated: bool = found["migrated"]
        self.archived: bool = found["archived"]
        self.names_2025: bool = found["is_2025"]
        self.run: Run | None = None
        self.state = "migrated" if self.is_migrated else "legacy"
        if found["known"]:
            self._ask_ledger(built=found["built"])

    def _ask_ledger(self, *, built: bool) -> None:
        newest = ledger.latest(self.connection)
        if self.is_migrated:
            # a dry run cannot follow a cutover, a rollback that was given up can
            applies = ledger.latest(self.connection, "apply", states=("completed", "stopped", "failed", "running"))
            self.run = applies if applies and applies.cutover_at else None
            return
        if newest is not None and newest.kind == "rollback" and newest.state == "completed":
            self.state = "rolled back"
            self.run = ledger.latest(self.connection, "apply")
            return
        owner = database.scalar(
            self.connection, "select run_id from crm_migration.builds where schema_name = 'crm_build'"
        )
        if built and owner:
            self.state, self.run = "tried", ledger.get(self.connection, owner)
        else:
            self.run = ledger.latest(self.connection, "dry-run")

    def links(self, name: str, number: int, **parts: sql.Composable) -> list[dict[str, Any]]:
        """The rows of a query of `sql/links` for the record of this number."""
        text: LiteralString = (_LINKS / f"{name}.sql").read_text(encoding="utf-8")
        query = sql.SQL(text).format(id=sql.Literal(number), limit=sql.Literal(SHOWN), **parts)
        return database.rows(self.connection, query)

    def query(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a query of `sql/explain`."""
        text: LiteralString = (_QUERIES / f"{name}.sql").read_text(encoding="utf-8")
        return database.rows(self.connection, text, parameters)

    def new(self, table: str) -> sql.Identifier:
        """A published table, under the name that the settings give it."""
        return sql.Identifier("public", self.settings.rename.get(table, table))

    def legacy_name(self, entity: str) -> str:
        """The legacy table's name in this generation."""
        older = {"deal_notes": "dealNotes", "contact_notes": "contactNotes"}
        return older.get(entity, entity) if self.names_2025 else entity

    def legacy_table(self, entity: str) -> sql.Identifier | None:
        """Where the legacy rows are: live before, archived after; None when the archive was purged."""
        name = self.legacy_name(entity)
        found = sql.Identifier("crm_archive" if self.is_migrated else "public", name)
        return found if database.exists(self.connection, found.as_string(None)) else None

    def built(self, table: str) -> sql.Identifier | None:
        """Where the new rows are: live after, in the build schema before; None where there are none."""
        if self.is_migrated:
            return self.new(table)
        return sql.Identifier("crm_build", table) if self.state == "tried" else None

    def kind_of_note(self, number: int) -> str:
        """Which of the two tables of notes has this id.

        Raises:
            UnknownRecord: neither. UsageError: both.
        """
        kinds = [kind for kind in ("deal_notes", "contact_notes") if self.has(kind, number)]
        if len(kinds) > 1:
            raise UsageError(
                f"Both a deal note and a contact note have the id {number}.",
                next=f"crm-migrate explain deal_notes {number}, or crm-migrate explain contact_notes {number}",
            )
        if not kinds:
            raise unknown("note", number)
        return kinds[0]

    def has(self, entity: str, number: int) -> bool:
        """Whether the legacy table or its successor has the row."""
        tables = [self.legacy_table(entity)]
        if self.is_migrated:
            tables.append(self.new(preflight.NOTES if entity == "deal_notes" else self.legacy_name(entity)))
        return any(self.row(table, number) is not None for table in tables if table is not None)

    def task_of_activity(self, number: int) -> int | None:
        """The task that an activity is in step with; None when people added it without one.

        Raises:
            UnknownRecord: there is no such activity.
        """
        table = self.built("activities")
        if table is None:
            # before the migration an activity is known by the number of its task
            return number
        found = self.row(table, number)
        if found is None:
            raise unknown("activities", number)
        task: int | None = found["legacy_task_id"]
        return task

    def row(self, table: sql.Identifier, number: int, column: str = "id") -> Values | None:
        """One row as JSON has it."""
        found = self.rows(table, number, column)
        return found[0] if found else None

    def rows(self, table: sql.Identifier, number: int, column: str) -> list[Values]:
        """The first rows with this value, as JSON has them, columns in the table's order."""
        query = sql.SQL("select to_json(told) from {} as told where told.{} = %s limit {}").format(
            table, sql.Identifier(column), sql.Literal(SHOWN)
        )
        found: list[Values] = [row[0] for row in self.connection.execute(query, [number])]
        return sorted(found, key=lambda row: row.get("id", 0))
