"""Another transaction crosses a batch: it is tried again by itself, a bounded number of times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate import database as db
from crm_migrate.settings import Settings
from faults.disturbed import at, ends_as_uninterrupted, go, once_somebody_waits_for
from faults.sweep import Sweep

Connection = psycopg.Connection[Any]

# whichever test comes first makes the databases for all
pytestmark = pytest.mark.timeout(900)

PLANNED = "load opportunities planned"
# in a transaction of ours, what the first batch is going to write
WRITE_A_ROW = """
    do $$
    declare
        load crm_migration.model_loads;
        batch crm_migration.batches;
    begin
        set local search_path = crm_build, public, extensions;
        select * into strict load from crm_migration.model_loads where model = 'opportunities'
        order by started_at desc limit 1;
        select * into strict batch from crm_migration.batches where (run_id, model) = (load.run_id, load.model)
        order by batch_no limit 1;
        execute split_part(load.insert_sql, E'\\n-- rows that are there already\\n', 1)
            using batch.key_lo, batch.key_lo;
    end
    $$
"""


@contextmanager
def somebody(settings: Settings) -> Iterator[Connection]:
    """A session of somebody else, in transactions of its own."""
    with psycopg.connect(settings.dsn, autocommit=True) as other:
        yield other


def always(connection: Connection, setting: str, value: str) -> None:
    """A setting of the database, for every session that comes."""
    connection.execute(
        sql.SQL("alter database {} set {} = {}").format(
            sql.Identifier(connection.info.dbname), sql.Identifier(setting), sql.Literal(value)
        )
    )


@pytest.mark.fault(number=7, name="deadlock in a batch")
def test_deadlock_in_a_batch_is_tried_again(swept: Sweep, tmp_path: Path) -> None:
    with swept.begun("apply", tmp_path, before=PLANNED) as (connection, settings), somebody(settings) as other:
        # the batch waits for our row, and we then for the batch: the server looks for the cycle when we are there
        always(connection, "deadlock_timeout", "3s")
        other.execute("set deadlock_timeout = '1min'")
        gave_up: list[str] = []

        def write_a_row_of_the_first_batch() -> None:
            other.execute("begin")
            other.execute(WRITE_A_ROW)

        def wait_for_the_batch() -> None:
            other.execute("set local statement_timeout = '5s'")
            try:
                other.execute("select from crm_migration.batches where model = 'opportunities' for update")
            except psycopg.errors.QueryCanceled:
                gave_up.append("we gave up, so it was the batch that the server ended")
                other.execute("rollback")

        with at(PLANNED, write_a_row_of_the_first_batch), once_somebody_waits_for(other, wait_for_the_batch):
            told = go("apply", settings)
        assert gave_up, "the fault did not happen"
        attempts = db.scalar(
            connection, "select max(attempts) from crm_migration.batches where model = 'opportunities'"
        )
        assert attempts > 1, "the fault did not happen"
        assert not any("going on" in line for line in told), "the batch was to be tried again, and not the run"
        ends_as_uninterrupted(swept, "apply", settings)


@pytest.mark.fault(number=7, name="serialization failure in a batch")
def test_serialization_failure_in_a_batch_is_tried_again_by_the_run(swept: Sweep, tmp_path: Path) -> None:
    with swept.begun("apply", tmp_path, before=PLANNED) as (connection, settings), somebody(settings) as other:
        always(connection, "default_transaction_isolation", "repeatable read")

        def change_the_batch() -> None:
            other.execute("begin")
            other.execute("update crm_migration.batches set state = state where model = 'opportunities'")

        with at(PLANNED, change_the_batch), once_somebody_waits_for(other, lambda: other.execute("commit")):
            told = go("apply", settings)
        assert any("could not serialize" in line for line in told), "the fault did not happen"
        assert any("going on (1 of" in line for line in told)
        ends_as_uninterrupted(swept, "apply", settings)
