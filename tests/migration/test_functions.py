"""Every function that the migration makes has a search path that nobody bends; owner's rights are for triggers only."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from people import add_company, as_role

Connection = psycopg.Connection[Any]

OURS = """
    select
        pg_proc.oid::regprocedure::text,
        pg_proc.prosecdef,
        exists (select from unnest(pg_proc.proconfig) as setting where starts_with(setting, 'search_path=')),
        exists (
            select from aclexplode(coalesce(pg_proc.proacl, acldefault('f', pg_proc.proowner))) as acl
            where acl.grantee = 0
        )
    from pg_catalog.pg_proc
    where pg_proc.pronamespace in ('crm_migration'::regnamespace, 'crm_compat'::regnamespace)
        or pg_proc.oid in (
            select created.identity::regprocedure
            from (
                select identity from crm_migration.saved_objects
                where kind = 'created' and definition in ('function', 'routine', 'procedure')
            ) as created
        )
"""
# the triggers of the compatibility views run as whoever writes, who may insert and not read
MEANT_FOR_ALL = {"crm_compat.next_number(regclass,text)"}


def ours(connection: Connection) -> dict[str, tuple[bool, bool, bool]]:
    """By signature: runs as its owner, has a search path of its own, everybody may call it."""
    return {row[0]: row[1:] for row in connection.execute(OURS)}


def bent(connection: Connection) -> set[str]:
    return {name for name, (_, fixed, _) in ours(connection).items() if not fixed}


def open_to_all(connection: Connection) -> set[str]:
    return {name for name, (definer, _, public) in ours(connection).items() if definer and public}


def test_search_paths_are_fixed_and_owners_rights_are_nobody_s(migrated: Connection) -> None:
    found = ours(migrated)
    schemas = {name.partition(".")[0] for name in found}
    assert schemas == {"crm_migration", "crm_compat", "public"}
    assert "crm_migration.run_batch(text,text,integer)" in found
    assert len(found) > 60
    assert sum(definer for definer, _, _ in found.values()) >= 12
    assert bent(migrated) == set()
    assert open_to_all(migrated) == MEANT_FOR_ALL
    # nothing of the control schema can be called by name at all
    for role in ("anon", "authenticated", "service_role"):
        allowed = migrated.execute("select has_schema_privilege(%s, 'crm_migration', 'usage')", [role]).fetchone()
        assert allowed == (False,)


def test_a_function_that_is_open_would_be_found(migrated_2026: Connection) -> None:
    migrated_2026.execute("alter function crm_compat.count_use() reset search_path")
    migrated_2026.execute("grant execute on function crm_compat.count_use() to public")
    assert bent(migrated_2026) == {"crm_compat.count_use()"}
    assert open_to_all(migrated_2026) == {"crm_compat.count_use()"} | MEANT_FOR_ALL


def test_numbers_are_for_the_triggers_only(migrated_2026: Connection) -> None:
    with as_role(migrated_2026):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="Only the triggers"):
            migrated_2026.execute("select crm_compat.next_number('public.opportunities', 'id')")
        company = add_company(migrated_2026, "of a deal")
        made = migrated_2026.execute(
            "insert into public.deals (name, stage, company_id) values ('n', 'opportunity', %s) returning id", [company]
        ).fetchone()
    assert made is not None
    assert made[0] > 0
