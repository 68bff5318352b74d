"""The logical fingerprint: blind for what people cannot see, and for nothing else."""

from __future__ import annotations

import pytest

from crm_migrate import fingerprint, lock
from installation import Installation, built_templates, modern  # noqa: F401  # fixtures

# each statement changes one thing that people would notice
SABOTAGE = {
    "a value swapped": (
        "content",
        (
            "update public.deals set amount = other.amount from public.deals as other"
            " where deals.id + other.id = 3 and deals.id in (1, 2)"
        ),
    ),
    "citext in other case": ("content", "update public.sales set email = upper(email::text) where id = 1"),
    "json with another blank": ("content", "update public.companies set context_links = '[ ]' where id = 1"),
    "a value beside a column called content": ("content", "update public.reminders set ticket = null where id = 1"),
    "a row gone": ("content", "delete from public.payouts where id = 1"),
    "a grant dropped": ("grant", "revoke select on public.tasks from authenticated"),
    "a column grant dropped": ("grant", "revoke update (stage) on public.deals from authenticated"),
    "a grant more": ("grant", "grant delete on public.payouts to public"),
    "a grant option": ("grant", "grant select on public.tasks to authenticated with grant option"),
    "a view's query": (
        "view",
        "create or replace view public.deals_of_deals as select id, label from public.deals_summary",
    ),
    "a view's option": ("relation", "alter view public.deals_summary set (security_barrier = false)"),
    "a view's default": ("column", "alter view public.deals_summary alter amount drop default"),
    "a comment": ("column", "comment on column public.deals.score is null"),
    "a comment on an index": ("index", "comment on index public.deals_score_idx is null"),
    "a trigger enabled": ("trigger", "alter table public.deals enable trigger deal_quiet"),
    "a policy": ("policy", 'drop policy "Own rows" on public.deals'),
    "a policy's check": ("policy", 'alter policy "Own rows" on public.deals with check (true)'),
    "row level security off": ("relation", "alter table public.payouts disable row level security"),
    "an index": ("index", "drop index public.deals_score_idx"),
    "a constraint": ("constraint", "alter table public.deals drop constraint deals_score_below_ninety"),
    "a foreign key's action": (
        "constraint",
        (
            "alter table public.payouts drop constraint payouts_deal_id_fkey,"
            " add constraint payouts_deal_id_fkey foreign key (deal_id) references public.deals (id)"
        ),
    ),
    "a foreign key unchecked": (
        "constraint",
        (
            "alter table public.payouts drop constraint payouts_deal_id_fkey, add constraint payouts_deal_id_fkey"
            " foreign key (deal_id) references public.deals (id) on delete cascade not valid"
        ),
    ),
    "a default": ("column", "alter table public.deals alter score set default 11"),
    "not null": ("column", "alter table public.deals alter score drop not null"),
    "replica identity": ("relation", "alter table public.deals replica identity default"),
    "a row filter": ("publication_table", "alter publication new_deals set table public.deals (id) where (id > 5)"),
    "a publication": ("publication", "alter publication new_deals set (publish = 'insert, truncate')"),
    "a function's text": (
        "function",
        (
            "create or replace function public.note_won() returns trigger language plpgsql set search_path = ''"
            " as $$ begin return null; end $$"
        ),
    ),
    "a function's grants": ("function", "grant execute on function public.deal_label(public.deals) to anon"),
    "a domain's rule": ("type", "alter domain public.score_value drop constraint score_value_check"),
    "a sequence's step": ("sequence", "alter sequence public.deals_counter_seq increment 2"),
    "a sequence ahead": ("sequence_value", "select nextval('public.deals_id_seq')"),
    "statistics": ("statistics", "drop statistics public.deals_stage_category"),
    "a role's limit": ("role", "alter role authenticator connection limit 3"),
}


@pytest.mark.parametrize("change", SABOTAGE)
def test_fingerprint_sees(change: str, modern: Installation) -> None:  # noqa: F811
    kind, statement = SABOTAGE[change]
    before = fingerprint.take(modern.connection)
    modern.execute("alter table public.deals disable trigger user")
    modern.execute(statement)
    modern.execute("alter table public.deals enable trigger user")
    if change != "a trigger enabled":
        modern.execute("alter table public.deals disable trigger deal_quiet")
    after = fingerprint.take(modern.connection)
    assert kind in {difference.kind for difference in fingerprint.compare(before, after)}
    assert before.digest != after.digest


def test_fingerprint_does_not_see_what_only_the_server_sees(modern: Installation) -> None:  # noqa: F811
    before = fingerprint.take(modern.connection)
    modern.execute("alter table public.deals add column passing text")
    modern.execute("alter table public.deals drop column passing")
    modern.execute("vacuum full analyze public.deals")
    modern.execute("cluster public.tasks using tasks_pkey")
    modern.execute("alter table public.tasks set without cluster")
    assert fingerprint.compare(before, fingerprint.take(modern.connection)) == []


def test_the_lock_leaves_no_trace_in_the_fingerprint(modern: Installation) -> None:  # noqa: F811
    before = fingerprint.take(modern.connection)
    locked = lock.acquire(modern.connection, modern.settings, run_id=modern.run_id)
    assert fingerprint.compare(before, fingerprint.take(modern.connection)) != [], "the lock takes nothing away"
    assert fingerprint.compare(before, fingerprint.take(modern.connection, locked=locked)) == []
    lock.release(modern.connection, modern.settings)
    assert fingerprint.compare(before, fingerprint.take(modern.connection)) == []


def test_schema_digest_is_about_the_schema(modern: Installation) -> None:  # noqa: F811
    before = fingerprint.schema_digest(modern.connection)
    modern.execute("insert into public.tags (name, color) values ('new', 'red')")
    assert fingerprint.schema_digest(modern.connection) == before
    modern.execute("alter table public.tags add column weight integer")
    assert fingerprint.schema_digest(modern.connection) != before


def test_tables_read_side_by_side_are_those_read_one_by_one(modern: Installation) -> None:  # noqa: F811
    alone = fingerprint.take(modern.connection)
    assert fingerprint.take(modern.connection, settings=modern.settings) == alone
    with modern.connection.transaction(force_rollback=True):
        modern.execute("insert into public.tags (name, color) values ('new', 'red')")
        mine = fingerprint.take(modern.connection, settings=modern.settings)
        assert mine.contents["tags"]["rows"] == alone.contents["tags"]["rows"] + 1, "its own rows are not seen"


def test_kept_fingerprint_is_the_one_that_was_taken(modern: Installation) -> None:  # noqa: F811
    taken = fingerprint.remember(modern.connection, modern.run_id, "before", None)
    modern.execute("insert into public.tags (name, color) values ('new', 'red')")
    assert fingerprint.remember(modern.connection, modern.run_id, "before", None) == taken
    assert fingerprint.recall(modern.connection, modern.run_id, "before") == taken
    assert fingerprint.recall(modern.connection, "another", "before") is None
