"""The batched materialization: what was committed stays, what failed stands alone, and nothing is done twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import transform
from crm_migrate.settings import Settings
from dbt_builds import ANALYST, again, batches, begin, opportunities, value

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

CONTENT = "select md5(string_agg(o::text, ',' order by id)) from crm_build.opportunities o"
MAXIMUM = 9223372036854775807


@pytest.fixture
def crm(legacy_2026: Connection) -> Connection:
    """A CRM whose deals can be changed without its own triggers."""
    legacy_2026.execute("set session_replication_role = replica")
    return legacy_2026


@pytest.fixture
def settings(crm: Connection, make_settings: MakeSettings) -> Settings:
    return make_settings(crm)


def test_ranges_cover_all_keys_without_gap_or_overlap(crm: Connection, settings: Settings) -> None:
    crm.execute("update public.deals set id = 0 where id = (select min(id) from public.deals)")
    crm.execute("update public.deals set id = %s where id = (select max(id) from public.deals)", [MAXIMUM])
    begin(crm, settings, batch_size=20)
    opportunities(settings)

    planned = batches(crm)
    assert len(planned) > 3
    assert planned[0][0] == 0
    assert planned[-1][1] == MAXIMUM
    assert all(later[0] == earlier[1] + 1 for earlier, later in itertools.pairwise(planned))
    assert {batch[2] for batch in planned} == {"done"}
    total = value(crm, "select count(*) from public.deals")
    assert sum(batch[3] for batch in planned) == total == value(crm, "select count(*) from crm_build.opportunities")
    assert value(crm, "select count(*) from crm_build.opportunities where id in (0, %s)", MAXIMUM) == 2


def test_each_batch_and_its_ledger_row_commit_together(crm: Connection, settings: Settings) -> None:
    begin(crm, settings, batch_size=20)
    opportunities(settings)

    transactions = crm.execute(
        "select batches.xmin::text, array_agg(distinct opportunities.xmin::text)"
        " from crm_migration.batches"
        " join crm_build.opportunities on opportunities.id between batches.key_lo and batches.key_hi"
        " where batches.model = 'opportunities' group by batches.batch_no, batches.xmin::text"
    ).fetchall()
    assert len({ledger for ledger, _ in transactions}) == len(transactions) > 3
    for ledger, rows in transactions:
        # the rows are written in a subtransaction of the one that marks the batch
        assert len(rows) == 1
        assert 0 < int(rows[0]) - int(ledger) <= 3


def test_finished_run_does_nothing_when_repeated(crm: Connection, settings: Settings) -> None:
    begin(crm, settings, batch_size=20)
    opportunities(settings)
    before = crm.execute("select id, xmin::text, ctid::text from crm_build.opportunities order by id").fetchall()
    finished = value(crm, "select finished_at from crm_migration.model_loads where model = 'opportunities'")

    opportunities(settings)

    assert (
        before == crm.execute("select id, xmin::text, ctid::text from crm_build.opportunities order by id").fetchall()
    )
    assert finished == value(crm, "select finished_at from crm_migration.model_loads where model = 'opportunities'")


def test_batch_over_rows_that_are_there_writes_only_what_differs(crm: Connection, settings: Settings) -> None:
    begin(crm, settings, batch_size=20)
    opportunities(settings)
    expected = value(crm, CONTENT)
    reopened = crm.execute(
        "update crm_migration.batches set state = 'pending' where model = 'opportunities' and batch_no in (1, 2)"
        " returning key_lo, key_hi"
    ).fetchall()
    crm.execute("update crm_build.opportunities set name = name || '?' where id = %s", [reopened[0][0]])
    crm.execute("delete from crm_build.opportunities where id = %s", [reopened[1][1]])

    again(settings)

    assert value(crm, CONTENT) == expected
    assert [batch[3] for batch in batches(crm)][:2] == [1, 1]


def test_killed_backend_leaves_whole_batches_and_the_run_goes_on(crm: Connection, settings: Settings) -> None:
    begin(crm, settings, batch_size=20)
    opportunities(settings)
    expected = value(crm, CONTENT)
    begin(crm, settings, run_id="run-2", batch_size=20)

    def kill(progress: transform.Progress) -> None:
        if progress.model == "opportunities" and progress.batch_no == 2:
            crm.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'crm-migrate dbt' and datname = current_database()"
            )

    with pytest.raises(transform.TransformStopped):
        transform.build(settings, "run-2", "stage_1", on_progress=kill)
    states = crm.execute(
        "select state, count(*) from crm_migration.batches"
        " where run_id = 'run-2' and model = 'opportunities' group by state"
    ).fetchall()
    assert dict(states)["done"] == 2, "the fault did not happen"
    assert dict(states)["pending"] > 0

    transform.build(settings, "run-2", "stage_1")
    assert value(crm, CONTENT) == expected


@pytest.mark.fault(number=12)
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_exactly_the_poisoned_rows_are_rejected_whole(crm: Connection, settings: Settings, batch_size: int) -> None:
    poisoned = [row[0] for row in crm.execute("select id from public.deals where id % 17 = 3 order by id")]
    begin(crm, settings, batch_size=batch_size)
    opportunities(settings)
    # the installation's own rule, which the target learns of and the legacy rows break
    crm.execute("truncate crm_build.opportunities")
    crm.execute("alter table crm_build.opportunities add constraint own_rule check (id % 17 <> 3)")
    _forget_that_batches_are_done(crm)

    again(settings)

    rejected = crm.execute(
        "select key_value, sqlstate, constraint_name, source_row from crm_migration.rejected_records order by key_value"
    ).fetchall()
    assert [row[0] for row in rejected] == poisoned
    assert {(row[1], row[2]) for row in rejected} == {("23514", "own_rule")}
    whole = value(crm, "select to_jsonb(d) from public.deals d where id = %s", poisoned[0])
    assert rejected[0][3] == whole
    assert value(crm, "select count(*) from public.deals") == len(poisoned) + value(
        crm, "select count(*) from crm_build.opportunities"
    )
    assert sum(batch[4] for batch in batches(crm)) == len(poisoned)


def test_row_that_jsonb_cannot_hold_is_rejected_as_text(crm: Connection, settings: Settings) -> None:
    crm.execute("alter table public.deals add column raw json")
    crm.execute("""update public.deals set raw = '{"a": "\\u0000"}' where id = (select min(id) from public.deals)""")
    begin(crm, settings)
    opportunities(settings)
    crm.execute("truncate crm_build.opportunities")
    crm.execute("alter table crm_build.opportunities add constraint own_rule check (raw is null)")
    _forget_that_batches_are_done(crm)

    again(settings)
    assert "u0000" in value(crm, "select source_row ->> 'row' from crm_migration.rejected_records")


@pytest.mark.parametrize(
    ("raised", "message"), [("syntax_error", "42601"), ("disk_full", "No space left on device"), ("triggered", "A")]
)
def test_only_a_rows_own_fault_is_rejected(crm: Connection, settings: Settings, raised: str, message: str) -> None:
    begin(crm, settings)
    opportunities(settings)
    errcode = "raise_exception" if raised == "triggered" else raised
    crm.execute("truncate crm_build.opportunities")
    crm.execute(
        "create function crm_build.refuse() returns trigger language plpgsql as $$ begin"
        f" if new.id % 50 = 1 then raise exception '{message}' using errcode = '{errcode}'; end if; return new; end $$"
    )
    crm.execute(
        "create trigger refuse before insert on crm_build.opportunities"
        " for each row execute function crm_build.refuse()"
    )
    _forget_that_batches_are_done(crm)

    if raised == "triggered":
        again(settings)
        assert value(crm, "select count(*) from crm_migration.rejected_records") > 0
    else:
        with pytest.raises(transform.TransformStopped if raised == "disk_full" else transform.TransformFailed):
            again(settings)
        assert value(crm, "select count(*) from crm_migration.rejected_records") == 0
        assert {batch[2] for batch in batches(crm)} == {"pending"}


def test_deferred_constraint_fails_inside_the_batch(crm: Connection, settings: Settings) -> None:
    begin(crm, settings)
    opportunities(settings)
    crm.execute("create table crm_build.allowed (id bigint primary key)")
    crm.execute("insert into crm_build.allowed select id from public.deals order by id offset 2")
    crm.execute("truncate crm_build.opportunities")
    crm.execute(
        "alter table crm_build.opportunities add constraint late foreign key (id) references crm_build.allowed"
        " deferrable initially deferred"
    )
    _forget_that_batches_are_done(crm)

    again(settings)
    assert value(crm, "select count(*) from crm_migration.rejected_records where constraint_name = 'late'") == 2


@pytest.mark.parametrize(
    ("damage", "reason"),
    [("drop table crm_build.opportunities cascade", "dropped"), ("truncate crm_build.opportunities", "truncated")],
)
def test_done_over_a_table_that_is_gone_is_an_error(
    crm: Connection, settings: Settings, damage: str, reason: str
) -> None:
    begin(crm, settings)
    opportunities(settings)
    crm.execute(damage)

    with pytest.raises(transform.TransformFailed) as caught:
        again(settings)
    assert reason in caught.value.why


def test_changed_query_stops_a_run(crm: Connection, settings: Settings) -> None:
    begin(crm, settings)
    opportunities(settings)
    crm.execute("alter table public.deals add column region text")

    with pytest.raises(transform.TransformFailed) as caught:
        again(settings)
    assert "no longer the one" in caught.value.why


def test_analyst_starts_over_in_a_schema_of_their_own(crm: Connection, settings: Settings) -> None:
    before = crm.execute("select md5(string_agg(d::text, ',' order by id)) from public.deals d").fetchone()
    opportunities(settings, schema=ANALYST)
    crm.execute(f"truncate {ANALYST}.opportunities")
    crm.execute("delete from public.deals where id = (select max(id) from public.deals)")
    crm.execute("alter table public.deals add column region text default 'north'")

    opportunities(settings, schema=ANALYST)

    assert value(crm, f"select count(*) from {ANALYST}.opportunities where region = 'north'") == value(
        crm, "select count(*) from public.deals"
    )
    assert value(crm, f"select distinct run_id from {ANALYST}.batches") == "adhoc"
    assert value(crm, "select to_regnamespace('crm_migration') is null")
    assert before is not None


def test_empty_source_gives_an_empty_table_and_a_finished_load(crm: Connection, settings: Settings) -> None:
    crm.execute("truncate public.deals cascade")
    begin(crm, settings)
    opportunities(settings)

    assert value(crm, "select count(*) from crm_build.opportunities") == 0
    assert batches(crm) == []
    assert value(crm, "select finished_at is not null from crm_migration.model_loads where model = 'opportunities'")


def test_contract_is_held_to_the_type(crm: Connection, settings: Settings) -> None:
    crm.execute("alter table public.deals alter column amount type numeric using amount + 0.4")
    begin(crm, settings)

    with pytest.raises(transform.TransformFailed) as caught:
        opportunities(settings)
    assert "amount: the query gives numeric, the contract has bigint" in caught.value.why


def test_two_builds_of_one_run_load_each_batch_once(crm: Connection, settings: Settings) -> None:
    begin(crm, settings, batch_size=20)
    opportunities(settings)
    crm.execute("truncate crm_build.opportunities")
    _forget_that_batches_are_done(crm)

    def work() -> None:
        with psycopg.connect(settings.dsn, autocommit=True) as other:
            other.execute("set search_path = crm_build, public, extensions")
            for number in range(1, total + 1):
                other.execute("select crm_migration.run_batch('run-1', 'opportunities', %s)", [number])

    total = len(batches(crm))
    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sum(batch[3] for batch in batches(crm)) == value(crm, "select count(*) from public.deals")
    assert {batch[2] for batch in batches(crm)} == {"done"}


def _forget_that_batches_are_done(crm: Connection) -> None:
    crm.execute("update crm_migration.batches set state = 'pending' where model = 'opportunities'")
    crm.execute(
        "update crm_migration.model_loads set finished_at = null,"
        " target_filenode = pg_relation_filenode('crm_build.opportunities') where model = 'opportunities'"
    )
