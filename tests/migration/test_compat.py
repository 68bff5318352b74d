"""The views under the legacy names, used as an unchanged application uses them."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from crm_migrate import compat, compat_usage, compat_views, paths, status
from people import add_company, as_role, one, value

Connection = psycopg.Connection[Any]

STOCK = [
    ("id", "bigint"),
    ("name", "text"),
    ("company_id", "bigint"),
    ("contact_ids", "bigint[]"),
    ("category", "text"),
    ("stage", "text"),
    ("description", "text"),
    ("amount", "bigint"),
    ("created_at", "timestamp with time zone"),
    ("updated_at", "timestamp with time zone"),
    ("archived_at", "timestamp with time zone"),
    ("expected_closing_date", "date"),
    ("sales_id", "bigint"),
    ("index", "smallint"),
]


def columns(connection: Connection, relation: str) -> list[tuple[str, str]]:
    return connection.execute(
        "select attname::text, format_type(atttypid, atttypmod) from pg_catalog.pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        [relation],
    ).fetchall()


def notes_view(connection: Connection) -> sql.Identifier:
    name = value(
        connection,
        "select relname::text from pg_catalog.pg_class where relnamespace = 'public'::regnamespace"
        " and relname in ('deal_notes', 'dealNotes') and relkind = 'v'",
    )
    return sql.Identifier("public", name)


def create(connection: Connection, **values: Any) -> int:
    given = {"name": "a deal", "stage": "opportunity", "index": 0} | values
    statement = sql.SQL("insert into public.deals ({}) values ({}) returning id").format(
        sql.SQL(", ").join(map(sql.Identifier, given)), sql.SQL(", ").join([sql.Placeholder()] * len(given))
    )
    return int(connection.execute(statement, list(given.values())).fetchall()[0][0])


def test_columns_are_those_of_the_legacy_table(migrated: Connection) -> None:
    assert columns(migrated, "public.deals") == columns(migrated, "crm_archive.deals")


def test_stock_installation_sees_fourteen_columns(migrated_2026: Connection) -> None:
    assert columns(migrated_2026, "public.deals") == STOCK


def test_rules_for_namesakes_are_those_of_the_model() -> None:
    text = (paths.DBT_PROJECT / "models" / "marts" / "stage_1" / "opportunities.yml").read_text(encoding="utf-8")
    model = yaml.safe_load(text)["models"][0]
    carry = model["config"]["carry_from"]
    own = {column["name"] for column in model["columns"]}
    assert set(carry["known"]) == compat_views.STOCK
    assert set(carry["adopt"]) == {*compat_views.ADOPTED}
    types = {column["name"]: column["data_type"] for column in model["columns"]}
    assert {name: types[name] for name in compat_views.ADOPTED} == compat_views.ADOPTED
    assert {legacy: name for name, legacy in carry["legacy_names"].items()} == compat_views.RENAMED
    assert own - compat_views.STOCK - {*compat_views.ADOPTED} == compat_views.OWN


def test_every_row_reads_as_it_was(migrated: Connection) -> None:
    for left, right in (("public.deals", "crm_archive.deals"), ("crm_archive.deals", "public.deals")):
        different = sql.SQL(
            "select count(*) from (select d::text from {} as d except all select d::text from {} as d) as x"
        )
        parts = [sql.Identifier(*name.split(".")) for name in (left, right)]
        assert migrated.execute(different.format(*parts)).fetchall() == [(0,)]


def test_create_gives_back_the_whole_row(migrated: Connection) -> None:
    with as_role(migrated):
        company = add_company(migrated, "first")
        row = one(
            migrated,
            'insert into public.deals (name, company_id, contact_ids, category, stage, description, amount, "index")'
            " values ('new', %s, '{1,2}', 'other', 'won', 'text', 9007199254740993, 0) returning *",
            company,
        )
        assert row[1:8] == ("new", company, [1, 2], "other", "won", "text", 9007199254740993)
        assert one(migrated, "select * from public.deals where id = %s", row[0]) == row
        assert row[8] is not None, "created_at has its default"
        assert row[8] == row[9]


def test_create_with_a_number_of_its_own(migrated: Connection) -> None:
    with as_role(migrated):
        assert create(migrated, id=987654) == 987654


@pytest.mark.parametrize("column", ["name", "stage"])
def test_missing_value_is_refused_as_by_the_table(migrated: Connection, column: str) -> None:
    with as_role(migrated):
        with pytest.raises(psycopg.errors.NotNullViolation, match=f'column "{column}" of relation "deals"'):
            create(migrated, **{column: None})
        deal = create(migrated)
        with pytest.raises(psycopg.errors.NotNullViolation, match=f'column "{column}" of relation "deals"'):
            migrated.execute(
                sql.SQL("update public.deals set {} = null where id = %s").format(sql.Identifier(column)), [deal]
            )


def test_edit_changes_only_what_it_names(migrated: Connection) -> None:
    with as_role(migrated):
        deal = create(migrated, amount=5)
        migrated.execute("update public.opportunities set next_action = 'call' where id = %s", [deal])
        before = one(migrated, "select updated_at from public.deals where id = %s", deal)
        row = one(
            migrated,
            "update public.deals set amount = 7, description = null where id = %s returning amount, updated_at",
            deal,
        )
        assert row == (7, *before)
        assert value(migrated, "select next_action from public.opportunities where id = %s", deal) == "call"


def test_archive_and_unarchive(migrated: Connection) -> None:
    with as_role(migrated):
        deal = create(migrated)
        live = "select count(*) from public.deals where archived_at is null and id = %s"
        migrated.execute("update public.deals set archived_at = now() where id = %s", [deal])
        assert value(migrated, live, deal) == 0
        migrated.execute("update public.deals set archived_at = null where id = %s", [deal])
        assert value(migrated, live, deal) == 1


def test_delete_takes_the_notes_along(migrated: Connection) -> None:
    notes = notes_view(migrated)
    with as_role(migrated):
        deal = create(migrated)
        note = migrated.execute(
            sql.SQL(
                "insert into {} (deal_id, text, type) values (%s, 'said', 'x') returning id, deal_id,"
                " text, date is null"
            ).format(notes),
            [deal],
        ).fetchall()[0]
        assert note[1:] == (deal, "said", False)
        updated = migrated.execute(
            sql.SQL("update {} set text = 'heard' where id = %s returning text").format(notes), [note[0]]
        )
        assert updated.fetchall() == [("heard",)]
        assert value(migrated, "delete from public.deals where id = %s returning id", deal) == deal
        left = migrated.execute(sql.SQL("select count(*) from {} where deal_id = %s").format(notes), [deal])
        assert left.fetchall() == [(0,)]


def test_soft_deleted_rows_are_not_shown(migrated: Connection) -> None:
    notes = notes_view(migrated)
    with as_role(migrated):
        deal = create(migrated)
        migrated.execute(sql.SQL("insert into {} (deal_id, text) values (%s, 'said')").format(notes), [deal])
        migrated.execute("update public.opportunities set deleted_at = now() where id = %s", [deal])
        assert value(migrated, "select count(*) from public.deals where id = %s", deal) == 0
        shown = migrated.execute(sql.SQL("select count(*) from {} where deal_id = %s").format(notes), [deal])
        assert shown.fetchall() == [(0,)]
        assert migrated.execute("update public.deals set name = 'x' where id = %s", [deal]).rowcount == 0


def test_kanban_moves_in_eight_connections_do_not_deadlock(migrated: Connection) -> None:
    with as_role(migrated):
        deals = [create(migrated, name=f"card {number}") for number in range(40)]
    together = threading.Barrier(8)

    def move(worker: int) -> int:
        with psycopg.connect(migrated.info.dsn, autocommit=True) as connection, as_role(connection):
            together.wait(30)
            moved = 0
            for position, deal in enumerate(deals if worker % 2 else reversed(deals)):
                moved += connection.execute(
                    'update public.deals set "index" = %s, stage = %s where id = %s returning *',
                    [position, "won" if worker % 2 else "lost", deal],
                ).rowcount
            return moved

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(move, range(8))) == [len(deals)] * 8
    counted = value(
        migrated,
        "select sum(writes)::int from crm_compat.usage where role_name = 'authenticated' and operation = 'update'",
    )
    assert counted == 8 * len(deals)


def test_two_people_change_two_things_of_one_deal(migrated: Connection) -> None:
    with as_role(migrated):
        deal = create(migrated, amount=1)
    with (
        psycopg.connect(migrated.info.dsn) as first,
        psycopg.connect(migrated.info.dsn) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        first.execute("update public.deals set amount = 2 where id = %s", [deal])
        waiting = pool.submit(second.execute, "update public.deals set description = 'mine' where id = %s", [deal])
        first.commit()
        waiting.result(30)
        second.commit()
    assert one(migrated, "select amount, description from public.deals where id = %s", deal) == (2, "mine")


def test_filters_reach_the_indexes(migrated: Connection) -> None:
    migrated.execute("set enable_seqscan = off")
    for condition in ("contact_ids @> '{5}'", "company_id = 5", "stage = 'won'", "id = 5"):
        plan = json.dumps(value(migrated, f"explain (format json) select * from public.deals where {condition}"))
        assert "Index" in plan, condition
        assert "Seq Scan" not in plan, condition


def test_session_is_told_once_and_writes_are_counted(migrated: Connection) -> None:
    notices: list[str] = []
    hints: list[str] = []
    with psycopg.connect(migrated.info.dsn, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        connection.add_notice_handler(lambda notice: hints.append(notice.message_hint or ""))
        with as_role(connection):
            deal = create(connection)
            connection.execute("update public.deals set name = 'other' where id = %s", [deal])
    assert notices == ["public.deals is kept for the old application only: use opportunities."]
    used = {(usage.role, usage.relation, usage.operation): usage.writes for usage in compat_usage.writes(migrated)}
    assert used["authenticated", "deals", "insert"] == used["authenticated", "deals", "update"] == 1
    until = {item.relation: item.until for item in compat.promises(migrated) if item.present}["deals"]
    assert until > datetime.now(UTC)
    assert status.read(migrated).old_names_until == until
    assert hints == [f"It goes away on {until:%Y-%m-%d}."]
    comment = value(migrated, "select obj_description('public.deals'::regclass, 'pg_class')")
    assert comment.startswith("Deprecated")
    assert f"{until:%Y-%m-%d}" in comment


def test_counting_never_costs_a_write(migrated: Connection) -> None:
    migrated.execute("alter table crm_compat.usage rename to usage_is_gone")
    with as_role(migrated):
        assert create(migrated) > 0


def test_reads_work_in_read_only_transactions(migrated: Connection) -> None:
    with as_role(migrated), migrated.transaction():
        migrated.execute("set transaction read only")
        assert value(migrated, "select count(*) from public.deals") > 0


def test_view_shows_a_role_no_more_than_the_table(migrated: Connection) -> None:
    migrated.execute(
        "create policy only_cheap on public.opportunities as restrictive for all to authenticated using"
        " (coalesce(amount, 0) < 10)"
    )
    with as_role(migrated):
        cheap = create(migrated, amount=1)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            create(migrated, amount=100)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            migrated.execute("update public.deals set amount = 100 where id = %s", [cheap])
        assert value(migrated, "select max(amount) from public.deals") < 10
        hidden = "select id from public.opportunities where amount >= 10 limit 1"
    dear = value(migrated, hidden)
    with as_role(migrated):
        assert migrated.execute("update public.deals set name = 'mine' where id = %s", [dear]).rowcount == 0
        assert migrated.execute("delete from public.deals where id = %s", [dear]).rowcount == 0
        assert value(migrated, "select count(*) from public.opportunities_summary where id = %s", dear) == 0
        assert (
            value(migrated, "select count(*) from public.opportunity_participants where opportunity_id = %s", dear) == 0
        )
    with as_role(migrated, "anon"):
        assert value(migrated, "select count(*) from public.deals") == 0


def test_role_that_only_inserts_still_can(migrated: Connection) -> None:
    migrated.execute("create role web_form nologin")
    try:
        migrated.execute("grant usage on schema public, crm_compat to web_form")
        migrated.execute("grant insert on public.deals, public.opportunities to web_form")
        migrated.execute("create policy from_web on public.opportunities for insert to web_form with check (true)")
        before = value(migrated, "select count(*) from public.opportunities")
        # named, or the application's own trigger would ask who is logged in
        owner = value(migrated, "select min(id) from public.sales")
        migrated.execute("set role web_form")
        migrated.execute(
            "insert into public.deals (name, stage, sales_id) values ('from the web', 'opportunity', %s)", [owner]
        )
        migrated.execute("reset role")
        assert value(migrated, "select count(*) from public.opportunities") == before + 1
    finally:
        migrated.execute("reset role")
        migrated.execute("drop owned by web_form")
        migrated.execute("drop role web_form")
