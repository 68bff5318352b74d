"""Tables, views, policies, functions, publications and triggers of an installation."""

from __future__ import annotations

from hypothesis import strategies as st

from faults.anydb import values as v
from faults.anydb.own import Addition, Own, lit, name, q


def own_table(draw: st.DrawFn, own: Own) -> Addition:
    """A table that refers to deals, in this schema or another one."""
    schema = draw(st.sampled_from(["public", "public", "own schema"]))
    called, key, label = name(draw, own), name(draw, own), name(draw, own)
    relation = f"{q(schema)}.{q(called)}"
    action = draw(st.sampled_from(["cascade", "set null", "restrict", "no action", "set default"]))
    options = draw(st.sampled_from(["", " deferrable initially deferred", " not valid", " on update cascade"]))
    statements = [f"create schema if not exists {q(schema)}"] if schema != "public" else []
    persistence = draw(st.sampled_from(["", "", "unlogged "]))
    primary = draw(st.sampled_from([" primary key", "", " unique"]))
    statements += [
        (
            f"create {persistence}table {relation} ({q(label)} integer{primary}, {q(key)} bigint, note text,"
            f" constraint {q(label)} foreign key ({q(key)}) references public.deals (id) on delete {action}{options})"
        ),
    ]
    for position, deal in enumerate(own.ids("deals")):
        statements.append(f"insert into {relation} values ({position}, {deal}, {lit(draw(v.texts(20)))})")
    if draw(st.booleans()):
        statements.append(f"alter table {relation} enable row level security")
        statements.append(
            f"create policy {q(label)} on {relation} for select to authenticated"
            f" using (exists (select from public.deals where deals.id = {q(key)} and deals.stage <> 'lost'))"
        )
    return Addition("table with a key to deals", tuple(statements))


VIEWS = {
    "everything": "select * from public.deals",
    "some": 'select id, stage as "Stage", expected_closing_date, amount::numeric / 3 as third from public.deals'
    " where stage <> 'lost' and archived_at is null",
    "joined": "select d.*, c.name as company from public.deals as d"
    " left join public.companies as c on c.id = d.company_id",
    "counted": "select stage, count(*) as deals, sum(amount) as amount, min(expected_closing_date) as first"
    " from public.deals group by stage",
    "whole rows": "select d as deal, to_json(d.*) as document from public.deals as d",
    "windowed": "with recursive r as (select id, company_id from public.deals where company_id is null union"
    " select d.id, d.company_id from public.deals as d inner join r on r.id = d.company_id)"
    ' select id, row_number() over (order by "index", id) from r',
    "lateral": "select d.id, m.contact_id from public.deals as d"
    " cross join lateral unnest(d.contact_ids) as m (contact_id)",
    "summary": "select * from public.companies_summary where nb_deals >= 0",
    "of contacts": "select id, nb_tasks, company_name from public.contacts_summary",
    "state": "select is_initialized from public.init_state",
    "notes": "select * from {notes}",
    "notes and deals": "select n.id, n.deal_id, d.stage from {notes} as n"
    " inner join public.deals as d on d.id = n.deal_id",
}
GROUPED = (
    "select d.*, count(n.id) as notes from public.deals as d left join {notes} as n on n.deal_id = d.id group by d.id"
)


def own_view(draw: st.DrawFn, own: Own) -> Addition:
    """A view, or one on a view."""
    called = name(draw, own)
    schema = draw(st.sampled_from(["public", "public", "own schema"]))
    relation = f"{q(schema)}.{q(called)}"
    statements = [f"create schema if not exists {q(schema)}"] if schema != "public" else []
    options = draw(
        st.sampled_from(
            ["", " with (security_invoker = true)", " with (security_barrier = true, security_invoker = off)"]
        )
    )
    stock: str = draw(st.sampled_from(sorted(VIEWS)))
    query = VIEWS[stock].format(notes=own.notes)
    if draw(st.booleans()) and own.views:
        query = f"select * from {draw(st.sampled_from(own.views))}"
    shape = draw(st.sampled_from(["plain", "plain", "plain", "checked", "materialized", "empty"]))
    if shape in ("materialized", "empty"):
        statements.append(
            f"create materialized view {relation} as {query}{' with no data' if shape == 'empty' else ''}"
        )
    else:
        simple = query in (VIEWS["everything"], VIEWS["some"])
        check = " with check option" if shape == "checked" and simple else ""
        statements.append(f"create view {relation}{options} as {query}{check}")
    if draw(st.booleans()):
        kind = "materialized view" if shape in ("materialized", "empty") else "view"
        statements.append(f"comment on {kind} {relation} is {lit(draw(v.texts(40)) or 'x')}")
    if draw(st.booleans()):
        statements.append(f"revoke all on {relation} from anon")
        statements.append(f"grant select on {relation} to authenticated with grant option")
    own.views.append(relation)
    return Addition("view", tuple(statements))


def grouped_view(draw: st.DrawFn, own: Own) -> Addition:
    """A view that needs the primary key of deals, which a view has not."""
    called = name(draw, own)
    statement = f"create view public.{q(called)} as {GROUPED.format(notes=own.notes)}"
    return Addition("view by primary key", (statement,), frozenset({"view.not_carried"}))


def own_policy(draw: st.DrawFn, own: Own) -> Addition:
    """A policy, on deals or on what belongs to them."""
    called = name(draw, own)
    table = draw(st.sampled_from(["public.deals", "public.deals", own.notes, "public.contacts"]))
    role = draw(st.sampled_from(["authenticated", "anon, service_role", "public"]))
    kind = draw(st.sampled_from(["permissive", "restrictive"]))
    condition = {
        "public.deals": draw(
            st.sampled_from(
                [
                    "stage <> 'lost' and company_id is not null",
                    "expected_closing_date > '2020-01-01' or amount > 0",
                    "exists (select from public.contacts where contacts.id = any (deals.contact_ids))",
                    "sales_id = (select s.id from public.sales as s where s.user_id = auth.uid()) or true",
                ]
            )
        ),
        own.notes: "exists (select from public.deals as d where d.id = deal_id and d.stage is not null)",
        "public.contacts": "exists (select from public.deals as d where contacts.id = any (d.contact_ids)) or true",
    }[table]
    command = draw(st.sampled_from(["select", "all", "update"]))
    check = f" with check ({condition})" if command != "select" and draw(st.booleans()) else ""
    statements = [f"create policy {q(called)} on {table} as {kind} for {command} to {role} using ({condition}){check}"]
    if draw(st.booleans()):
        statements.append(f"comment on policy {q(called)} on {table} is {lit(draw(v.texts(40)) or 'x')}")
    return Addition("policy", tuple(statements))


def own_function(draw: st.DrawFn, own: Own) -> Addition:
    """A function or procedure that names deals, or takes or gives rows of it."""
    called = q(name(draw, own))
    shape = draw(st.sampled_from(["text", "atomic", "argument", "rows", "procedure", "plpgsql", "default"]))
    statement = {
        "text": f"create function public.{called}(a bigint) returns bigint language sql stable"
        " as 'select count(*) from public.deals where company_id = a'",
        "atomic": f"create function public.{called}(a text) returns bigint language sql stable"
        " begin atomic select count(*) from public.deals where stage = a; end",
        "argument": f"create function public.{called}(deal public.deals) returns text language sql stable"
        " as 'select deal.name || deal.stage'",
        "rows": f"create function public.{called}(a bigint) returns setof public.deals language sql stable"
        " as 'select * from public.deals where company_id = a'",
        "procedure": f"create procedure public.{called}(a bigint) language sql"
        " as 'select id from public.deals where id = a'",
        "plpgsql": f"create function public.{called}() returns integer language plpgsql as $f$"
        " declare d public.deals%rowtype; begin for d in select * from public.deals loop perform d.stage; end loop;"
        " return 1; end $f$",
        "default": f"create function public.{called}(a bigint default 1, out b text, variadic c text[] default '{{}}')"
        " language sql immutable strict security definer set search_path = '' cost 7 as 'select a::text'",
    }[shape]
    statements = [statement]
    if draw(st.booleans()):
        kind = "procedure" if shape == "procedure" else "function"
        statements.append(f"revoke all on {kind} public.{called} from public, anon")
        statements.append(f"comment on {kind} public.{called} is 'It''s ours.'")
    return Addition("function", tuple(statements))


def own_publication(draw: st.DrawFn, own: Own) -> Addition:
    """A publication with deals in it."""
    called = q(name(draw, own))
    what = draw(
        st.sampled_from(
            [
                "for table public.deals",
                "for table public.deals, public.companies, only public.contacts",
                "for table public.deals (id, stage, company_id)",
                "for table public.deals where (id > 0)",
                f"for table {own.notes}",
                "for tables in schema public",
                "for all tables",
                "",
            ]
        )
    )
    options = draw(st.sampled_from(["", " with (publish = 'insert, truncate')"]))
    return Addition("publication", (f"create publication {called} {what}{options}",))


def own_trigger(draw: st.DrawFn, own: Own) -> Addition:
    """A trigger: on deals the operator has to decide, elsewhere it stays."""
    called, function = name(draw, own), q(name(draw, own))
    table = draw(st.sampled_from(["public.deals", "public.companies", own.notes, "public.tasks"]))
    event = draw(
        st.sampled_from(
            [
                "before update",
                "after insert or delete",
                "after truncate",
                "after update of id",
            ]
        )
    )
    level = "statement" if "truncate" in event else "row"
    constraint = event == "after insert or delete" and draw(st.booleans())
    made = f"create {'constraint ' if constraint else ''}trigger {q(called)} {event} on {table}"
    if constraint:
        made += " deferrable initially deferred"
    statements = [
        (
            f"create function public.{function}() returns trigger language plpgsql"
            " as 'begin return coalesce(new, old); end'"
        ),
        f"{made} for each {level} execute function public.{function}()",
    ]
    state = draw(st.sampled_from([None, "disable", "enable always", "enable replica"]))
    if state:
        statements.append(f"alter table {table} {state} trigger {q(called)}")
    if draw(st.booleans()):
        statements.append(f"comment on trigger {q(called)} on {table} is {lit(draw(v.texts(40)) or 'x')}")
    if table != "public.deals":
        return Addition("trigger", tuple(statements))
    if draw(st.integers(0, 9)):
        return Addition("dropped trigger", tuple(statements), triggers={called: "drop"})
    return Addition("undecided trigger", tuple(statements), frozenset({"triggers.undecided"}))
