"""The warm apply: only what changed since the dry run is done again, and all ends as if it had been built anew."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import backup, fingerprint, ledger, trial_restore
from crm_migrate import database as db
from crm_migrate.observer import Silent
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, rollback, verify, warm
from running import try_it
from support import fresh_database

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

# numbered on as rows come, and named by nothing
NUMBERED = {"contact_organizations", "opportunity_participants"}


class Meanwhile(Silent):
    """Somebody who works until the lock: when the base is laid, and when the source gate has been asked."""

    def __init__(self, settings: Settings, statements: dict[str, list[str]]) -> None:
        self.settings, self.statements = settings, statements

    def step_done(self, name: str, seconds: float, rows: int | None) -> None:
        if name in self.statements:
            work(self.settings, self.statements[name])


def work(settings: Settings, statements: list[str]) -> None:
    """Do what people do, each statement for itself; what the CRM refuses is refused in every database alike."""
    with db.connect(settings) as connection:
        for statement in statements:
            try:
                connection.execute(statement.encode())
            except psycopg.errors.IntegrityError:
                continue
        # the same work is done in two databases: it must not show when
        connection.execute("set session_replication_role = replica")
        for table, column in connection.execute(
            "select table_name, column_name from information_schema.columns where table_schema = 'public'"
            " and data_type = 'timestamp with time zone' and is_generated = 'NEVER'"
            " and to_regclass(format('public.%I', table_name)) in (select oid from pg_class where relkind = 'r')"
        ).fetchall():
            connection.execute(
                f"update public.\"{table}\" set {column} = '2026-11-01 12:00+00'"
                f" where {column} between now() - interval '10 minutes' and now()".encode()
            )


def edits(seed: int, generation: str, count: int) -> list[str]:
    """What people's work comes down to: changed, new, gone, gone and there again under the same number, to and fro."""
    dice = random.Random(seed)
    notes = "contact_notes" if generation == "2026" else '"contactNotes"'

    def one(table: str) -> str:
        return f"(select id from public.{table} order by md5(id::text || '{dice.random()}') limit 1)"

    def some(share: int) -> str:
        return f"abs(hashtextextended(id::text, {dice.randrange(10**6)})) % {share} = 0"

    def changed(table: str, what: str, share: int) -> list[str]:
        return [f"update public.{table} set {what} where {some(share)}"]

    def gone(table: str, share: int) -> list[str]:
        return [f"delete from public.{table} where {some(share)}"]

    def again(table: str, columns: str, values: str) -> list[str]:
        return [
            f"create table public.kept as select * from public.{table} where {some(13)}",
            f"delete from public.{table} where id in (select id from public.kept)",
            f"insert into public.{table} (id, {columns}) overriding system value select id, {values} from public.kept",
            "drop table public.kept",
        ]

    def new(table: str, columns: str, values: str) -> list[str]:
        return [f"insert into public.{table} ({columns}) values ({values})"]

    deal = "name, company_id, contact_ids, stage, amount, index"
    category = f"(select category from public.deals order by md5(id::text || '{seed}') limit 1)"
    kinds: list[Callable[[], list[str]]] = [
        lambda: changed("deals", f"stage = '{dice.choice(['won', 'lost', 'opportunity', 'nowhere'])}'", 9),
        lambda: changed("deals", f"company_id = {one('companies')}", 11),
        lambda: changed("deals", f"category = {category}", 8),
        lambda: changed("deals", f"contact_ids = contact_ids || array[{one('contacts')}, 999999999]", 7),
        lambda: changed("deals", "contact_ids = contact_ids[2:]", 6),
        lambda: gone("deals", 17),
        lambda: new("deals", deal, f"'new', {one('companies')}, array[{one('contacts')}], 'opportunity', 7, 0"),
        lambda: again("deals", deal, "'again', company_id, array_append(contact_ids, 3), 'lost', 1, 0"),
        lambda: changed("deals", "amount = amount + 1", 5) + changed("deals", "amount = amount - 1", 5),
        lambda: [
            "update public.deals set company_id = company_id + 1 where id % 5 = 0",
            "update public.deals set company_id = company_id - 1 where id % 5 = 0",
        ],
        lambda: changed("contacts", f"company_id = {one('companies')}", 13),
        lambda: changed("contacts", "company_id = null", 19),
        lambda: gone("contacts", 23),
        lambda: new("contacts", "first_name, company_id", f"'Ada', {one('companies')}"),
        lambda: again("contacts", "first_name, company_id", f"'Eve', {one('companies')}"),
        lambda: changed("companies", "created_at = created_at - interval '1 day'", 7),
        lambda: new("companies", "name, website", f"'Fresh {dice.randrange(99)}', 'https://fresh.example'"),
        lambda: gone("companies", 150),
        lambda: changed("tasks", f"contact_id = {one('contacts')}, type = 'Call'", 9),
        lambda: changed("tasks", "done_date = now()", 11),
        lambda: gone("tasks", 12),
        lambda: [f"update public.sales set first_name = 'Kim' where id = {one('sales')}"],
        lambda: changed(notes, "text = text || '!'", 14),
        lambda: gone(notes, 15),
    ]
    return [statement for _ in range(count) for statement in dice.choice(kinds)()]


def state(connection: Connection, run_id: str) -> dict[str, Any]:
    """All that a migration leaves: schema, rows of every table, archive, what was found, rejected and left out."""
    taken = fingerprint.take(connection)
    schema = {kind: dict(items) for kind, items in taken.schema.items()}
    rows: dict[str, Any] = {}
    for namespace in ("public", "crm_archive"):
        for (name,) in connection.execute(
            "select name from crm_migration.own_relations(%s) where kind = 'r' order by 1", [namespace]
        ).fetchall():
            hidden = ["id"] if name in NUMBERED else []
            rows[f"{namespace}.{name}"] = connection.execute(
                "select array_agg(row order by row) from (select (to_jsonb(t) - %s::text[])::text as row"
                f' from {namespace}."{name}" as t) as listed'.encode(),
                [hidden],
            ).fetchone()
    kept = {
        "findings": "gate, check_id, code, severity, rows, sample_keys::text",
        "rejected_records": "model, key_value, sqlstate, source_row::text",
        "excluded_rows": "entity, row_key, rule",
    }
    for table, columns in kept.items():
        rows[table] = connection.execute(
            f"select {columns} from crm_migration.{table} where run_id = %s order by {columns}".encode(), [run_id]
        ).fetchall()
    rows["ledger"] = connection.execute(
        "select model, sum(rows_written), sum(rows_rejected) from crm_migration.batches where run_id = %s"
        " group by model order by model",
        [run_id],
    ).fetchall()
    return {"schema": schema, **rows}


# the whole sweep of the faults draws more
SEEDS = range(1, 13) if os.environ.get("CRM_FAULTS") == "whole" else range(1, 3)


@pytest.mark.swept
@pytest.mark.parametrize("seed", SEEDS)
def test_warm_and_cold_end_in_the_same_state(
    postgres: EmbeddedServer,
    request: pytest.FixtureRequest,
    mapped: MakeSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    generation = ("2025", "2026")[seed % 2]
    # nearly every row may have a part in what changes
    monkeypatch.setattr(warm, "MOST_CHANGED", 100)
    template = request.getfixturevalue(f"template_{generation}")
    before = edits(seed, generation, 14)
    after = {"base": edits(seed + 100, generation, 7), "source_gate": edits(seed + 200, generation, 2)}
    with fresh_database(postgres, template=template) as here:
        settings = mapped(here, batch_size=40, threshold_percent=100.0)
        assert try_it(settings).verdict == "GO"
        work(settings, before)
        here.execute("checkpoint")
        name = here.info.dbname
        here.close()
        with fresh_database(postgres, template=name) as there:
            other = replace(settings, dsn=there.info.dsn, backup_dir=tmp_path / "other")
            work(other, [statement for statements in after.values() for statement in statements])
            with db.connect(other) as connection:
                cold = apply.run(connection, other, Silent(), cold=True)
            expected = state(there, cold.run_id)
        with db.connect(settings) as connection:
            report = apply.run(connection, settings, Meanwhile(settings, after))
            summary = ledger.get(connection, report.run_id).summary["build"]
            assert summary == {"kind": "warm"}, summary
            steps = {step.name: step for step in report.steps}
            assert steps["changes"].rows
            assert steps["backup"].rows
            found = state(connection, report.run_id)
            assert found.keys() == expected.keys()
            for part, value in expected.items():
                assert found[part] == value, part
            assert verify.run(connection, settings).ok
            made = backup.verify(Path(report.backup["path"]))
            assert made.delta is not None
            assert made.delta["tables"]
            assert trial_restore.run(connection, settings, made).ok
        with db.connect(settings) as connection:
            rollback.run(connection, settings, Silent())
