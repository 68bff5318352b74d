"""From one end to the other as a role that owns the tables and is no superuser, like the `postgres` of a host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crm_migrate import access, control, doctor, fingerprint
from crm_migrate import database as db
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run, rollback, verify
from people import as_role

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

OWNER = "crm_host_owner"


@pytest.fixture
def hosted(legacy_2026: Connection) -> Iterator[Connection]:
    """A CRM whose schema belongs to a role without superuser; the application's login role belongs to the host."""
    owner = sql.Identifier(OWNER)
    name = sql.Identifier(legacy_2026.info.dbname)
    legacy_2026.execute(sql.SQL("create role {} login createdb createrole").format(owner))
    legacy_2026.execute(sql.SQL("grant create on database {} to {}").format(name, owner))
    legacy_2026.execute(sql.SQL("grant anon, authenticated, service_role to {}").format(owner))
    # as a host does it: schema and all that is in it belong to the role, `auth` and `extensions` do not
    legacy_2026.execute(sql.SQL("alter schema public owner to {}").format(owner))
    for kind, identity in legacy_2026.execute(
        """
        select case relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, pg_class.oid::regclass::text
        from pg_catalog.pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'S')
            and not (relkind = 'S' and exists (
                select from pg_catalog.pg_depend where objid = pg_class.oid and deptype in ('a', 'i')
            ))
        union all
        select 'routine', oid::regprocedure::text from pg_catalog.pg_proc where pronamespace = 'public'::regnamespace
        """
    ).fetchall():
        legacy_2026.execute(f"alter {kind} {identity} owner to {OWNER}")
    legacy_2026.execute(sql.SQL("grant usage on schema auth, extensions to {}").format(owner))
    legacy_2026.execute(sql.SQL("grant select, references on auth.users to {}").format(owner))
    try:
        yield legacy_2026
    finally:
        legacy_2026.execute(sql.SQL("reassign owned by {} to postgres").format(owner))
        legacy_2026.execute(sql.SQL("drop owned by {}").format(owner))
        legacy_2026.execute(sql.SQL("drop role {}").format(owner))


def test_there_and_back_without_superuser(hosted: Connection, mapped: MakeSettings) -> None:
    mapped(hosted)
    settings = mapped(hosted, dsn=make_conninfo(hosted.info.dsn, user=OWNER))
    with db.connect(settings) as own:
        assert own.execute("select rolsuper from pg_roles where rolname = current_user").fetchone() == (False,)
        found = doctor.examine(own, settings)
        assert found.ok, [check for check in found.checks if not check.ok]
        assert found.layers == ("fence", "grants", "owner")
        control.install(own, settings)
        before, allowed = fingerprint.take(own), access.capture(own)

    with db.connect(settings) as own:
        report = dry_run.run(own, settings, Silent(), accepted={})
    assert report.verdict == "GO", (report.reasons, report.findings)
    with db.connect(settings) as own:
        apply.run(own, settings, Silent())
    with db.connect(settings) as own:
        assert verify.run(own, settings).ok

    with as_role(hosted):
        hosted.execute("update public.opportunities set stage = 'closed_won' where id = 1")
        hosted.execute("update public.deals set stage = 'lost' where id = 2")
    with db.connect(settings) as own:
        done = rollback.run(own, settings, Silent(), keep_changes=True)
    assert done.differences == []
    assert done.carried_over["deals"]["updated"] == 2
    with db.connect(settings) as own:
        assert access.capture(own) == allowed
        after = fingerprint.take(own, content=False)
    assert fingerprint.compare(fingerprint.Fingerprint(before.schema, {}, {}), after) == []
