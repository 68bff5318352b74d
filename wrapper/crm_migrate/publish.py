"""The single moves of the cutover: tables, types, notes, companies, journal. All of them run inside its transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import access, database, preflight, table_locks
from crm_migrate.access import AccessState, Grant
from crm_migrate.database import Connection
from crm_migrate.dependants import SavedObject, save, statement
from crm_migrate.settings import Settings

DEAL_NOTES = ("deal_notes", "dealNotes")
SUMMARIES = ("companies_summary", "contacts_summary")
IN_PLACE = ("companies", "contacts", "tasks", "tags", "sales", "contact_notes", "contactNotes")
_COMPANY_COLUMNS = ("organization_type", "is_principal", "is_distributor", "parent_company_id", "segment", "priority")
_LOG_COLUMNS = {"company_id", "contact", "contact_note"}
_CONTACT_COLUMNS = ("role", "department", "purchase_influence", "decision_authority")
_LEGACY = ("companies", "contacts", "deals", "tasks", "tags", "sales", "contact_notes", "contactNotes", *DEAL_NOTES)


def deal_notes(connection: Connection) -> str:
    """The name that the deal notes have in this generation."""
    return str(
        database.scalar(
            connection,
            "select relname from pg_catalog.pg_class where relnamespace = 'public'::regnamespace and relname = any(%s)",
            [list(DEAL_NOTES)],
        )
    )


def on_deal_notes(item: SavedObject) -> bool:
    """Whether it is a policy of the deal notes, which asks the deals or a summary."""
    names = {f"public.{name}" for name in DEAL_NOTES} | {f'public."{name}"' for name in DEAL_NOTES}
    return item.kind == "policy" and item.detail["table_name"] in names


def roots(connection: Connection) -> list[str]:
    """Relations that are replaced: what stands on them is made again."""
    return [
        row[0]
        for row in connection.execute(
            "select oid::regclass::text from pg_catalog.pg_class"
            " where relnamespace = 'public'::regnamespace and relname = any(%s) order by 1",
            [["deals", *SUMMARIES]],
        )
    ]


def lock_tables(connection: Connection, patience: float) -> None:
    """Take all locks at once and in one order: whoever waits for one of them waits for nothing else of ours."""
    views = connection.execute(
        "select object_id::regclass::text from crm_migration.dependants(%s::text[]::regclass[])"
        " where kind in ('view', 'materialized view') order by distance desc",
        [roots(connection)],
    ).fetchall()
    found = connection.execute(
        """
        select pg_class.oid::regclass::text
        from pg_catalog.pg_class
        where pg_class.relnamespace = 'public'::regnamespace and pg_class.relname = any(%s) and pg_class.relkind = 'r'
        union
        select pg_constraint.conrelid::regclass::text
        from pg_catalog.pg_constraint
        where pg_constraint.confrelid = 'public.deals'::regclass
        union
        select pg_policy.polrelid::regclass::text
        from crm_migration.dependants(array['public.deals'::regclass]) as dependant
        inner join pg_catalog.pg_policy on pg_policy.oid = dependant.object_id
        where dependant.kind = 'policy'
        order by 1
        """,
        [list(_LEGACY)],
    ).fetchall()
    table_locks.take(connection, [name for (name,) in [*views, *found]], "access exclusive", patience=patience)


def remember_start(connection: Connection, run_id: str, locked: AccessState) -> None:
    """Write down what a rollback needs to know of the state before: access, sequences, columns, objects."""
    connection.execute("delete from crm_migration.saved_objects where run_id = %s", [run_id])
    sequences = database.rows(connection, "select * from crm_migration.sequence_values('public')")
    columns = connection.execute(
        "select own.name || '.' || attname from crm_migration.own_relations('public') as own"
        " inner join pg_catalog.pg_attribute on attrelid = own.oid and attnum > 0 and not attisdropped"
        " where own.kind = 'r'"
    ).fetchall()
    save(
        connection,
        run_id,
        [
            SavedObject("access", "public", detail=locked.as_json()),
            SavedObject("deal notes", deal_notes(connection)),
            SavedObject("columns", "public", detail={"names": sorted(row[0] for row in columns)}),
            *(SavedObject("sequence", row["name"], detail=row) for row in sequences),
        ],
    )
    connection.execute(
        "create temporary table crm_migrate_objects_before on commit drop as"
        " select class_id, object_id from crm_migration.objects_of('public')"
    )


def remember_end(connection: Connection, run_id: str, settings: Settings) -> None:
    """Write down what is new in the CRM's schema, and which phases are published now."""
    created = connection.execute(
        """
        select now.kind, now.identity
        from crm_migration.objects_of('public') as now
        left join pg_temp.crm_migrate_objects_before as before using (class_id, object_id)
        where before.object_id is null
        order by 1, 2
        """
    ).fetchall()
    before = database.scalar(
        connection,
        "select detail -> 'names' from crm_migration.saved_objects where run_id = %s and kind = 'columns'",
        [run_id],
    )
    added = connection.execute(
        "select own.oid::regclass::text, attname::text from crm_migration.own_relations('public') as own"
        " inner join pg_catalog.pg_attribute on attrelid = own.oid and attnum > 0 and not attisdropped"
        " inner join pg_temp.crm_migrate_objects_before as before"
        "     on before.object_id = own.oid and before.class_id = 'pg_catalog.pg_class'::regclass"
        " where own.kind = 'r' and own.name <> %s and not (own.name || '.' || attname = any(%s))",
        [settings.rename.get(preflight.NOTES, preflight.NOTES), before],
    ).fetchall()
    save(connection, run_id, [SavedObject("created", identity, kind) for kind, identity in created])
    save(
        connection,
        run_id,
        [
            SavedObject("added column", f"{table}.{column}", detail={"table": table, "column": column})
            for table, column in added
        ],
    )
    connection.execute("drop table pg_temp.crm_migrate_objects_before")
    for phase, tables in preflight.NEW_TABLES.items():
        counted = sum(
            database.count(connection, sql.Identifier("public", settings.rename.get(table, table))) for table in tables
        )
        connection.execute(
            "insert into crm_migration.migration_history (phase, name, run_id, rows) values (%s, %s, %s, %s)",
            [phase, ", ".join(tables), run_id, counted],
        )
    # in the same transaction: a run that is published never looks like one that can be given up
    connection.execute(
        """
        update crm_migration.runs
        set
            cutover_at = done.at,
            rollback_until = done.at + make_interval(secs => %s),
            archive_until = done.at + make_interval(days => %s)
        from (select min(applied_at) as at from crm_migration.migration_history where run_id = %s) as done
        where run_id = %s
        """,
        [settings.rollback_hours * 3600, settings.archive_days, run_id, run_id],
    )


def move_types(connection: Connection) -> None:
    """The enum types, which the new tables use by identity and not by name."""
    for (name,) in connection.execute(
        "select typname::text from pg_catalog.pg_type where typnamespace = 'crm_build'::regnamespace and typtype = 'e'"
        " order by 1"
    ).fetchall():
        connection.execute(sql.SQL("alter type {} set schema public").format(sql.Identifier("crm_build", name)))


def move_tables(connection: Connection, settings: Settings) -> None:
    """The new tables but opportunities, under the names that the settings give them."""
    for table in preflight.tables():
        if table == "opportunities":
            continue
        _move(connection, table, settings.rename.get(table, table))


def make_room(connection: Connection, table: str, name: str) -> None:
    """Call the indexes and sequences of a renamed table otherwise: the one that has its name has theirs, too."""
    if name == table:
        return
    parts = connection.execute(
        "select case relkind when 'S' then 'sequence' else 'index' end, relname::text from pg_catalog.pg_class"
        " where starts_with(relname, %(prefix)s) and (oid = pg_get_serial_sequence(%(table)s, 'id')::regclass"
        " or oid in (select indexrelid from pg_catalog.pg_index where indrelid = %(table)s::regclass))",
        {"prefix": table, "table": f"crm_build.{table}"},
    ).fetchall()
    for kind, old in parts:
        connection.execute(
            sql.SQL("alter {} {} rename to {}").format(
                sql.SQL(statement(kind)),
                sql.Identifier("crm_build", old),
                sql.Identifier((name + old[len(table) :])[:63]),
            )
        )


def _move(connection: Connection, table: str, name: str) -> None:
    make_room(connection, table, name)
    if name != table:
        connection.execute(
            sql.SQL("alter table {} rename to {}").format(sql.Identifier("crm_build", table), sql.Identifier(name))
        )
    owner = database.scalar(
        connection,
        "select relowner::regrole::text from pg_catalog.pg_class where oid = 'crm_archive.deals'::regclass",
    )
    # in this order: a new owner must be allowed to create in the schema where the table is
    connection.execute(sql.SQL("alter table {} set schema public").format(sql.Identifier("crm_build", name)))
    # nobody vacuums a table that is being built
    connection.execute(sql.SQL("alter table {} reset (autovacuum_enabled)").format(sql.Identifier("public", name)))
    connection.execute(
        sql.SQL("alter table {} owner to {}").format(sql.Identifier("public", name), sql.SQL(statement(owner)))
    )


def rename_notes(connection: Connection, name: str, locked: AccessState) -> None:
    """Deal notes stay where they are, with all that belongs to them; the old name becomes a view."""
    old = deal_notes(connection)
    # the lock took write privileges away, and gives them back by name: the table has another one then
    for grant in locked.grants_of(old):
        access.grant_to(connection, grant, old)
    connection.execute(sql.SQL("alter table public.{} rename to {}").format(sql.Identifier(old), sql.Identifier(name)))
    connection.execute(
        sql.SQL("alter table public.{} rename column deal_id to opportunity_id").format(sql.Identifier(name))
    )


def classify_companies(connection: Connection, run_id: str) -> None:
    """Add the classification with its most frequent value as default, then write only the rows that differ."""
    most = connection.execute(
        "select organization_type::text, is_principal, is_distributor from crm_build.company_classifications"
        " group by 1, 2, 3 order by count(*) desc, 1, 2, 3 limit 1"
    ).fetchone() or ("prospect", False, False)
    connection.execute(
        sql.SQL(
            "alter table public.companies"
            " add column if not exists organization_type public.organization_type not null default {},"
            " add column if not exists is_principal boolean not null default {},"
            " add column if not exists is_distributor boolean not null default {}"
        ).format(*(sql.Literal(value) for value in most))
    )
    states = database.scalar(connection, "select crm_migration.pause_triggers('public.companies')")
    connection.execute(
        """
        update public.companies
        set
            organization_type = classified.organization_type::text::public.organization_type,
            is_principal = classified.is_principal,
            is_distributor = classified.is_distributor
        from crm_build.company_classifications as classified
        where classified.company_id = companies.id
            and (companies.organization_type::text, companies.is_principal, companies.is_distributor)
            is distinct from (classified.organization_type::text, classified.is_principal, classified.is_distributor)
        """
    )
    connection.execute("select crm_migration.resume_triggers('public.companies', %s)", [Jsonb(states)])


def grant_old_names(connection: Connection, locked: AccessState) -> None:
    """The compatibility views get the grants of the tables whose names they have."""
    for name in ("deals", *DEAL_NOTES):
        kind = database.scalar(
            connection,
            "select relkind from pg_catalog.pg_class where relnamespace = 'public'::regnamespace and relname = %s",
            [name],
        )
        if kind != "v":
            continue
        connection.execute(
            "select crm_migration.revoke_all(%s::regclass)", [sql.Identifier("public", name).as_string(None)]
        )
        for grant in locked.grants_of(name):
            access.grant_to(connection, grant, name)


def let_readers_of_notes_ask(connection: Connection, settings: Settings, locked: AccessState) -> None:
    """The view of the notes asks whether the opportunity was deleted, as whoever reads; this much everybody may ask.

    A role that reads the notes and not the deals gets key and time of deletion, of the rows that policies let it see.
    """
    name = settings.rename.get("opportunities", "opportunities")
    may_ask = {grant.grantee for grant in locked.grants_of("deals") if _reads_all(grant)}
    for grant in locked.grants_of(deal_notes(connection)):
        if _reads_all(grant) and grant.grantee not in may_ask:
            may_ask.add(grant.grantee)
            for column in ("id", "deleted_at"):
                asked = dataclasses.replace(grant, column_name=column, grantable=False)
                access.grant_to(connection, asked, name)


def _reads_all(grant: Grant) -> bool:
    return grant.privilege == "SELECT" and grant.column_name is None


def wrapped_summaries(standing: Sequence[SavedObject], settings: Settings) -> dict[str, str]:
    """The summaries keep what they showed; new columns come at the end, soft-deleted rows are hidden."""
    opportunities = sql.Identifier("public", settings.rename.get("opportunities", "opportunities")).as_string(None)
    links = sql.Identifier("public", settings.rename.get("contact_organizations", "contact_organizations"))
    added = {
        "companies": {
            **{column: f"base.{column}" for column in _COMPANY_COLUMNS},
            "nb_opportunities": f"(select count(*) from {opportunities} as opportunity"
            " where opportunity.customer_organization_id = base.id and opportunity.deleted_at is null)",
        },
        "contacts": {
            **{column: f"base.{column}" for column in _CONTACT_COLUMNS},
            "total_organizations": f"(select count(*) from {links.as_string(None)} as link"
            " where link.contact_id = base.id and link.deleted_at is null)",
        },
    }
    wrapped = {}
    for item in standing:
        for table, columns in added.items():
            if item.identity == f"public.{table}_summary" and "id" in item.detail["columns"]:
                # a column of the installation that has the name already is in the view already
                new = [f"{text} as {name}" for name, text in columns.items() if name not in item.detail["columns"]]
                wrapped[item.identity] = (
                    f"select {', '.join(['legacy.*', *new])} from ({item.detail['query']}) as legacy"
                    f" inner join public.{table} as base on base.id = legacy.id where base.deleted_at is null"
                )
        if item.identity == "public.activity_log" and set(item.detail["columns"]) >= _LOG_COLUMNS:
            # what the cascade took away with a deleted company or contact
            wrapped[item.identity] = (
                f"select legacy.* from ({item.detail['query']}) as legacy"
                " where not exists (select from public.companies as base"
                " where base.deleted_at is not null and base.id = legacy.company_id)"
                " and not exists (select from public.contacts as base where base.deleted_at is not null and base.id ="
                " coalesce(legacy.contact ->> 'id', legacy.contact_note ->> 'contact_id')::bigint)"
            )
    return wrapped


def start_journal(connection: Connection, settings: Settings) -> None:
    """From here on every change of a target table leaves its key."""
    present = {
        row[0] for row in connection.execute("select name from crm_migration.own_relations('public') where kind = 'r'")
    }
    connection.execute("delete from crm_migration.changes")
    for table in (*preflight.tables(), preflight.NOTES, *IN_PLACE):
        name = settings.rename.get(table, table)
        if name in present:
            connection.execute(
                "select crm_migration.start_journal(%s::regclass, %s)",
                [sql.Identifier("public", name).as_string(None), table],
            )
