"""Columns that an installation added to its tables, and stock columns that it has in another way."""

from __future__ import annotations

from hypothesis import strategies as st

from faults.anydb import values as v
from faults.anydb.own import COLLIDING, Addition, Own, lit, name, q


def _fill(draw: st.DrawFn, own: Own, table: str, relation: str, column: str, values: v.Values) -> list[str]:
    """Give some rows of a table values in a column."""
    statements = []
    for key in own.ids(table):
        value = draw(v.nullable(values))
        if value is not None:
            statements.append(f"update {relation} set {q(column)} = {lit(value)} where id = {key}")
    return statements


def _typed(draw: st.DrawFn, own: Own) -> tuple[str, v.Values, list[str]]:
    """A type, its values, and what makes it when it is the installation's own."""
    shape = draw(
        st.sampled_from(["plain", "plain", "plain", "domain", "enum", "composite", "enum array", "domain array"])
    )
    kind = draw(st.sampled_from(sorted(v.OWN_TYPES)))
    if shape == "plain":
        return kind, v.OWN_TYPES[kind], []
    called = name(draw, own)
    identity = f"public.{q(called)}"
    own.used.add("_" + called)
    if shape.startswith("domain"):
        base = draw(st.sampled_from(["text", "integer", "numeric(12,3)", "bigint[]", "timestamptz"]))
        made = f"create domain {identity} as {base} check (value is distinct from null or true)"
        values = v.OWN_TYPES[base]
    elif shape.startswith("enum"):
        labels = ["", "won", "a,b", 'q"', "x'y", "名"]
        made = f"create type {identity} as enum ({', '.join(lit(label) for label in labels)})"
        values = st.sampled_from(labels)
    else:
        made = f"create type {identity} as (a text, {q('B c')} numeric[])"
        values = st.sampled_from(['("",{})', '("a ""b"" \\\\ ,","{1,NULL}")', "(,)"])
    if shape.endswith("array"):
        if shape.startswith("domain") and base.endswith("[]"):
            return identity, values, [made]
        return identity + "[]", v.arrays(values), [made]
    return identity, values, [made]


def deal_column(draw: st.DrawFn, own: Own) -> Addition:
    """A column of deals, with values, default, not null."""
    called = name(draw, own, *COLLIDING[:-1])
    kind, values, statements = _typed(draw, own)
    statements.append(f"alter table public.deals add column {q(called)} {kind}")
    statements += _fill(draw, own, "deals", "public.deals", called, values)
    if draw(st.booleans()):
        default = draw(values)
        statements.append(f"alter table public.deals alter column {q(called)} set default {lit(default)}")
        if default is not None and draw(st.booleans()):
            statements.append(f"update public.deals set {q(called)} = default where {q(called)} is null")
            statements.append(f"alter table public.deals alter column {q(called)} set not null")
    if draw(st.booleans()):
        statements.append(f"comment on column public.deals.{q(called)} is {lit(draw(v.texts(40)) or 'x')}")
    own.columns[called] = kind
    return Addition("column of deals", tuple(statements))


def deal_column_with_rules(draw: st.DrawFn, own: Own) -> Addition:
    """A column of deals with a check, an index, a unique key, a key to a table of the installation's own."""
    called, table = name(draw, own, *COLLIDING[:-1]), name(draw, own)
    relation = f"public.{q(table)}"
    statements = [
        f"create table {relation} (id integer primary key, label text)",
        f"insert into {relation} values (1, 'one'), (2, 'two')",
        f"alter table public.deals add column {q(called)} integer",
    ]
    statements += _fill(draw, own, "deals", "public.deals", called, st.sampled_from(["1", "2"]))
    rules = draw(
        st.sets(
            st.sampled_from(["check", "check not valid", "index", "partial", "expression", "key", "unique", "exclude"])
        )
    )
    for rule in sorted(rules):
        label = name(draw, own)
        statements.append(
            {
                "check": f"alter table public.deals add constraint {q(label)} check"
                f" ({q(called)} > 0 or amount is null or true)",
                "check not valid": f"alter table public.deals add constraint {q(label)} check"
                f" ({q(called)} < 3 and stage is not null) not valid",
                "index": f"create index {q(label)} on public.deals ({q(called)} desc nulls last, stage, company_id)",
                "partial": f"create unique index {q(label)} on public.deals (id, {q(called)}) include (name)"
                f" where stage <> 'lost' and {q(called)} > 1",
                "expression": f"create index {q(label)} on public.deals (lower(stage), (amount / 2 + {q(called)}))",
                "key": f"alter table public.deals add constraint {q(label)} foreign key ({q(called)}) references"
                f" {relation} (id) on update cascade on delete set null deferrable initially deferred",
                "unique": f"alter table public.deals add constraint {q(label)} unique ({q(called)}, id) deferrable",
                "exclude": f"alter table public.deals add constraint {q(label)} exclude (id with =)"
                f" where ({q(called)} > 1)",
            }[rule]
        )
        if draw(st.booleans()):
            what = "index public." if rule in ("index", "partial", "expression") else "constraint "
            where = "" if what == "index public." else " on public.deals"
            statements.append(f"comment on {what}{q(label)}{where} is {lit(draw(v.texts(40)) or 'x')}")
    own.columns[called] = "integer"
    taken = called in COLLIDING and rules
    return Addition("column of deals with rules", tuple(statements), frozenset({"columns.taken"} if taken else ()))


def own_number(draw: st.DrawFn, own: Own) -> Addition:
    """A column of deals with a sequence of its own, or a gap among the columns."""
    called, sequence = name(draw, own), name(draw, own)
    statements = [
        "alter table public.deals add column passing text default 'gone', drop column passing",
        f"create sequence public.{q(sequence)} increment -3",
        f"alter table public.deals add column {q(called)} bigint default nextval({lit('public.' + q(sequence))})",
        f"alter sequence public.{q(sequence)} owned by public.deals.{q(called)}",
    ]
    own.columns[called] = "bigint"
    return Addition("numbered column of deals", tuple(statements))


def other_column(draw: st.DrawFn, own: Own) -> Addition:
    """A column of another table: also generated ones, and identities."""
    table = draw(st.sampled_from(["companies", "contacts", "tasks", "tags", "sales", "notes"]))
    relation = own.notes if table == "notes" else f"public.{table}"
    key = relation.removeprefix("public.").strip('"')
    shape = draw(st.sampled_from(["plain", "plain", "generated", "identity"]))
    called = name(draw, own)
    blockers: set[str] = set()
    if (table, called) == ("companies", "priority"):
        blockers.add("columns.taken")
    if shape == "generated":
        statements = [f"alter table {relation} add column {q(called)} text generated always as ('#' || id) stored"]
        kind = "text"
    elif shape == "identity":
        kind = "bigint"
        statements = [
            f"alter table {relation} add column {q(called)} bigint generated by default as identity (start with 7)"
        ]
    else:
        kind, values, statements = _typed(draw, own)
        statements.append(f"alter table {relation} add column {q(called)} {kind}")
        # the rows' own triggers would change them
        statements.append(f"alter table {relation} disable trigger user")
        statements += _fill(draw, own, key, relation, called, values)
        statements.append(f"alter table {relation} enable trigger user")
    if blockers and kind == "text":
        blockers = set()
    return Addition(f"column of {table}", tuple(statements), frozenset(blockers))


def stock_type(draw: st.DrawFn, own: Own) -> Addition:
    """A stock column of text as another kind of text, as some installations have it."""
    del own
    column = draw(st.sampled_from(["name", "stage", "category", "description"]))
    kind = draw(st.sampled_from(["extensions.citext", "varchar(400000)", 'text collate "C"']))
    return Addition("stock column", (f"alter table public.deals alter column {column} type {kind}",))
