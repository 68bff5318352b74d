"""What each role sees and may write under the old names: after the cutover the same as before, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate.server import EmbeddedServer
from installation import Installation, built_templates, copy_of  # noqa: F401  # fixtures

ROLES = ("anon", "authenticated", "service_role", "seller", "reader", "note_taker", "nobody")
SELLER = 1
OWN_VIEWS = ["board", "dear", "names", "noted"]
# what each role sees of a relation: by column, the values or the refusal
Seen = dict[tuple[str, str, str], str]


@pytest.fixture(params=[("2025", True), ("2026", False)], ids=["2025 with own objects", "2026"])
def guarded(
    request: pytest.FixtureRequest,
    postgres: EmbeddedServer,
    built_templates: Any,  # noqa: F811
    tmp_path: Path,
) -> Iterator[Installation]:
    """An installation whose sellers see their own rows, with roles that see dear deals, notes only, or nothing."""
    generation, own = request.param
    with copy_of(postgres, built_templates(generation, own=own), generation, tmp_path) as copied:
        names = sql.SQL(", ").join(map(sql.Identifier, ("seller", "reader", "note_taker", "nobody")))
        try:
            for name in ROLES[3:]:
                copied.execute(f"create role {name}")
            copied.connection.execute(sql.SQL("grant usage on schema public to {}").format(names))
            _guard(copied)
            yield copied
        finally:
            copied.connection.execute("reset role")
            copied.connection.execute(sql.SQL("drop owned by {} cascade").format(names))
            copied.connection.execute(sql.SQL("drop role {}").format(names))


def _guard(crm: Installation) -> None:
    contact_notes = '"contactNotes"' if crm.generation == "2025" else "contact_notes"
    for table in ("deals", "companies", "contacts", f'"{crm.notes}"', contact_notes, "tasks", "sales"):
        crm.execute(f"grant select, insert, update, delete on public.{table} to seller")
    for table in ("companies_summary", "contacts_summary"):
        crm.execute(f"grant select on public.{table} to seller")
    crm.execute("grant usage on all sequences in schema public to seller")
    for table in ("deals", "companies", "contacts", contact_notes, "tasks"):
        crm.execute(f"create policy own_rows on public.{table} to seller using (sales_id = {SELLER})")
    crm.execute("create policy colleagues on public.sales for select to seller using (true)")
    # a note is seen with its deal: the policy asks the table that goes away
    crm.execute(
        "create policy with_the_deal on NOTES to seller"
        " using (exists (select from public.deals where deals.id = deal_id and deals.stage <> 'lost'))"
    )
    crm.execute("grant select, update (name, stage) on public.deals to reader")
    crm.execute("create policy worth_it on public.deals to reader using (amount > 1000)")
    crm.execute("grant select on NOTES to note_taker")
    crm.execute("create policy takes_notes on NOTES for select to note_taker using (true)")
    # views with the rights of their owners, who are that of the tables and one who sees dear deals
    crm.execute("create view public.board as select id, name, stage, amount from public.deals where amount > 10")
    crm.execute("create view public.dear as select * from public.deals")
    crm.execute("alter view public.dear owner to reader")
    crm.execute("create view public.names with (security_invoker = true) as select id, name from public.dear")
    crm.execute(
        "create view public.noted as select notes.id, deals.name, notes.text"
        " from NOTES as notes inner join public.deals on deals.id = notes.deal_id"
    )
    crm.execute("grant select, update, delete on public.board, public.dear to nobody")
    crm.execute("grant select on public.noted to anon")
    crm.execute("grant select on public.board, public.dear, public.names to anon, seller")
    if crm.generation == "2026":
        crm.execute("grant select on public.activity_log to seller, note_taker")


def relations(crm: Installation) -> dict[str, list[str]]:
    """The old names and the columns that they have now; of the log those that are not whole rows."""
    names = ["deals", crm.notes, "companies", "contacts", "tasks", "companies_summary", "contacts_summary"]
    names += OWN_VIEWS
    columns: dict[str, list[str]] = {}
    for name in names:
        found = crm.execute(
            "select attname::text from pg_catalog.pg_attribute where attrelid = %s::regclass and attnum > 0"
            " and not attisdropped order by attnum",
            sql.Identifier("public", name).as_string(None),
        )
        columns[name] = [row[0] for row in found]
    if crm.generation == "2026":
        columns["activity_log"] = ["id", "type", "date", "company_id", "sales_id"]
    return columns


def seen(crm: Installation, columns: dict[str, list[str]]) -> Seen:
    """What every role sees, column by column: the values with their multiplicity."""
    found: Seen = {}
    for role in ROLES:
        crm.execute(f"set role {role}")
        for relation, names in columns.items():
            for name in names:
                query = sql.SQL("select {column}::text from {relation} order by 1").format(
                    column=sql.Identifier(name), relation=sql.Identifier("public", relation)
                )
                try:
                    found[role, relation, name] = repr(crm.connection.execute(query).fetchall())
                except psycopg.errors.InsufficientPrivilege:
                    found[role, relation, name] = "refused"
        crm.execute("reset role")
    return found


def differences(before: Seen, after: Seen) -> list[str]:
    return [
        f"{' '.join(where)}: {before[where][:80]} became {after[where][:80]}"
        for where in before
        if before[where] != after[where]
    ]


def test_old_names_show_each_role_what_they_showed(guarded: Installation) -> None:
    columns = relations(guarded)
    before = seen(guarded, columns)
    assert before["seller", "deals", "id"] != before["authenticated", "deals", "id"] != "[]"
    assert before["seller", "deals", "id"].count("(") > 5
    assert before["reader", "deals", "name"].count("(") > 5
    assert before["reader", guarded.notes, "id"] == before["nobody", "deals", "id"] == "refused"
    assert before["note_taker", guarded.notes, "id"].count("(") > 5
    assert before["anon", "board", "id"] != before["anon", "dear", "id"]
    assert all(before["anon", view, "id"].count("(") > 5 for view in OWN_VIEWS)
    assert before["anon", "deals", "id"] in ("refused", "[]")
    guarded.cut_over()
    assert differences(before, seen(guarded, columns)) == []

    # a view that runs as its owner would show what the policies hide
    with guarded.connection.transaction(force_rollback=True):
        guarded.execute("alter view public.deals set (security_invoker = false)")
        guarded.execute("set local role seller")
        sabotaged = repr(guarded.execute("select id::text from public.deals order by 1"))
        assert sabotaged != before["seller", "deals", "id"]

    # policies and grants are the installation's: they come back with the tables
    guarded.roll_back(keep_changes=True)
    assert differences(before, seen(guarded, columns)) == []


def test_views_with_the_rights_of_their_owners_write_as_before(guarded: Installation) -> None:
    writes = {
        f"{view}: {statement}": f"{statement.format(view=view)} returning id"
        for view in ("board", "dear")
        for statement in (
            "update public.{view} set name = 'changed' where id in (select id from public.{view} order by id limit 3)",
            "update public.{view} set amount = 0 where id = (select max(id) from public.{view})",
            "delete from public.{view} where id = (select min(id) from public.{view})",
        )
    }
    before = {what: written(guarded, statement) for what, statement in writes.items()}
    assert before["board: " + next(iter(writes)).split(": ", 1)[1]].count("(") == 3
    assert any("42501" in outcome for outcome in before.values()), "the rights of the owner have an end, too"
    guarded.cut_over()
    assert {what: written(guarded, statement) for what, statement in writes.items()} == before

    # a stand-in is for its view alone
    for role in ROLES:
        guarded.execute(f"set role {role}")
        for number, owner in (("1", "board"), ("2", "dear")):
            if (role, owner) != ("reader", "dear"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    guarded.execute(f"select from crm_compat.deals_{number}")
        guarded.execute("reset role")


def written(crm: Installation, statement: str) -> str:
    """What somebody without any rights on deals is answered; it is as before afterwards."""
    with crm.connection.transaction(force_rollback=True):
        crm.execute("set local role nobody")
        try:
            return repr(sorted(crm.execute(statement)))
        except psycopg.Error as error:
            return str(error.sqlstate)


OF_ROWS = {
    "opportunity_participants": "opportunity_id in (select id from public.opportunities)",
    "contact_organizations": "contact_id in (select id from public.contacts)"
    " and organization_id in (select id from public.companies)",
    "activities": "(opportunity_id is null or opportunity_id in (select id from public.opportunities))"
    " and (contact_id is null or contact_id in (select id from public.contacts))",
    "principal_distributor_relationships": "principal_organization_id in (select id from public.companies)"
    " and distributor_organization_id in (select id from public.companies)",
    "opportunities_summary": "id in (select id from public.opportunities)",
}


def test_new_tables_show_no_row_without_the_rows_it_belongs_to(guarded: Installation) -> None:
    guarded.execute("set role seller")
    deals = guarded.execute("select id from public.deals order by id")
    guarded.execute("reset role")
    guarded.cut_over()
    rows: dict[tuple[str, str], int] = {}
    for role in ROLES:
        guarded.execute(f"set role {role}")
        for table, belongs in OF_ROWS.items():
            try:
                rows[role, table] = guarded.value(f"select count(*) from public.{table}")
                assert guarded.value(f"select count(*) from public.{table} where {belongs}") == rows[role, table]
            except psycopg.errors.InsufficientPrivilege:
                rows[role, table] = -1
        guarded.execute("reset role")
    for table in OF_ROWS:
        assert rows["note_taker", table] == rows["nobody", table] == -1, table
        assert rows["seller", table] <= rows["authenticated", table], table
        assert rows["anon", table] <= 0, table
    for table in ("opportunity_participants", "contact_organizations"):
        assert 0 < rows["seller", table] < rows["service_role", table], table
    guarded.execute("set role seller")
    assert guarded.execute("select id from public.opportunities order by id") == deals
    guarded.execute("reset role")
    assert 0 < rows["reader", "opportunity_participants"] < rows["service_role", "opportunity_participants"]
    # who reads notes only may ask whether their opportunity is there, but the policies of deals show it none
    guarded.execute("set role note_taker")
    assert guarded.value("select count(id) from public.opportunities") == 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        guarded.execute("select name from public.opportunities")
    guarded.execute("reset role")


def attempts(crm: Installation) -> dict[str, Any]:
    """What became of writes that a role makes under the old names, each taken back: rows, or the refusal."""
    own, lost, foreign = (
        crm.value(f"select min(id) from public.deals where {condition} and company_id is not null")
        for condition in (
            f"sales_id = {SELLER} and stage not in ('lost', 'archived')",
            f"sales_id = {SELLER} and stage = 'lost'",
            f"sales_id <> {SELLER}",
        )
    )
    writes = {
        "edit own": f"update public.deals set name = 'mine' where id = {own}",
        "edit foreign": f"update public.deals set name = 'mine' where id = {foreign}",
        "give away": f"update public.deals set sales_id = {SELLER + 1} where id = {own}",
        "delete foreign": f"delete from public.deals where id = {foreign}",
        "delete own": f"delete from public.deals where id = {own}",
        "edit everything": "update public.deals set description = 'x'",
        "create own": f"insert into public.deals (name, stage, sales_id) values ('n', 'won', {SELLER})",
        "create foreign": f"insert into public.deals (name, stage, sales_id) values ('n', 'won', {SELLER + 1})",
        "note on own": f"insert into NOTES (deal_id, text, date, sales_id) values ({own}, 'n', now(), {SELLER})",
        "note on lost": f"insert into NOTES (deal_id, text, date, sales_id) values ({lost}, 'n', now(), {SELLER})",
        "note on foreign": f"insert into NOTES (deal_id, text, date, sales_id) values ({foreign}, 'n', now(), 1)",
        "edit every note": "update NOTES set text = 'x'",
        "delete every note": "delete from NOTES",
    }
    outcomes: dict[str, Any] = {}
    for role in ROLES:
        for name, statement in writes.items():
            query = statement.replace("NOTES", f'public."{crm.notes}"')
            try:
                with crm.connection.transaction(force_rollback=True):
                    crm.execute(f"set local role {role}")
                    outcomes[f"{role}: {name}"] = crm.connection.execute(query).rowcount
            except psycopg.Error as error:
                outcomes[f"{role}: {name}"] = error.sqlstate
    return outcomes


def test_writes_under_the_old_names_obey_the_same_policies(guarded: Installation) -> None:
    before = attempts(guarded)
    assert before["seller: edit own"] == before["seller: create own"] == before["seller: note on own"] == 1
    assert before["seller: edit foreign"] == 0
    assert before["seller: create foreign"] == before["seller: give away"] == "42501"
    assert before["reader: give away"] == before["nobody: note on own"] == "42501"
    guarded.cut_over()
    after = attempts(guarded)
    assert {name: (before[name], after[name]) for name in before if before[name] != after[name]} == {}


def test_role_that_reads_some_columns_only_is_in_the_way(guarded: Installation) -> None:
    guarded.execute("grant select (id, name) on public.deals to note_taker, reader")
    guarded.execute("grant select (id, text) on NOTES to nobody")
    blockers = {blocker.message: blocker for blocker in guarded.rehearse().blockers}
    deals, notes = sorted(blockers, key=len)
    assert {blocker.code for blocker in blockers.values()} == {"grants.columns_only"}
    # `reader` has the whole table as well
    assert blockers[deals].sample_keys == ("note_taker",)
    assert blockers[notes].sample_keys == ("nobody",)
    assert guarded.notes in notes
