"""What stands in the way of a cutover and can be told without executing it."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from crm_migrate import compat_views, database
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.settings import Settings
from crm_migrate.successor import STOCK_TRIGGER

NEW_TABLES = {
    "1.1": ("opportunities",),
    "1.2": ("contact_organizations", "contact_preferred_principals"),
    "1.3": ("opportunity_participants", "opportunity_products"),
    "1.4": ("activities", "interaction_participants"),
    "1.5": ("products", "principal_distributor_relationships"),
}
NEW_VIEWS = (
    "opportunities_summary",
    "opportunities_with_participants",
    "principal_product_summary",
    "distributor_relationship_summary",
    "contact_influence_profile",
    "principal_advocacy_dashboard",
)
NEW_TYPES = (
    "organization_type",
    "contact_role",
    "opportunity_stage",
    "opportunity_status",
    "priority_level",
    "activity_type",
    "interaction_type",
    "participant_role",
    "relationship_status",
)
NOTES = "opportunity_notes"
NEW_FUNCTIONS = (
    "add_contact_to_organization",
    "get_contact_organizations",
    "get_organization_contacts",
    "add_principal_advocacy",
    "create_opportunity_with_participants",
    "sync_opportunity_participants",
    "get_opportunity_with_participants",
    "log_engagement",
    "log_interaction",
    "add_product",
    "get_distributor_products",
    "get_principal_distributors",
)
_NEW_COLUMNS = (
    ("companies", "organization_type", ""),
    ("companies", "is_principal", "boolean"),
    ("companies", "is_distributor", "boolean"),
    ("companies", "parent_company_id", "bigint"),
    ("companies", "segment", "text"),
    ("companies", "priority", "text"),
    ("companies", "deleted_at", "timestamp with time zone"),
    ("contacts", "role", ""),
    ("contacts", "department", "text"),
    ("contacts", "purchase_influence", "text"),
    ("contacts", "decision_authority", "text"),
    ("contacts", "deleted_at", "timestamp with time zone"),
)
_DECISIONS = ("carry", "drop")


@dataclass(frozen=True)
class Blocker:
    """Something of this database that would be lost or stop working; the dry run says NO-GO because of it."""

    code: str
    entity: str
    message: str
    hint: str = ""
    rows: int = 1
    sample_keys: tuple[str, ...] = ()


def tables() -> tuple[str, ...]:
    """The new tables, in the order of their phases."""
    return tuple(table for phase in NEW_TABLES.values() for table in phase)


def run(connection: Connection, settings: Settings, legacy: LegacySchema) -> list[Blocker]:
    """Everything that stands in the way; an empty list when nothing does."""
    return [
        *_taken_names(connection, settings),
        *_taken_columns(connection),
        *_used_namesakes(connection, settings),
        *_undecided_triggers(connection, settings),
        *_unsupported(connection),
        *_nobody_can_rebuild(connection),
        *_columns_only(connection, legacy),
    ]


def warnings(connection: Connection) -> list[Blocker]:
    """Functions that name `deals` in their text: they will meet the compatibility view."""
    functions = tuple(
        row[0]
        for row in connection.execute(
            r"""
            select pg_proc.oid::regprocedure::text
            from pg_catalog.pg_proc
            inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_proc.pronamespace
            where pg_proc.prosrc ~ '\mdeals\M'
                and pg_namespace.nspname not in ('pg_catalog', 'information_schema')
                and not starts_with(pg_namespace.nspname, 'crm_')
            order by 1
            """
        )
    )
    if not functions:
        return []
    return [
        Blocker(
            "functions.name_deals",
            "deals",
            f"Functions that name deals in their text work with the compatibility view from the cutover on:"
            f" {', '.join(functions)}.",
            "Try them on a copy, or rewrite them within the month in which the view exists.",
            rows=len(functions),
            sample_keys=functions,
        )
    ]


def _columns_only(connection: Connection, legacy: LegacySchema) -> list[Blocker]:
    """Roles that read some columns only: a view that runs as whoever reads asks for all the columns that it shows."""
    found: list[Blocker] = []
    for table in ("deals", legacy.deal_notes_table):
        name = sql.Identifier("public", table).as_string(None)
        roles = tuple(
            row[0]
            for row in connection.execute(
                """
                select distinct case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end
                from pg_catalog.pg_attribute
                cross join lateral pg_catalog.aclexplode(pg_attribute.attacl) as acl
                where pg_attribute.attrelid = %(table)s::regclass
                    and not pg_attribute.attisdropped
                    and acl.privilege_type = 'SELECT'
                    and not case acl.grantee
                        when 0 then pg_catalog.has_table_privilege('public', %(table)s, 'select')
                        else pg_catalog.has_table_privilege(acl.grantee, %(table)s, 'select')
                    end
                order by 1
                """,
                {"table": name},
            )
        )
        if roles:
            found.append(
                Blocker(
                    "grants.columns_only",
                    "deals" if table == "deals" else "notes",
                    f"Roles that may read some columns of {table} only could not read the view of that name:"
                    f" {', '.join(roles)}.",
                    "Grant them the whole table, or take the columns away and grant columns of its successor later.",
                    rows=len(roles),
                    sample_keys=roles,
                )
            )
    return found


def _taken_names(connection: Connection, settings: Settings) -> list[Blocker]:
    found: list[Blocker] = []
    for name in (*tables(), *NEW_VIEWS, NOTES):
        target = settings.rename.get(name, name)
        kind = database.scalar(
            connection,
            "select case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'"
            " else 'table' end from pg_catalog.pg_class"
            " where relnamespace = 'public'::regnamespace and relname = %s",
            [target],
        )
        if kind:
            found.append(
                Blocker(
                    "names.taken",
                    "schema",
                    f"There is a {kind} {target} already, and the migration brings one of that name.",
                    f'Call the new one otherwise: rename = {{{name} = "crm_{name}"}} in crm-migrate.toml.',
                    sample_keys=(f"public.{target}",),
                )
            )
    for row in connection.execute(
        "select 'type', typname::text from pg_catalog.pg_type"
        " where typnamespace = 'public'::regnamespace and typname = any(%s) and typtype <> 'c' and typelem = 0"
        " union all select 'function', proname::text from pg_catalog.pg_proc"
        " where pronamespace = 'public'::regnamespace and proname = any(%s)",
        [list(NEW_TYPES), list(NEW_FUNCTIONS)],
    ):
        found.append(
            Blocker(
                "names.taken",
                "schema",
                f"There is a {row[0]} {row[1]} already, and the migration brings one of that name.",
                f"Rename the {row[0]} of this installation before the migration.",
                sample_keys=(f"public.{row[1]}",),
            )
        )
    return found


def _taken_columns(connection: Connection) -> list[Blocker]:
    found = []
    for table, column, wanted in _NEW_COLUMNS:
        actual = database.scalar(
            connection,
            "select format_type(atttypid, atttypmod) from pg_catalog.pg_attribute"
            " where attrelid = to_regclass('public.' || %s) and attname = %s and attnum > 0 and not attisdropped",
            [table, column],
        )
        if actual is not None and actual != wanted:
            found.append(
                Blocker(
                    "columns.taken",
                    table,
                    f"{table}.{column} exists with type {actual}; the migration needs"
                    f" {wanted or 'a type of its own'} there.",
                    f"Rename {table}.{column} before the migration.",
                    sample_keys=(f"{table}.{column}",),
                )
            )
    return found


def _used_namesakes(connection: Connection, settings: Settings) -> list[Blocker]:
    """Columns of deals whose names mean something else on opportunities, and that its own rules name."""
    found = []
    dropped = [name for name, decision in settings.triggers.items() if decision == "drop"]
    for name, type_name, users in connection.execute(
        """
        select
            attname::text,
            format_type(atttypid, atttypmod),
            string_agg(distinct pg_describe_object(classid, objid, 0), ', ')
        from pg_catalog.pg_attribute
        inner join pg_catalog.pg_depend
            on refclassid = 'pg_catalog.pg_class'::regclass and refobjid = attrelid and refobjsubid = attnum
        left join pg_catalog.pg_class as index_class
            on classid = 'pg_catalog.pg_class'::regclass
            and index_class.oid = objid and index_class.relkind in ('i', 'I')
        left join pg_catalog.pg_constraint
            on classid = 'pg_catalog.pg_constraint'::regclass and pg_constraint.oid = objid and contype <> 'n'
        left join pg_catalog.pg_trigger
            on classid = 'pg_catalog.pg_trigger'::regclass and pg_trigger.oid = objid and tgname <> all(%s)
        where attrelid = 'public.deals'::regclass
            and (
                coalesce(index_class.oid, pg_constraint.oid, pg_trigger.oid) is not null
                or classid in ('pg_catalog.pg_publication_rel'::regclass, 'pg_catalog.pg_statistic_ext'::regclass)
                or (
                    classid = 'pg_catalog.pg_policy'::regclass
                    and objid in (select oid from pg_catalog.pg_policy where polrelid = attrelid)
                )
            )
        group by attnum, attname, atttypid, atttypmod
        order by attnum
        """,
        [dropped],
    ):
        if compat_views.kept_aside(name, type_name):
            found.append(
                Blocker(
                    "columns.taken",
                    "deals",
                    f"deals.{name} means something else on opportunities, and rules of this installation speak of it:"
                    f" {users}.",
                    f"Rename deals.{name} before the migration, or drop what speaks of it.",
                    sample_keys=(f"deals.{name}",),
                )
            )
    return found


def _undecided_triggers(connection: Connection, settings: Settings) -> list[Blocker]:
    found = []
    names = [
        row[0]
        for row in connection.execute(
            "select tgname::text from pg_catalog.pg_trigger where tgrelid = 'public.deals'::regclass"
            " and not tgisinternal and tgname not in (%s, 'crm_migrate_fence') order by 1",
            [STOCK_TRIGGER],
        )
    ]
    for name in names:
        if settings.triggers.get(name) not in _DECISIONS:
            found.append(
                Blocker(
                    "triggers.undecided",
                    "deals",
                    f"The trigger {name} on deals is the installation's own; on opportunities the stage is an enum,"
                    " so it may break.",
                    f'Decide: triggers = {{{name} = "carry"}}, or "drop", in crm-migrate.toml.'
                    " A dropped one comes back with a rollback.",
                    sample_keys=(name,),
                )
            )
    return found


def _unsupported(connection: Connection) -> list[Blocker]:
    rows = connection.execute(
        """
        select
            'rule',
            'The rule ' || rulename || ' on deals cannot be carried to a table whose columns differ.',
            rulename::text
        from pg_catalog.pg_rewrite
        where ev_class = 'public.deals'::regclass and rulename <> '_RETURN'
        union all
        select
            'inheritance',
            'deals is part of an inheritance tree (' || inhrelid::regclass || ' of ' || inhparent::regclass || ').',
            inhrelid::regclass::text
        from pg_catalog.pg_inherits
        where 'public.deals'::regclass in (inhrelid, inhparent)
        union all
        select
            'kind', 'deals is a ' || case relkind when 'p' then 'partitioned' else 'foreign' end || ' table.', 'deals'
        from pg_catalog.pg_class
        where oid = 'public.deals'::regclass and relkind <> 'r'
        union all
        select 'generated', 'The column deals.' || attname || ' makes its own values.', attname::text
        from pg_catalog.pg_attribute
        where attrelid = 'public.deals'::regclass and attnum > 0 and not attisdropped and attname <> 'id'
            and (attgenerated <> '' or attidentity <> '')
        union all
        select
            'partitioned_reference',
            'The partitioned table ' || conrelid::regclass
            || ' refers to deals: PostgreSQL cannot re-point it unchecked.',
            conrelid::regclass::text
        from pg_catalog.pg_constraint
        inner join pg_catalog.pg_class on pg_class.oid = pg_constraint.conrelid
        where confrelid = 'public.deals'::regclass and contype = 'f' and pg_class.relkind = 'p'
        order by 1, 3
        """
    )
    return [
        Blocker(
            f"deals.{code}",
            "deals",
            message,
            "Remove it before the migration and make it again on opportunities.",
            sample_keys=(key,),
        )
        for code, message, key in rows
    ]


def _nobody_can_rebuild(connection: Connection) -> list[Blocker]:
    return [
        Blocker(
            "dependants.other",
            "deals",
            f"The {identity} stands on deals, and cannot be made again on its successor.",
            "Drop it before the migration and make it again afterwards.",
            sample_keys=(identity,),
        )
        for (identity,) in connection.execute(
            # tables that inherit from it are told by name already
            "select identity from crm_migration.dependants(array['public.deals'::regclass]) where kind = 'other'"
            " and identity not in (select 'table ' || inhrelid::regclass from pg_catalog.pg_inherits"
            " where inhparent = 'public.deals'::regclass)"
        )
    ]
