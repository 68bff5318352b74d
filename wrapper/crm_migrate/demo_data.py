"""A legacy CRM to try things on: its schema in either generation, and rows with a known share of mess."""

from __future__ import annotations

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.legacy import Generation


def create_schema(connection: Connection, generation: Generation | str) -> None:
    """Create an empty legacy schema, with the platform's roles and login schema where they are missing."""
    with connection.transaction():
        database.run_sql_folder(connection, "legacy/platform")
        database.run_sql_folder(connection, f"legacy/{Generation(generation)}")
