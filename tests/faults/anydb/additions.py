"""What an installation added to its CRM: columns, tables, views, policies, functions, publications, triggers.

Each addition is a few statements, the codes of the blockers that it has to raise, and the decisions that it needs. An
addition without blockers has to survive the way there and back.
"""

from __future__ import annotations

from hypothesis import strategies as st

from faults.anydb import columns, objects
from faults.anydb.own import Addition, Maker, Own
from faults.anydb.rows import Rows


def own_access(draw: st.DrawFn, own: Own) -> Addition:
    """Grants, row level security and the like, otherwise than in a stock CRM."""
    statements = draw(
        st.sets(
            st.sampled_from(
                [
                    "revoke all on public.deals from anon, public",
                    "revoke insert on public.deals from authenticated",
                    "grant insert (name, stage, company_id) on public.deals to authenticated",
                    "grant select (id, stage, expected_closing_date) on public.deals to anon with grant option",
                    "grant update (stage) on public.deals to public",
                    "alter table public.deals force row level security",
                    "alter table public.deals disable row level security",
                    "alter table public.deals replica identity full",
                    "alter table public.deals replica identity nothing",
                    "alter table public.companies replica identity full",
                    "alter table public.deals set (fillfactor = 70, autovacuum_enabled = off)",
                    "alter table public.deals alter column name set statistics 7",
                    "alter table public.deals alter column description set storage external",
                    "create statistics public.deals_own on stage, category from public.deals",
                    "comment on table public.deals is 'It''s ours; \\ and \"more\"'",
                    "grant all on public.companies_summary to public",
                    f"grant delete on {own.notes} to public with grant option",
                    'alter table public.contacts rename constraint contacts_pkey to "pkey; of contacts"',
                    'alter index public.deals_pkey rename to "Deals Key"',
                    'alter sequence public.deals_id_seq rename to "Deals Seq"',
                    "alter sequence public.deals_id_seq increment by 5 cache 3",
                    "alter sequence public.deals_id_seq minvalue -9223372036854775808 start with -5 restart with -5",
                    "alter table public.deals alter column id set generated always",
                ]
            ),
            max_size=4,
        )
    )
    some_columns = any(s.startswith("grant select (") for s in statements) and any("from anon" in s for s in statements)
    return Addition(
        "access", tuple(sorted(statements, reverse=True)), frozenset({"grants.columns_only"} if some_columns else ())
    )


def colliding_object(draw: st.DrawFn, own: Own) -> Addition:
    """A relation, type or function that has the name of a new one."""
    del own
    statement, code = draw(
        st.sampled_from(
            [
                ("create table public.activities (id uuid primary key)", "names.taken"),
                ("create view public.opportunities_summary as select 1 as one", "names.taken"),
                ("create sequence public.products", "names.taken"),
                ("create type public.priority_level as enum ('a')", "names.taken"),
                ("create domain public.contact_role as text", "names.taken"),
                ("create function public.log_engagement() returns int language sql as 'select 1'", "names.taken"),
                ("alter table public.companies add column is_principal text", "columns.taken"),
                ("alter table public.contacts add column role text", "columns.taken"),
                ("create rule mine as on insert to public.deals do also select 1", "deals.rule"),
                ("create table public.more_deals () inherits (public.deals)", "deals.inheritance"),
                (
                    "alter table public.deals add column doubled bigint generated always as (amount - amount) stored",
                    "deals.generated",
                ),
                ("create table public.snapshots (id int, deal public.deals)", "dependants.other"),
                (
                    "create table public.parts (id bigint references public.deals (id)) partition by hash (id)",
                    "deals.partitioned_reference",
                ),
            ]
        )
    )
    return Addition("in the way", (statement,), frozenset({code}))


# how often each is drawn
MAKERS: tuple[tuple[Maker, int], ...] = (
    (columns.deal_column, 4),
    (columns.deal_column_with_rules, 2),
    (columns.own_number, 1),
    (columns.other_column, 2),
    (columns.stock_type, 1),
    (objects.own_table, 3),
    (objects.own_view, 4),
    (objects.own_policy, 2),
    (objects.own_function, 2),
    (objects.own_publication, 1),
    (objects.own_trigger, 2),
    (own_access, 2),
)
BLOCKING: tuple[Maker, ...] = (colliding_object, objects.grouped_view)


def _position(maker: Maker) -> int:
    """A view keeps the columns that it was made with, and a type cannot change below a view."""
    if maker is columns.stock_type:
        return 0
    return 1 if maker.__module__ == columns.__name__ else 2


@st.composite
def additions(draw: st.DrawFn, generation: str, rows: Rows) -> tuple[Addition, ...]:
    """Some additions; one in eight installations has something that blocks on purpose."""
    own = Own(generation, rows)
    makers = [maker for maker, weight in MAKERS for _ in range(weight)]
    least = draw(st.sampled_from([0, 2, 4]))
    chosen = draw(st.lists(st.sampled_from(makers), min_size=least, max_size=8))
    found = [maker(draw, own) for maker in sorted(chosen, key=_position)]
    if draw(st.integers(0, 7)) == 5:
        found.append(draw(st.sampled_from(BLOCKING))(draw, own))
    return tuple(found)
