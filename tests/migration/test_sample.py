"""A sample of the CRM: whole in itself, the same for the same seed, and tried like the whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from crm_migrate import demo_data, legacy, sample, seeds
from crm_migrate.errors import UsageError
from crm_migrate.sample import Choice, Taken
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import sample as step
from people import value
from running import program
from support import fresh_database

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


@contextmanager
def taken_from(
    source: Connection, server: EmbeddedServer, choice: Choice
) -> Iterator[tuple[Connection, dict[str, Taken]]]:
    with fresh_database(server) as target:
        yield target, sample.copy(source, target, legacy.detect(source), choice)


def ids(connection: Connection, table: str) -> list[int]:
    return [row[0] for row in connection.execute(f'select id from public."{table}" order by id')]


def test_sample_is_whole_in_itself_and_the_same_again(
    legacy_2025: Connection, postgres: EmbeddedServer, mapped: MakeSettings
) -> None:
    settings = mapped(legacy_2025)
    legacy_2025.execute("create type public.mood as enum ('fine')")
    legacy_2025.execute("alter table public.deals add \"Über mood\" public.mood default 'fine', add score numeric(4,1)")
    legacy_2025.execute("update public.deals set score = 7.5, description = E'tab\\there \\\\. \"quoted\"\\nnew line'")
    legacy_2025.execute("set datestyle = 'German'")
    named = seeds.named_companies(legacy_2025, settings.seeds_dir)
    choice = Choice(20, 1, named)
    with taken_from(legacy_2025, postgres, choice) as (part, taken):
        assert {name: item.rows for name, item in taken.items()} == {name: len(ids(part, name)) for name in taken}
        assert 0 < taken["deals"].rows < taken["deals"].of == len(ids(legacy_2025, "deals"))
        assert taken["sales"].rows == taken["sales"].of
        assert set(named) <= set(ids(part, "companies"))
        # every foreign key was checked while it was copied; contact_ids have none
        lost = "select count(*) from public.deals cross join unnest(contact_ids) as named where named = any(%s)"
        lost += " and named not in (select contacts.id from public.contacts)"
        assert value(part, lost, ids(legacy_2025, "contacts")) == 0
        assert value(part, "select count(*) from public.deals where array_length(contact_ids, 1) > 0") > 0
        # all deals, notes and tasks of what was taken came along
        for child, column, parent in (("dealNotes", "deal_id", "deals"), ("tasks", "contact_id", "contacts")):
            wanted = f'select count(*) from public."{child}" where {column} = any(%s)'
            assert value(legacy_2025, wanted, ids(part, parent)) == len(ids(part, child))
        same = "select to_jsonb(told) - 'Über mood' from public.\"{}\" as told where id = any(%s) order by id"
        for table in taken:
            legacy_2025.execute("set datestyle = 'ISO'")
            keys = ids(part, table)
            assert part.execute(same.format(table), [keys]).fetchall() == (
                legacy_2025.execute(same.format(table), [keys]).fetchall()
            )
        assert value(part, 'select distinct "Über mood"::text from public.deals') == "fine"
        # the next row gets a number of its own, and the application's triggers are there again
        last = max(ids(part, "tags"))
        assert value(part, "insert into public.tags (name, color) values ('a', 'b') returning id") > last
        assert value(part, "select count(*) from pg_trigger where tgenabled = 'D'") == 0
        deals = ids(part, "deals")
    with taken_from(legacy_2025, postgres, choice) as (again, _):
        assert ids(again, "deals") == deals
    with taken_from(legacy_2025, postgres, Choice(20, 2, named)) as (other, _):
        assert ids(other, "deals") != deals


@pytest.mark.parametrize("percent", [0, 100])
def test_nothing_and_everything(legacy_2026: Connection, postgres: EmbeddedServer, percent: float) -> None:
    with taken_from(legacy_2026, postgres, Choice(percent, 1, ())) as (part, taken):
        for table, item in taken.items():
            everything = percent == 100 or table in ("sales", "tags")
            # a note or a task of nobody has nobody to come along with
            assert item.rows == (item.of if everything else 0), table
        assert value(part, "select config::text from public.configuration") == value(
            legacy_2026, "select config::text from public.configuration"
        )


def test_empty_crm_and_a_share_that_is_none(database: Connection, make_settings: MakeSettings) -> None:
    demo_data.create_schema(database, "2026")
    settings = make_settings(database)
    for wrong in (-1.0, 100.5, float("nan")):
        with pytest.raises(UsageError, match="no share"):
            step.run(database, settings, percent=wrong, seed=1, keep=None, watch=None)  # type: ignore[arg-type]
    run = program(settings, "sample", "--percent", "100", "--json")
    shown, said = run.communicate(timeout=250)
    found = json.loads(shown)
    assert run.returncode == 0, said
    assert found["schema"] == "crm-migrate/sample/1"
    assert found["taken"]["deals"] == {"rows": 0, "of": 0}
    assert found["dry_run"]["verdict"] == "GO"
    assert found["dry_run"]["new_entities"]["opportunities"] == 0
    assert {"policies", "views", "triggers"} <= {*found["left_out"]}


def test_sample_is_kept_migrated_and_the_crm_untouched(
    legacy_2026: Connection, mapped: MakeSettings, tmp_path: Any
) -> None:
    settings = mapped(legacy_2026)
    # what nobody knows how to carry: a dry run of the whole would be a NO-GO
    legacy_2026.execute(
        """
        create function public.own() returns trigger language plpgsql as 'begin return new; end';
        create trigger own after insert on public.deals for each row execute function public.own();
        create view public.own_view as select stage from public.deals;
        create policy own on public.deals for select using (stage = 'won')
        """
    )
    run = program(settings, "sample", "--percent", "15", "--keep", str(tmp_path / "kept"), COLUMNS="80")
    shown, said = run.communicate(timeout=290)
    assert run.returncode == 0, said + shown
    assert "A sample of 15 % of the companies" in shown
    assert "Migrated" in shown
    assert "Left out: tables, views, policies, triggers, functions, constraints and grants" in " ".join(shown.split())
    assert max(map(len, shown.split("The server is kept")[0].splitlines())) <= 80
    assert value(legacy_2026, "select to_regnamespace('crm_migration') is null")
    with EmbeddedServer(tmp_path / "kept" / "server") as server, psycopg.connect(server.dsn("crm_sample")) as kept:
        assert value(kept, "select count(*) from public.opportunities") > 0
        assert value(kept, "select to_regclass('public.own_view') is null and to_regproc('public.own') is null")
        assert value(kept, "select count(*) from pg_catalog.pg_policy where polname = 'own'") == 0
