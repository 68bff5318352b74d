"""Builds parts of the dbt project as a run of the wrapper does, or as an analyst does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from crm_migrate import control, transform
from crm_migrate.settings import Settings

Connection = psycopg.Connection[Any]

ANALYST = "crm_build_ana"


def begin(connection: Connection, settings: Settings, run_id: str = "run-1", batch_size: int = 100) -> None:
    """Give the build schema to a run."""
    control.install(connection, settings)
    control.begin_build(connection, run_id, batch_size)


def opportunities(settings: Settings, *flags: str, schema: str = transform.BUILD_SCHEMA) -> None:
    """Build the opportunities and all they are made of."""
    without_tests = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
    transform.run(settings, "build", "--select", "+opportunities", *without_tests, *flags, schema=schema)


def again(settings: Settings, schema: str = transform.BUILD_SCHEMA) -> None:
    """Build the opportunities alone, on what is there."""
    transform.run(settings, "run", "--select", "opportunities", schema=schema)


def batches(connection: Connection, model: str = "opportunities", ledger: str = "crm_migration") -> Sequence[Any]:
    """The ledger's batches of a model: key_lo, key_hi, state, rows_written, rows_rejected."""
    return connection.execute(
        "select key_lo, key_hi, state, rows_written, rows_rejected from "
        + ledger
        + ".batches where model = %s order by batch_no",
        [model],
    ).fetchall()


def value(connection: Connection, query: str, *parameters: Any) -> Any:
    """The one value of a query."""
    row = connection.execute(query, parameters or None).fetchone()
    assert row is not None
    return row[0]
