"""No statement more and no plan that turned: what a migration asks of its server, counted, against what was agreed.

Counts and shapes, no seconds, so that a busy machine says the same as an idle one. `make bench-golden` writes the
agreed files anew; their difference then shows in the review what a change costs.
"""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from psycopg import sql

import plan_shapes
import statement_log
from bench import edits, program
from crm_migrate import database as db
from crm_migrate import demo_data, kept_build, ledger
from crm_migrate.observer import Silent
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run

Connection = psycopg.Connection[Any]

GOLDEN = Path(__file__).parent / "golden"
CONTACTS = 10_000
DATABASE, COLD = "counted", "counted_cold"
# begin, wait for whoever was killed, load and mark as done, commit
STATEMENTS_OF_A_BATCH = 4


@pytest.fixture
def talkative() -> Iterator[EmbeddedServer]:
    """A server of its own that writes down every statement, and that only this test alters."""
    with EmbeddedServer(settings=statement_log.LOGGING) as server:
        yield server


@pytest.mark.slow
def test_a_migration_costs_what_was_agreed(talkative: EmbeddedServer, tmp_path: Path) -> None:
    settings = Settings(
        dsn=talkative.dsn(DATABASE),
        work_dir=tmp_path / "work",
        backup_dir=tmp_path / "backups",
        log_file=tmp_path / "log",
        seeds_dir=tmp_path / "seeds",
        batch_size=1000,
        rehearsal_max_seconds=60.0,
    )
    _legacy_crm(talkative, settings)
    log = talkative.log_file

    start = _length(log)
    with db.connect(settings) as connection, mock.patch.dict(os.environ, DBT_WRITE_JSON="true"):
        report = dry_run.run(connection, settings, Silent(), accepted={}, keep_build=True)
    assert report.verdict == "GO", report.reasons
    trips = {"dry-run": statement_log.counted(log, database=DATABASE, since=start)}
    with db.connect(settings) as connection:
        batches = _batches(connection, "dry-run")
        assert batches > 20
        assert _of_a_batch(log, start) == Counter({STATEMENTS_OF_A_BATCH: batches - _loads(connection)})
        plans = _plans(connection, settings)
        _a_dropped_index_is_seen(connection, settings, plans)
        _a_statement_more_is_seen(settings, log, start, trips["dry-run"], batches)
        # the views were needed for the plans
        kept_build.keep(connection, report.run_id)

    trips |= _both_applies(talkative, settings)

    now = {"plans.txt": plans, "round_trips.txt": _written(trips)}
    for name, text in now.items():
        _renew(name, text)
    wrong = "\n".join(filter(None, (_differences(name, text) for name, text in now.items())))
    assert not wrong, (
        f"{wrong}\nA plan has another shape, or a step asks its server another number of times. Where that is wanted,"
        " `make bench-golden` writes down what is agreed from now on."
    )


def _legacy_crm(server: EmbeddedServer, settings: Settings) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template template0").format(sql.Identifier(DATABASE)))
    with db.connect(settings) as connection:
        demo_data.create_schema(connection, "2026")
        demo_data.load(connection, "2026", contacts=CONTACTS)
        demo_data.demo_seeds(connection, settings.seeds_dir)
        # of tables of this size every row is looked at: the statistics are the same each time
        connection.execute("vacuum analyze")


def _both_applies(server: EmbeddedServer, settings: Settings) -> dict[str, Counter[str]]:
    """Counts of an apply that goes on with the dry run's build, after edits, and of one that begins anew on a copy."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        copy = sql.SQL("create database {} template {}")
        admin.execute(copy.format(sql.Identifier(COLD), sql.Identifier(DATABASE)))
    trips = {}
    for name, cold in ((DATABASE, False), (COLD, True)):
        own = replace(settings, dsn=server.dsn(name))
        with db.connect(own) as connection:
            edits.make(connection)
            start = _length(server.log_file)
            apply.run(connection, own, Silent(), cold=cold)
        kind = "apply, cold" if cold else "apply, warm"
        trips[kind] = statement_log.counted(server.log_file, database=name, since=start)
    assert "step changes" not in trips["apply, cold"]
    assert trips["apply, warm"]["step changes"], "a warm one looks for what changed"
    return trips


def _length(log: Path) -> int:
    return len(log.read_text(encoding="utf-8", errors="replace"))


def _batches(connection: Connection, kind: str) -> int:
    run = ledger.latest(connection, kind)
    assert run is not None
    return int(db.scalar(connection, "select count(*) from crm_migration.batches where run_id = %s", [run.run_id]))


def _loads(connection: Connection) -> int:
    return int(db.scalar(connection, "select count(distinct model) from crm_migration.batches"))


def _of_a_batch(log: Path, since: int) -> Counter[int]:
    """How many statements lie between two batches of one load, both ends counted as one; how often it is so many."""
    found: Counter[int] = Counter()
    before: dict[int, tuple[str, int]] = {}
    asked: Counter[int] = Counter()
    for statement in statement_log.read(log, database=DATABASE, since=since):
        asked[statement.backend] += 1
        batch = re.search(r"\.run_batch\('[^']*', '(\w+)'", statement.text)
        if batch is None:
            continue
        model, last = before.get(statement.backend, ("", 0))
        if model == batch[1]:
            found[asked[statement.backend] - last] += 1
        before[statement.backend] = (batch[1], asked[statement.backend])
    return found


def _plans(connection: Connection, settings: Settings) -> str:
    """Of every model that is a table: how it is filled; of one in batches, one in the middle."""
    plan_shapes.prepare(connection)
    shapes = []
    for model in sorted(program.models(settings), key=lambda model: str(model["name"])):
        name, kind = model["name"], model["config"]["materialized"]
        if kind == "view":
            continue
        statement, keys = model["compiled_code"], None
        if kind == "batched":
            statement = db.scalar(
                connection,
                "select insert_sql from crm_migration.model_loads where model = %s order by started_at desc limit 1",
                [name],
            )
            keys = connection.execute(
                "select key_lo, key_hi from crm_migration.batches where model = %s"
                " order by abs(batch_no - 3), batch_no limit 1",
                [name],
            ).fetchone()
        shapes.append(f"{name}\n{plan_shapes.of_statement(connection, statement, keys or (1, 1))}\n")
    return "\n".join(shapes)


def _written(trips: dict[str, Counter[str]]) -> str:
    """Counts by run, without what is called anew in every run."""
    lines = []
    for run, counts in trips.items():
        lines.append(run)
        plain: Counter[str] = Counter()
        for name, count in counts.items():
            plain[re.sub(r"\d{8}-\d{6}-\w{4}", "RUN", re.sub(r": .* on .* \(process \d+\)", ": OPERATOR", name))] += (
                count
            )
        lines += [f"  {count:>5}  {name}" for name, count in sorted(plain.items())]
    return "\n".join(lines) + "\n"


def _renew(name: str, text: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(text, encoding="utf-8")


def _differences(name: str, text: str) -> str:
    file = GOLDEN / name
    agreed = file.read_text(encoding="utf-8") if file.exists() else ""
    return "\n".join(difflib.unified_diff(agreed.splitlines(), text.splitlines(), f"agreed {name}", "now", lineterm=""))


def _a_dropped_index_is_seen(connection: Connection, settings: Settings, plans: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(
            "do $$ declare dropped record; begin for dropped in"
            " select indexrelid::regclass as name from pg_catalog.pg_index"
            " where indrelid = 'crm_build.int_deals__organizations'::regclass"
            " loop execute format('drop index %s', dropped.name); end loop; end $$"
        )
        assert _plans(connection, settings) != plans


def _a_statement_more_is_seen(settings: Settings, log: Path, since: int, counts: Counter[str], batches: int) -> None:
    """As if the materialization asked for one thing more in each batch."""
    with db.connect(settings, application="crm-migrate dbt") as another:
        for _ in range(batches):
            another.execute("select")
    more = statement_log.counted(log, database=DATABASE, since=since)
    assert (more - counts)["beside, crm-migrate dbt"] >= batches
    assert _written({"dry-run": more}) != _written({"dry-run": counts})
