"""The gates on a real database: what they find, what they write down, and that they say no when they cannot look."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
import yaml

from crm_migrate import control, cutover, demo_data, findings, gate_checks, gates, soda_scan, transform
from crm_migrate import database as db
from crm_migrate.demo_data import Mess, spoil
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from installation import Installation, built_templates, stock  # noqa: F401  # fixtures
from support import fresh_database

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]
Selector = Literal["sources_only", "stage_1", "stage_1_5"]
RUN = "gate-test"

# what the test does to the deals (or tasks), and the code that must name exactly that row
SPOILED = {
    "deals.unmapped_stage": "update public.deals set stage = 'never heard of' where id = %s",
    "deals.dangling_contact": "update public.deals set contact_ids = contact_ids || 987654321::bigint where id = %s",
    "deals.duplicate_contact": "update public.deals set contact_ids = contact_ids || contact_ids where id = %s",
    "deals.null_contact": "update public.deals set contact_ids = contact_ids || null::bigint where id = %s",
    "deals.negative_amount": "update public.deals set amount = -1 where id = %s",
    "deals.blank_name": "update public.deals set name = e' \\t\\n' where id = %s",
    "deals.dates_out_of_order": "update public.deals set updated_at = created_at - interval '1 day' where id = %s",
    "deals.close_date_far_away": "update public.deals set expected_closing_date = 'infinity' where id = %s",
    "deals.without_company": "update public.deals set company_id = null where id = %s",
    "deals.without_contact": "update public.deals set contact_ids = '{}' where id = %s",
    "companies.blank_name": "update public.companies set name = ' ' where id = %s",
    "contacts.blank_name": "update public.contacts set first_name = '', last_name = null where id = %s",
    "contacts.unreadable_email": 'update public.contacts set email_jsonb = \'{"email": "a@b"}\' where id = %s',
    "tasks.unmapped_type": "update public.tasks set type = 'never heard of' where id = %s",
}


def built(connection: Connection, settings: Settings, *selectors: Selector) -> None:
    control.install(connection, settings)
    control.begin_build(connection, RUN, settings.batch_size)
    wanted: tuple[Selector, ...] = selectors or ("sources_only",)
    for selector in wanted:
        transform.build(settings, RUN, selector)


@pytest.fixture(scope="session")
def built_template(
    postgres: EmbeddedServer, template_2026: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Name of a database in which everything is built and nothing is published."""
    with fresh_database(postgres, template=template_2026) as connection:
        folder = tmp_path_factory.mktemp("built")
        seeds = demo_data.demo_seeds(connection, folder / "seeds")
        settings = Settings(dsn=connection.info.dsn, work_dir=folder, seeds_dir=seeds, batch_size=40)
        built(connection, settings, "stage_1", "stage_1_5")
        name = connection.info.dbname
        connection.close()
        yield name


@pytest.fixture
def built_2026(postgres: EmbeddedServer, built_template: str) -> Iterator[Connection]:
    """A connection to a copy of it."""
    with fresh_database(postgres, template=built_template) as connection:
        yield connection


def keys(connection: Connection, code: str) -> set[str]:
    query = "select row_key from crm_migration.finding_rows where run_id = %s and code = %s"
    return {row[0] for row in connection.execute(query, [RUN, code])}


def test_each_check_names_exactly_the_rows_that_were_spoiled(legacy: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy)
    built(legacy, settings)
    gates.run(settings, legacy, "source", RUN)
    before = {code: keys(legacy, code) for code in SPOILED}
    chosen: dict[str, str] = {}
    legacy.execute("set session_replication_role = replica")
    for position, (code, statement) in enumerate(SPOILED.items()):
        table = code.split(".")[0]
        extra = " and cardinality(contact_ids) > 0 and company_id is not null" if table == "deals" else ""
        key = legacy.execute(
            f"select id from public.{table} where id::text <> all(%s){extra} order by id offset %s limit 1",
            [sorted(set().union(*before.values())), position],
        ).fetchone()
        assert key is not None
        legacy.execute(statement, [key[0]])
        chosen[code] = str(key[0])

    result = gates.run(settings, legacy, "source", RUN)

    assert result.evaluated == result.expected == len(gate_checks.read("source"))
    for code, key in chosen.items():
        assert keys(legacy, code) - before[code] == {key}, code
        counted = next(finding for finding in result.findings if finding.code == code)
        assert counted.rows == len(keys(legacy, code))


def test_no_check_compares_every_row_of_a_table_with_every_row_of_another(
    legacy_2026: Connection, mapped: MakeSettings
) -> None:
    built(legacy_2026, mapped(legacy_2026))
    legacy_2026.execute("set session_replication_role = replica")
    legacy_2026.execute(
        """
        insert into public.companies (id, created_at, name)
        select 10000 + n, now(), 'c' from generate_series(1, 20000) as n;
        insert into public.contacts (id, first_name, company_id)
        select 10000 + n, 'x', 10000 + n from generate_series(1, 20000) as n;
        insert into public.deals (id, name, stage, company_id, contact_ids, created_at, updated_at, index)
        select 10000 + n, 'd', 'won', 10000 + n, array[10000 + n], now(), now(), 0 from generate_series(1, 20000) as n;
        insert into public.tasks (id, contact_id, type, due_date)
        select 10000 + n, 10000 + n, 'call', now() from generate_series(1, 20000) as n;
        analyze public.companies, public.contacts, public.deals, public.tasks
        """
    )
    # four hundred million pairs take half a minute, the rows themselves tenths of a second
    hurried = mapped(legacy_2026, statement_timeout=8.0)
    db.set_timeout(legacy_2026, "statement_timeout", 8)
    result = gates.run(hurried, legacy_2026, "source", RUN)
    assert (result.evaluated, result.errored) == (result.expected, 0)


def test_a_list_of_lists_is_read_like_a_list(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    built(legacy_2026, settings)
    legacy_2026.execute("set session_replication_role = replica")
    contact = db.scalar(legacy_2026, "select min(id) from public.contacts")
    for key, ids in ((900001, [[contact, None], [404404, contact]]), (900002, [[None, 404404]]), (900003, [[contact]])):
        legacy_2026.execute(
            "insert into public.deals (id, name, stage, contact_ids, created_at, updated_at, index)"
            " values (%s, 'd', 'won', %s::bigint[], now(), now(), 0)",
            [key, ids],
        )
        legacy_2026.execute(
            "insert into public.contacts (id, first_name, tags) values (%s, 'x', %s::bigint[])", [key, ids]
        )
    gates.run(settings, legacy_2026, "source", RUN)
    for code, found in {
        "deals.null_contact": {"900001", "900002"},
        "deals.dangling_contact": {"900001", "900002"},
        "deals.duplicate_contact": {"900001"},
        "deals.without_contact": {"900002"},
        "contacts.dangling_tag": {"900001", "900002"},
    }.items():
        assert {key for key in keys(legacy_2026, code) if key.startswith("90000")} == found, code


def test_all_rows_are_written_down_and_five_are_shown(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    legacy_2026.execute("set session_replication_role = replica")
    legacy_2026.execute("update public.contacts set email_jsonb = '7'")
    built(legacy_2026, settings)
    result = gates.run(settings, legacy_2026, "source", RUN)
    found = next(finding for finding in result.findings if finding.code == "contacts.unreadable_email")
    assert found.rows == db.scalar(legacy_2026, "select count(*) from public.contacts") > soda_scan.ROWS
    assert len(found.sample_keys) == gates.SAMPLE_KEYS


def test_demo_data_is_below_the_threshold_and_a_broken_entity_is_not(legacy: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy)
    built(legacy, settings)
    gates.run(settings, legacy, "source", RUN)
    good = findings.verdict(legacy, settings, RUN, {})
    assert good.go, good.reasons
    assert set(good.entities) == set(gate_checks.ENTITIES)

    legacy.execute("set session_replication_role = replica")
    rows = db.scalar(legacy, "select count(*) from public.tasks")
    legacy.execute("update public.tasks set type = 'unheard of' where id in (select id from public.tasks limit %s)", [
        rows // 100 + 1
    ])  # fmt: skip
    gates.run(settings, legacy, "source", RUN)
    bad = findings.verdict(legacy, settings, RUN, {})
    assert not bad.go
    assert any("tasks" in reason for reason in bad.reasons)
    assert findings.verdict(legacy, settings, RUN, {"tasks.unmapped_type": "they are ours"}).go


def test_a_row_with_several_warnings_counts_once(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    built(legacy_2026, settings)
    gates.run(settings, legacy_2026, "source", RUN)
    before = findings.verdict(legacy_2026, settings, RUN, {}).entities["deals"].warned
    legacy_2026.execute("set session_replication_role = replica")
    legacy_2026.execute(
        "update public.deals set name = '', amount = -1, stage = 'x', updated_at = created_at - interval '1 day'"
        " where id = (select id from public.deals where id::text not in"
        " (select row_key from crm_migration.finding_rows where entity = 'deals') limit 1)"
    )
    gates.run(settings, legacy_2026, "source", RUN)
    assert findings.verdict(legacy_2026, settings, RUN, {}).entities["deals"].warned == before + 1


def test_a_rejected_deal_that_has_notes_is_a_blocker(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    built(legacy_2026, settings, "sources_only")
    deal = db.scalar(legacy_2026, "select min(deal_id) from public.deal_notes")
    legacy_2026.execute(
        "insert into crm_migration.rejected_records (run_id, model, key_value, batch_no, sqlstate, message, source_row)"
        " values (%s, 'opportunities', %s, 1, '23514', 'refused', '{}')",
        [RUN, deal],
    )
    verdict = findings.verdict(legacy_2026, settings, RUN, {})
    assert not verdict.go
    assert verdict.entities["deals"].rejected == 1
    assert {item.severity for item in verdict.findings if item.entity == "deals"} == {"blocker", "rejected"}


@pytest.mark.parametrize(
    ("sabotage", "code"),
    [
        ("delete from crm_build.opportunities where id = {deal}", "deals.fate"),
        ("update crm_build.opportunities set amount = coalesce(amount, 0) + 1 where id = {deal}", "deals.round_trip"),
        ("update crm_build.opportunities set legacy_stage = legacy_stage || ' ' where id = {deal}", "deals.round_trip"),
        ("update crm_build.opportunities set category = upper(category) where id = {deal}", "deals.round_trip"),
        ("update crm_build.opportunities set stage = 'needs_analysis' where id = {deal}", "deals.stage_mismatch"),
        ("delete from crm_build.opportunity_participants where opportunity_id = {deal}", "deals.participant_missing"),
        ("delete from crm_build.contact_organizations where contact_id = {contact}", "contacts.employer_link_missing"),
        ("delete from crm_build.contact_organizations where origin = 'deal'", "deals.contact_link_missing"),
        ("delete from crm_build.activities where legacy_task_id = {task}", "tasks.fate"),
        ("delete from crm_build.company_classifications where company_id = {company}", "companies.unclassified"),
    ],
)
def test_target_gate_finds_what_was_lost_or_changed(
    built_2026: Connection, mapped: MakeSettings, sabotage: str, code: str
) -> None:
    settings = mapped(built_2026)
    names = {
        "deal": "select min(id) from public.deals where company_id is not null and category is not null",
        "contact": "select min(id) from public.contacts where company_id is not null",
        "task": "select min(id) from public.tasks",
        "company": "select min(id) from public.companies",
    }
    values = {name: db.scalar(built_2026, query) for name, query in names.items()}
    built_2026.execute(sabotage.format(**values))
    result = gates.run(settings, built_2026, "target", RUN)
    assert code in {finding.code for finding in result.blockers}


def test_target_gate_is_silent_on_what_was_built(built_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(built_2026)
    result = gates.run(settings, built_2026, "target", RUN)
    assert result.findings == ()
    assert result.expected == result.evaluated == len(gate_checks.read("target"))


def test_rows_that_people_mended_meanwhile_become_an_info(built_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(built_2026)
    built_2026.execute("set session_replication_role = replica")
    spoil(built_2026, "2026", Mess.NEGATIVE_AMOUNT, rows=2)
    since = findings.snapshot(built_2026)
    gates.run(settings, built_2026, "source", RUN)
    named = keys(built_2026, "deals.negative_amount")
    mended = min(named)
    built_2026.execute("update public.deals set amount = 1 where id = %s", [int(mended)])
    gates.run(settings, built_2026, "target", RUN)
    assert mended in keys(built_2026, "deals.round_trip")

    assert findings.recheck_moved(built_2026, RUN, since) > 0

    assert keys(built_2026, "deals.negative_amount") == named - {mended}
    moved = [item for item in findings.load(built_2026, RUN, {}) if item.id.endswith(findings.MOVED)]
    assert {item.severity for item in moved} == {"info"}
    assert mended not in keys(built_2026, "deals.round_trip")


def test_a_query_that_fails_is_no_go(legacy_2026: Connection, mapped: MakeSettings, tmp_path: Path) -> None:
    settings = mapped(legacy_2026)
    control.install(legacy_2026, settings)
    folder = tmp_path / "soda"
    (folder / "source").mkdir(parents=True)
    good = {
        "name": "SRC-DEALS-001 is asked",
        "attributes": {"code": "deals.one", "entity": "deals", "severity": "info", "why": "a test"},
        "fail query": "select '1' as row_key where false",
    }
    bad = {
        "name": "SRC-DEALS-002 is not asked",
        "attributes": {"code": "deals.two", "entity": "deals", "severity": "info", "why": "a test"},
        "fail query": "select id as row_key from public.nothing_of_that_name",
    }
    document = {"checks for deals": [{"failed rows": good}, {"failed rows": bad}]}
    (folder / "source" / "deals.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(gates.GateIncomplete, match="SRC-DEALS-002"):
        gates.run(settings, legacy_2026, "source", RUN, folder=folder)
    assert db.scalar(legacy_2026, "select count(*) from crm_migration.findings") == 0


@pytest.fixture
def one_check(tmp_path: Path) -> Callable[[str], Path]:
    """`one_check(query)`: a folder whose source gate has this check and no other."""

    def write(query: str) -> Path:
        (tmp_path / "soda" / "source").mkdir(parents=True)
        check = {
            "name": "SRC-DEALS-001 is asked",
            "attributes": {"code": "deals.one", "entity": "deals", "severity": "blocker", "why": "a test"},
            "fail query": query,
        }
        text = yaml.safe_dump({"checks for deals": [{"failed rows": check}]})
        (tmp_path / "soda" / "source" / "deals.yml").write_text(text, encoding="utf-8")
        return tmp_path / "soda"

    return write


def test_a_row_without_a_key_is_found_too(
    legacy_2026: Connection, mapped: MakeSettings, one_check: Callable[[str], Path]
) -> None:
    settings = mapped(legacy_2026)
    control.install(legacy_2026, settings)
    folder = one_check(r"select * from (values (null), (E'a\tb\\c\nd'), ('ü'), ('ü')) as named (row_key)")
    result = gates.run(settings, legacy_2026, "source", RUN, folder=folder)
    assert [finding.rows for finding in result.blockers] == [3]
    assert keys(legacy_2026, "deals.one") == {"null", "a\tb\\c\nd", "ü"}


def test_a_check_that_was_not_asked_is_asked_whatever_stands(
    legacy_2026: Connection, mapped: MakeSettings, one_check: Callable[[str], Path]
) -> None:
    settings = mapped(legacy_2026)
    control.install(legacy_2026, settings)
    folder = one_check("select id::text as row_key from public.deals")
    result = gates.run(settings, legacy_2026, "source", RUN, folder=folder, standing={"deals.other"})
    assert [finding.rows for finding in result.findings] == [
        db.scalar(legacy_2026, "select count(*) from public.deals")
    ]


def test_soda_and_the_rows_must_say_the_same(
    legacy_2026: Connection,
    mapped: MakeSettings,
    one_check: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = mapped(legacy_2026)
    control.install(legacy_2026, settings)
    folder = one_check("select '1' as row_key")
    scan = soda_scan.scan
    monkeypatch.setattr(soda_scan, "scan", lambda name, asked, answers: scan(name, asked, {key: [] for key in answers}))
    with pytest.raises(gates.GateIncomplete, match="not what its rows say: SRC-DEALS-001"):
        gates.run(settings, legacy_2026, "source", RUN, folder=folder)
    assert keys(legacy_2026, "deals.one") == set()


def test_a_gate_without_its_build_is_no_go(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    control.install(legacy_2026, settings)
    with pytest.raises(gates.GateIncomplete):
        gates.run(settings, legacy_2026, "source", RUN)


def test_soda_writes_nothing_and_reads_no_env_file(
    legacy_2026: Connection, mapped: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = mapped(legacy_2026)
    built(legacy_2026, settings)
    home, folder = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    folder.mkdir()
    (folder / ".env").write_text("CRM_MIGRATE_SURPRISE=read\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    gates.run(settings, legacy_2026, "source", RUN)
    assert list(home.iterdir()) == []
    assert [path.name for path in folder.iterdir()] == [".env"]
    assert "CRM_MIGRATE_SURPRISE" not in os.environ


REFERENCE = re.compile(r"is_reference\('(\S+)', '(\w+)', '(\S+)'\)")


def test_published_gate_reads_every_row_of_a_reference_that_the_server_does_not_keep(
    stock: Installation,  # noqa: F811
) -> None:
    stock.cut_over()
    cutover.validate(stock.connection, stock.settings)
    asked = [
        (check, reference) for check in gate_checks.read("published") for reference in REFERENCE.findall(check.query)
    ]
    assert len({reference for _, reference in asked}) == len(asked) > 10
    # the demo's tasks have none, and -1 is no opportunity
    stock.execute("alter table public.activities drop constraint activities_interaction_has_opportunity_check")
    stock.execute("set session_replication_role = replica")
    for check, (table, column, parent) in asked:
        with stock.connection.transaction(force_rollback=True):
            assert db.scalar(stock.connection, "select crm_migration.is_reference(%s, %s, %s)", [table, column, parent])
            stock.execute(DROP_REFERENCE.format(table=table, column=column))
            assert stock.connection.execute(check.query.encode()).fetchall() == []
            changed = stock.connection.execute(
                f"update {table} set {column} = -1 where ctid ="
                f" (select ctid from {table} order by {column} is null limit 1)".encode()
            )
            assert changed.rowcount == 1, table
            assert stock.connection.execute(check.query.encode()).fetchall() != [], (check.id, column)


DROP_REFERENCE = """
    do $$
    declare
        found record;
    begin
        for found in
            select conname from pg_catalog.pg_constraint
            where conrelid = '{table}'::regclass and contype = 'f' and conkey = array[(
                select attnum from pg_catalog.pg_attribute where attrelid = conrelid and attname = '{column}'
            )]
        loop
            execute format('alter table {table} drop constraint %I', found.conname);
        end loop;
    end
    $$
"""


@pytest.mark.parametrize("secured", [True, False])
def test_row_level_security_is_demanded_where_the_legacy_tables_had_it(
    stock: Installation,  # noqa: F811
    secured: bool,
) -> None:
    tables = ("public.deals", f'public."{stock.notes}"')
    if not secured:
        for table in tables:
            stock.execute(f"alter table {table} disable row level security")
    stock.cut_over()

    def without() -> set[str]:
        found = gates.run(stock.settings, stock.connection, "published", stock.run_id)
        return {item.code for item in found.findings if item.code.endswith("row_security")}

    assert without() == set()
    for table in ("opportunities", "opportunity_notes", "opportunity_participants"):
        stock.execute(f"alter table public.{table} disable row level security")
    expected = {"deals.published_row_security", "notes.published_row_security"}
    assert without() == (expected if secured else {"deals.published_row_security"})
