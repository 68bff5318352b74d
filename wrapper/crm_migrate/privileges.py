"""What this role may do: see every row, alter every table, keep every writer out."""

from __future__ import annotations

from psycopg import sql

from crm_migrate import database
from crm_migrate.checks import Check
from crm_migrate.database import Connection

# the layers that stop every writer, whoever it is
STOPS_EVERYBODY = frozenset({"fence"})


def examine(connection: Connection) -> list[Check]:
    """Ownership, and what the control schema, the build and the restore test need."""
    strangers = [
        str(row[0])
        for row in connection.execute(
            """
            select format('%s (owner %s)', relname, relowner::regrole)
            from pg_catalog.pg_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S')
                and not pg_catalog.pg_has_role(current_user, relowner, 'usage')
                and not exists (
                    select from pg_catalog.pg_depend
                    where classid = 'pg_catalog.pg_class'::regclass and objid = pg_class.oid and deptype = 'e'
                )
            order by relname
            """
        )
    ]
    confined = [
        str(row[0])
        for row in connection.execute(
            """
            select distinct relowner::regrole::text
            from pg_catalog.pg_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')
                and not pg_catalog.has_schema_privilege(relowner, 'public', 'create')
            order by 1
            """
        )
    ]
    role = database.rows(
        connection,
        """
        select
            current_user as name,
            rolsuper or rolcreatedb as may_create_database,
            pg_catalog.has_database_privilege(current_database(), 'create') as may_create_schema,
            pg_catalog.has_schema_privilege('public', 'create') as may_create_in_public
        from pg_catalog.pg_roles
        where rolname = current_user
        """,
    )[0]
    return [
        Check.of(
            "ownership",
            not strangers,
            f"{role['name']} owns everything in the schema public, or is a member of its owner.",
            f"{role['name']} may not alter: {', '.join(strangers[:5])}{', …' if len(strangers) > 5 else ''}.",
            "Connect as the owner of the tables, or as a member of that role.",
        ),
        Check.of(
            "create_schema",
            role["may_create_schema"] and role["may_create_in_public"],
            f"{role['name']} may create schemas, and tables in public.",
            f"{role['name']} may not create schemas in this database, or tables in public.",
            f"GRANT CREATE ON DATABASE … TO {role['name']}; GRANT CREATE ON SCHEMA public TO {role['name']};",
        ),
        # a table is given only to a role that could have made it
        Check.of(
            "owner_may_create",
            not confined,
            "The new tables can be given to the owner of the old ones.",
            f"The owner of the CRM's tables may not create tables in public: {', '.join(confined)}.",
            " ".join(f"GRANT CREATE ON SCHEMA public TO {name};" for name in confined),
        ),
        Check.of(
            "scratch_database",
            role["may_create_database"],
            f"{role['name']} may create the scratch database of the restore test.",
            f"{role['name']} may not create databases: the restore test uses a private server on this machine.",
            "Nothing needs to be done, as long as this machine has room for a copy of the database.",
            severity="info",
        ),
    ]


def lock_check(layers: tuple[str, ...]) -> Check:
    """At least one layer must stop every writer."""
    return Check.of(
        "lock_layers",
        bool(STOPS_EVERYBODY & set(layers)),
        f"The maintenance lock will hold with: {', '.join(layers)}.",
        f"No layer of the maintenance lock would stop every writer; possible are: {', '.join(layers)}.",
        "Connect as the owner of the tables: only it can put the fence on them.",
    )


def visibility(connection: Connection) -> Check:
    """Whether row level security hides rows from this role; what is not seen would be lost."""
    hidden = []
    for name, protected, bypassed in connection.execute(
        """
        select
            pg_class.relname::text,
            pg_class.relrowsecurity,
            me.rolsuper or me.rolbypassrls or (
                pg_catalog.pg_has_role(current_user, pg_class.relowner, 'usage')
                and not pg_class.relforcerowsecurity
            )
        from pg_catalog.pg_class
        cross join pg_catalog.pg_roles as me
        where pg_class.relnamespace = 'public'::regnamespace and pg_class.relkind in ('r', 'p')
            and me.rolname = current_user
        order by 1
        """
    ).fetchall():
        table = sql.Identifier("public", name)
        if not database.scalar(connection, "select has_table_privilege(%s, 'select')", [table.as_string(connection)]):
            hidden.append(f"{name} (may not be read)")
        elif protected and not bypassed:
            hidden.append(f"{name} ({_seen(connection, table)})")
    return Check.of(
        "visibility",
        not hidden,
        "Row level security hides no row from this role.",
        f"Row level security decides what this role sees of: {', '.join(hidden[:8])}.",
        "Connect as the owner of the tables or as a role with BYPASSRLS: rows that are not seen would not be migrated.",
    )


def _seen(connection: Connection, table: sql.Identifier) -> str:
    # the planner's count knows nothing of policies: as close to the true number as this role can come
    seen = database.count(connection, table)
    true = int(
        database.scalar(
            connection,
            "select greatest(reltuples, 0)::bigint from pg_catalog.pg_class where oid = %s::regclass",
            [table.as_string(connection)],
        )
    )
    return f"{seen} rows seen of about {max(seen, true)}"
