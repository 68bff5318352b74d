"""The demo data: the same for the same seed, messy to the percent that was asked for, and fit for the mapping files."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import demo_data, paths
from crm_migrate.demo_data import INFOS, WARNINGS, Counts, Mess
from crm_migrate.legacy import Generation

Connection = psycopg.Connection[Any]

TABLES = {
    Generation.G2025: ("companies", "contacts", "deals", '"dealNotes"', '"contactNotes"', "tasks", "sales", "tags"),
    Generation.G2026: ("companies", "contacts", "deals", "deal_notes", "contact_notes", "tasks", "sales", "tags"),
}
STAGES = "('opportunity', 'proposal-sent', 'in-negociation', 'won', 'lost', 'delayed')"
# each condition finds what its mess makes, and finds nothing in data without mess
SIGNS = {
    Mess.BLANK_COMPANY_NAME: "companies where btrim(name) = ''",
    Mess.BLANK_CONTACT_NAME: "contacts where btrim(concat(first_name, last_name)) = ''",
    Mess.UNREADABLE_EMAIL: """contacts where not case jsonb_typeof(email_jsonb) when 'array' then not exists (
        select from jsonb_array_elements(email_jsonb) as entry
        where coalesce(entry.value ->> 'email', '') !~ '^[^@ ]+@[^@ ]+$'
    ) else false end""",
    Mess.UNMAPPED_STAGE: f"deals where lower(btrim(stage)) not in {STAGES}",
    Mess.DANGLING_CONTACT: """deals where exists (
        select from unnest(contact_ids) as member (id) where id not in (select id from public.contacts)
    )""",
    Mess.DUPLICATE_CONTACT: """deals where exists (
        select from unnest(contact_ids) as member (id) group by id having count(*) > 1
    )""",
    Mess.NULL_CONTACT: "deals where array_position(contact_ids, null) is not null",
    Mess.CLOSING_BEFORE_CREATION: "deals where expected_closing_date < created_at",
    Mess.CLOSING_FAR_AWAY: "deals where expected_closing_date > '2100-01-01'",
    Mess.NEGATIVE_AMOUNT: "deals where amount < 0",
    Mess.BLANK_DEAL_NAME: "deals where btrim(name) = ''",
    Mess.BLANK_CONTACT_NOTE: "contact_notes where btrim(coalesce(text, '')) = ''",
    Mess.CONTACT_NOTE_FAR_AWAY: "contact_notes where date not between '2000-01-01' and '2100-01-01'",
    Mess.BLANK_DEAL_NOTE: "deal_notes where btrim(coalesce(text, '')) = ''",
    Mess.DEAL_NOTE_FAR_AWAY: "deal_notes where date not between '2000-01-01' and '2100-01-01'",
    Mess.DANGLING_TASK_SALES: "tasks where sales_id not in (select id from public.sales)",
    Mess.TASK_DATE_FAR_AWAY: "tasks where due_date > '2100-01-01'",
    Mess.UNMAPPED_TASK_TYPE: "tasks where type in ('Tasting', 'carrier-pigeon')",
    Mess.DEAL_WITHOUT_COMPANY: "deals where company_id is null",
    Mess.CONTACT_WITHOUT_COMPANY: "contacts where company_id is null",
    Mess.DUPLICATE_COMPANY_NAME: "companies where exists "
    "(select from public.companies as other where other.name = companies.name and other.id < companies.id)",
    Mess.STAGE_SPELLING: f"deals where stage not in {STAGES} and lower(btrim(stage)) in {STAGES}",
    Mess.ODD_TEXT: "deals where description like E'First line\\r\\n%'",
    Mess.UPPERCASE_EMAIL: "contacts where email_jsonb::text like '%Front.Desk.%'",
}


def scalar(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def bearing(connection: Connection, generation: Generation, kind: Mess) -> int:
    sign = SIGNS[kind]
    if generation is Generation.G2025:
        sign = sign.replace("deal_notes", '"dealNotes"', 1).replace("contact_notes", '"contactNotes"', 1)
    return int(scalar(connection, f"select count(*) from public.{sign}"))


def content(connection: Connection, generation: Generation) -> dict[str, str]:
    """A hash of each table's rows."""
    return {
        table: scalar(connection, f"select md5(string_agg(t::text, '|' order by id)) from public.{table} as t")
        for table in TABLES[generation]
    }


def made(connection: Connection, generation: Generation, **options: Any) -> Counts:
    demo_data.create_schema(connection, generation)
    return demo_data.load(connection, generation, **options)


@pytest.fixture(params=list(Generation))
def generation(request: pytest.FixtureRequest) -> Generation:
    return Generation(request.param)


def test_tables_have_the_promised_proportions(database: Connection, generation: Generation) -> None:
    counts = made(database, generation, contacts=1000)
    assert (counts.companies, counts.contacts, counts.deals) == (250, 1000, 500)
    assert (counts.notes, counts.tasks) == (2000, 500)
    assert scalar(database, "select count(*) from public.sales where disabled") == 1
    assert counts.sales > 3
    assert counts.tags > 3


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(
    database: Connection, generation: Generation
) -> None:
    found = []
    for seed in (1, 1, 2):
        with database.transaction(force_rollback=True):
            made(database, generation, contacts=200, seed=seed)
            found.append(content(database, generation))
    assert found[0] == found[1]
    assert found[0]["deals"] != found[2]["deals"]


@pytest.mark.postgres15
def test_postgres_15_makes_the_same_rows(database: Connection, database15: Connection) -> None:
    for connection in (database, database15):
        made(connection, Generation.G2026, contacts=200)
    assert content(database, Generation.G2026) == content(database15, Generation.G2026)


def test_the_usual_mess_stays_clearly_below_one_percent(database: Connection, generation: Generation) -> None:
    counts = made(database, generation, contacts=2000)
    rows = {table: getattr(counts, table) for table in WARNINGS}
    for table, kinds in WARNINGS.items():
        warned = sum(counts.messes.get(kind, 0) for kind in kinds)
        assert 0 < warned <= rows[table] * 0.005, table


def test_data_without_mess_bear_no_sign_of_any(database: Connection, generation: Generation) -> None:
    made(database, generation, contacts=2000, mess_percent=0)
    for kinds in WARNINGS.values():
        for kind in kinds:
            assert bearing(database, generation, kind) == 0, kind


def test_each_kind_of_mess_is_found_as_often_as_it_was_made(database: Connection, generation: Generation) -> None:
    counts = made(database, generation, contacts=2000, mess_percent=8)
    for kind in Mess:
        if kind is Mess.DANGLING_TASK_SALES and generation is Generation.G2026:
            assert kind not in counts.messes
        elif kind is Mess.ODD_TEXT or kind in {kind for kinds in WARNINGS.values() for kind in kinds}:
            assert bearing(database, generation, kind) == counts.messes[kind] > 0, kind
        else:
            # a deal may have no company because ids are few; infos are at least as many as asked for
            assert bearing(database, generation, kind) >= counts.messes[kind] > 0, kind


def test_a_single_named_mess_can_be_made(database: Connection, generation: Generation) -> None:
    made(database, generation, contacts=400, mess_percent=0)
    for kind in Mess:
        if kind is Mess.DANGLING_TASK_SALES and generation is Generation.G2026:
            continue
        with database.transaction(force_rollback=True):
            before = bearing(database, generation, kind)
            ids = demo_data.spoil(database, generation, kind, rows=3)
            assert len(ids) == 3
            assert bearing(database, generation, kind) == before + 3, kind


def test_every_kind_belongs_to_one_table_and_has_a_file() -> None:
    listed = Counter(kind for kinds in (*WARNINGS.values(), *INFOS.values()) for kind in kinds)
    assert listed == Counter(Mess)
    files = {path.stem for path in (paths.SQL / "legacy" / "generator" / "mess").glob("*.sql")}
    assert files == {kind.value for kind in Mess}


def test_loading_calls_nobody_and_leaves_every_trigger_on(database: Connection) -> None:
    made(database, Generation.G2026, contacts=200)
    demo_data.spoil(database, Generation.G2026, Mess.BLANK_COMPANY_NAME)
    assert scalar(database, "select count(*) from auth.callouts") == 0
    assert scalar(database, "select count(*) from pg_trigger where not tgisinternal and tgenabled <> 'O'") == 0


def test_loading_leaves_nothing_of_its_own_behind(database: Connection, generation: Generation) -> None:
    made(database, generation, contacts=100)
    demo_data.spoil(database, generation, Mess.ODD_TEXT)
    names = "select count(*) from pg_class where relnamespace = pg_my_temp_schema()"
    assert scalar(database, names) == 0
    assert scalar(database, "select count(*) from pg_proc where pronamespace = pg_my_temp_schema()") == 0


def test_new_rows_get_new_ids(database: Connection, generation: Generation) -> None:
    made(database, generation, contacts=100)
    notes, other_notes = TABLES[generation][3:5]
    for insert in (
        "insert into public.companies (name) values ('x')",
        "insert into public.contacts (first_name) values ('x')",
        "insert into public.deals (name, stage) values ('x', 'won')",
        f"insert into public.{notes} (deal_id) values (1)",
        f"insert into public.{other_notes} (contact_id) values (1)",
        "insert into public.tasks (contact_id, due_date) values (1, now())",
        "insert into public.tags (name, color) values ('x', 'y')",
    ):
        database.execute(insert)


def test_a_crm_with_rows_is_not_filled_again(database: Connection) -> None:
    made(database, Generation.G2026, contacts=100)
    with pytest.raises(demo_data.NotEmpty):
        demo_data.load(database, Generation.G2026, contacts=100)


def test_each_principal_and_distributor_is_named_once(database: Connection) -> None:
    made(database, Generation.G2026, contacts=12_000)
    duplicates = """
        select count(*) from public.companies as broker
        where broker.id % 25 in (2, 3) and exists (
            select from public.companies as other
            where other.id <> broker.id and (other.name = broker.name or other.website::text = broker.website::text)
        )
    """
    assert scalar(database, duplicates) == 0


def test_examples_are_the_first_three_companies_and_deals(database: Connection, generation: Generation) -> None:
    made(database, generation, contacts=400)
    found = database.execute("""
        select company.name, deal.name, deal.stage, deal.amount
        from public.deals as deal
        inner join public.companies as company on company.id = deal.company_id
        where deal.id <= 3
        order by deal.id
    """).fetchall()
    assert found == [
        ("Grand Hotel Belvedere", "Breakfast coffee for all 140 rooms", "won", 48000),
        ("Torrefazione Marchetti", "Autumn listing of the espresso range", "in-negociation", 125000),
        ("Gastro Express Zürich", "Alpine cheese for the winter season", "proposal-sent", 76500),
    ]
    assert scalar(database, "select contact_ids from public.deals where id = 1") == [1, 2, 6]


def test_the_configuration_of_2026_lists_the_stages(database: Connection) -> None:
    made(database, Generation.G2026, contacts=100)
    stages = scalar(database, "select config -> 'dealStages' from public.configuration")
    assert [stage["value"] for stage in stages][:2] == ["opportunity", "proposal-sent"]
    assert [sorted(stage) for stage in stages] == [["label", "value"]] * 6


def test_mapping_files_fit_the_data(database: Connection, generation: Generation, tmp_path: Path) -> None:
    made(database, generation, contacts=1000)
    folder = demo_data.demo_seeds(database, tmp_path / "seeds")

    def lines(name: str) -> list[dict[str, str]]:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    names = Counter(row[0] for row in database.execute("select name from public.companies"))
    hosts = Counter(
        row[0] for row in database.execute("select split_part(website::text, 'www.', 2) from public.companies")
    )
    roles = lines("company_roles")
    assert Counter(role["role"] for role in roles) == {"principal": 10, "distributor": 10}
    for role in roles:
        assert (hosts[role["website_domain"]] if role["website_domain"] else names[role["company_name"]]) == 1
    categories = {row[0] for row in database.execute("select distinct category from public.deals")}
    mapped = lines("category_principals")
    assert len(mapped) == 10
    assert all(line["category"] in categories and names[line["principal_name"]] == 1 for line in mapped)
    agreements = lines("principal_distributor_agreements")
    assert len(agreements) == 10
    assert all(names[line["principal_name"]] == names[line["distributor_name"]] == 1 for line in agreements)
    assert (folder / "stage_mapping.csv").read_bytes() == (paths.SEEDS / "stage_mapping.csv").read_bytes()
    assert all(None not in line and line["status"] != "" for line in agreements)
