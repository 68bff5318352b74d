"""`opportunities` takes the place of `deals`: what belonged to the table goes over by its own text.

For a moment the successor bears the old name and the old columns, so that policies, checks, triggers, row filters and
foreign keys of other tables apply word for word; PostgreSQL keeps them when table and columns get their new names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from crm_migrate import access, compat_views, database
from crm_migrate.access import AccessState
from crm_migrate.database import Connection
from crm_migrate.dependants import Attempt, SavedObject, save, statement
from crm_migrate.settings import Settings

STOCK_TRIGGER = "set_deal_sales_id_trigger"
# new name of a legacy column; `stage` steps aside for the text that the legacy table had
STAGE = "crm_migrate_stage"
LEGACY_COLUMNS = (
    ("stage", STAGE),
    ("legacy_stage", "stage"),
    ("customer_organization_id", "company_id"),
    ("estimated_close_date", "expected_closing_date"),
)
_STOCK_KEYS = ({"company_id"}, {"sales_id"})
_DEALS = "public.deals"
# who writes the enum writes the text as well, through a trigger, which "update of" does not see
_UPDATE_OF_STAGE = re.compile(r' UPDATE OF (?:(?:\w+|"(?:[^"]|"")+"), )*stage(?=,| )')


def remember(connection: Connection, run_id: str) -> list[SavedObject]:
    """Save what belongs to `deals`, and the foreign keys that point to it."""
    own = [
        SavedObject(row["kind"], row["name"], row["definition"], row["detail"])
        for row in database.rows(
            connection, "select * from crm_migration.belongings(%s::regclass) order by kind, name", [_DEALS]
        )
    ]
    pointing = [
        SavedObject(
            "reference",
            f"{row['table_name']}.{row['name']}",
            row["definition"],
            {key: row[key] for key in ("table_name", "name", "valid", "on_delete", "comment")},
        )
        for row in database.rows(connection, "select * from crm_migration.references_to(%s::regclass)", [_DEALS])
    ]
    save(connection, run_id, [*own, *pointing])
    return [*own, *pointing]


def archive(connection: Connection, belongings: Sequence[SavedObject]) -> None:
    """Cut `deals` from other tables and publications, and move it into the archive schema."""
    for item in belongings:
        if item.kind == "reference":
            command = sql.SQL("alter table {} drop constraint {}").format(
                sql.SQL(statement(item.detail["table_name"])), sql.Identifier(item.detail["name"])
            )
        elif item.kind == "foreign key":
            command = sql.SQL("alter table public.deals drop constraint {}").format(sql.Identifier(item.identity))
        elif item.kind == "publication":
            command = sql.SQL("alter publication {} drop table public.deals").format(sql.Identifier(item.identity))
        elif item.kind == "owned sequence":
            command = sql.SQL("alter sequence {} owned by none").format(sql.SQL(statement(item.detail["sequence"])))
        else:
            continue
        connection.execute(command)
    connection.execute("alter table public.deals set schema crm_archive")


def take_the_old_name(connection: Connection) -> None:
    """Bring the built opportunities to their place, called and shaped like the deals."""
    connection.execute("alter table crm_build.opportunities rename to deals")
    connection.execute("alter table crm_build.deals set schema public")
    connection.execute("alter table public.deals reset (autovacuum_enabled)")
    for new, old in LEGACY_COLUMNS:
        connection.execute(
            sql.SQL("alter table public.deals rename column {} to {}").format(sql.Identifier(new), sql.Identifier(old))
        )


def carry(
    connection: Connection,
    settings: Settings,
    belongings: Iterable[SavedObject],
    locked: AccessState,
    attempt: Attempt,
) -> list[str]:
    """Give the successor what the deals had; it bears their name now. Returns what had to be made otherwise."""
    present = {row[0] for row in connection.execute("select name from crm_migration.belongings('public.deals')")}
    shapes = {
        row[0]
        for row in connection.execute(
            "select crm_migration.index_shape(pg_get_indexdef(indexrelid)) from pg_catalog.pg_index"
            " where indrelid = 'public.deals'::regclass"
        )
    }
    columns = _new_columns(connection)
    states = {item.name: item.enabled for item in locked.triggers if item.relation == "deals"}
    kinds: dict[str, list[SavedObject]] = {}
    for item in belongings:
        kinds.setdefault(item.kind, []).append(item)

    connection.execute(
        """
        do $$
        declare
            old record;
        begin
            select relowner::regrole::text as owner, relforcerowsecurity as forced, relrowsecurity as secured
            into old from pg_catalog.pg_class where oid = 'crm_archive.deals'::regclass;
            execute format('alter table public.deals owner to %s', old.owner);
            execute format(
                'alter table public.deals %s row level security', case when old.secured then 'enable' else 'disable' end
            );
            if old.forced then
                alter table public.deals force row level security;
            end if;
        end
        $$
        """
    )
    aside = _kept_aside(connection)
    for item in kinds.get("default", ()):
        if item.identity not in columns or columns[item.identity] or item.identity in aside:
            continue
        with attempt("default of column", item.identity):
            connection.execute(statement(item.definition))
    for kind in ("not null", "column comment"):
        for item in kinds.get(kind, ()):
            if item.identity not in compat_views.STOCK and item.identity not in aside:
                with attempt(kind, item.identity):
                    connection.execute(statement(item.definition))
    for kind in ("check", "key"):
        for item in kinds.get(kind, ()):
            if item.identity not in present:
                with attempt(kind, item.identity):
                    connection.execute(statement(item.definition))
                    _comment(connection, "constraint {} on public.deals", item)
    for item in kinds.get("index", ()):
        if _shape(connection, item.definition) in shapes:
            continue
        with attempt("index", item.identity):
            connection.execute(statement(item.definition))
            _comment(connection, "index public.{}", item)
    for item in kinds.get("foreign key", ()):
        if set(item.detail["columns"]) in _STOCK_KEYS:
            continue
        with attempt("foreign key", item.identity):
            connection.execute(statement(_not_valid(item.definition)))
    for item in kinds.get("own policy", ()):
        with attempt("policy", item.identity):
            connection.execute(statement(item.definition))
    for item in kinds.get("trigger", ()):
        if decision(settings, item) != "carry":
            continue
        with attempt("trigger", item.identity):
            connection.execute(statement(_UPDATE_OF_STAGE.sub(r"\g<0>, " + STAGE, item.definition, count=1)))
            _enable_as(connection, item.identity, states.get(item.identity, "O"))
            _comment(connection, "trigger {} on public.deals", item)
    for item in kinds.get("owned sequence", ()):
        if item.detail["column"] in aside:
            continue
        with attempt("sequence", item.identity):
            connection.execute(statement(item.definition))
    for grant in locked.grants_of("deals"):
        if grant.column_name in aside:
            continue
        with attempt("grant", f"{grant.privilege} to {grant.grantee} on deals"):
            access.grant_to(connection, grant, "deals")
            if grant.column_name == "stage":
                # the legacy text and the enum that is kept in step with it
                access.grant_to(connection, dataclasses.replace(grant, column_name=STAGE), "deals")
    _carry_replica_identity(connection, attempt)
    for item in kinds.get("publication", ()):
        with attempt("publication", item.identity):
            connection.execute(statement(item.definition))
    warnings = _fit_replica_identity(connection, attempt)
    for item in kinds.get("reference", ()):
        with attempt("foreign key", item.identity):
            connection.execute(statement(_not_valid(item.definition)))
    return warnings


def take_the_new_name(connection: Connection, name: str) -> None:
    """Everything has been carried: the successor is called what it will be called from now on."""
    for new, old in reversed(LEGACY_COLUMNS):
        connection.execute(
            sql.SQL("alter table public.deals rename column {} to {}").format(sql.Identifier(old), sql.Identifier(new))
        )
    connection.execute(sql.SQL("alter table public.deals rename to {}").format(sql.Identifier(name)))


@contextmanager
def writable(connection: Connection, successor: sql.Identifier, archived: sql.Identifier) -> Iterator[None]:
    """Within the block both can be written, also where a publication has no replica identity that says which row.

    The successor is to go away afterwards.
    """
    none = [table for table in (successor, archived) if _replica_identity(connection, table) == "n"]
    for table in none:
        connection.execute(sql.SQL("alter table {} replica identity default").format(table))
    yield
    if archived in none:
        connection.execute(sql.SQL("alter table {} replica identity nothing").format(archived))


def _replica_identity(connection: Connection, table: sql.Identifier) -> str:
    return str(
        database.scalar(
            connection,
            "select relreplident::text from pg_catalog.pg_class where oid = %s::regclass",
            [table.as_string(connection)],
        )
    )


def decision(settings: Settings, trigger: SavedObject) -> str | None:
    """`carry`, `drop`, or None when the operator has not decided about a trigger of the installation."""
    if trigger.identity in settings.triggers:
        return settings.triggers[trigger.identity]
    return "carry" if trigger.identity == STOCK_TRIGGER else None


def _new_columns(connection: Connection) -> Mapping[str, bool]:
    """The successor's columns, and whether each has a default or makes its own values."""
    return {
        row[0]: row[1]
        for row in connection.execute(
            "select attname::text, atthasdef or attidentity <> '' from pg_catalog.pg_attribute"
            " where attrelid = 'public.deals'::regclass and attnum > 0 and not attisdropped"
        )
    }


def _kept_aside(connection: Connection) -> frozenset[str]:
    """Columns of the legacy deals that are no columns of the successor: the view of the old name has them."""
    return frozenset(
        name
        for name, type_name in connection.execute(
            "select attname::text, format_type(atttypid, atttypmod) from pg_catalog.pg_attribute"
            " where attrelid = 'crm_archive.deals'::regclass and attnum > 0 and not attisdropped"
        )
        if compat_views.kept_aside(name, type_name)
    )


def _shape(connection: Connection, definition: str) -> str:
    return str(database.scalar(connection, "select crm_migration.index_shape(%s)", [definition]))


def _not_valid(definition: str) -> str:
    return definition if definition.endswith("NOT VALID") else definition + " not valid"


def _comment(connection: Connection, what: str, item: SavedObject) -> None:
    if item.detail.get("comment"):
        target = sql.SQL(statement(what)).format(sql.Identifier(item.identity))
        connection.execute(sql.SQL("comment on {} is {}").format(target, sql.Literal(item.detail["comment"])))


def _enable_as(connection: Connection, trigger: str, state: str) -> None:
    how = {"D": "disable", "A": "enable always", "R": "enable replica"}.get(state)
    if how:
        connection.execute(
            sql.SQL("alter table public.deals {} trigger {}").format(sql.SQL(statement(how)), sql.Identifier(trigger))
        )


def _fit_replica_identity(connection: Connection, attempt: Attempt) -> list[str]:
    """Since 18 a replica identity of all columns may not hold a generated one, and opportunities have one."""
    try:
        with connection.transaction():
            _try_writing(connection)
    except psycopg.errors.InvalidColumnReference:
        connection.execute("alter table public.deals replica identity default")
        with attempt("publication", "of deals"):
            _try_writing(connection)
        warning = (
            "deals had a replica identity of all columns; opportunities have a generated column, so theirs is the"
            " primary key: subscribers see no more than the key of what a row was before."
        )
        return [warning]
    except psycopg.errors.ObjectNotInPrerequisiteState:
        warning = (
            "a publication has the updates of deals, which have no replica identity: nobody could change or delete a"
            " deal, and nobody can change or delete an opportunity."
        )
        return [warning]
    return []


def _try_writing(connection: Connection) -> None:
    # refused at once, also without a row, when replica identity and publications do not fit each other
    connection.execute("update public.deals set name = name where false")
    connection.execute("delete from public.deals where false")


def _carry_replica_identity(connection: Connection, attempt: Attempt) -> None:
    row = connection.execute(
        """
        select pg_class.relreplident::text, index_class.relname::text
        from pg_catalog.pg_class
        left join pg_catalog.pg_index on pg_index.indrelid = pg_class.oid and pg_index.indisreplident
        left join pg_catalog.pg_class as index_class on index_class.oid = pg_index.indexrelid
        where pg_class.oid = 'crm_archive.deals'::regclass
        """
    ).fetchone()
    how, index = row or ("d", None)
    if how == "d" or (how == "i" and index == "deals_pkey"):
        return
    with attempt("replica identity", "deals"):
        if index is not None:
            connection.execute(
                sql.SQL("alter table public.deals replica identity using index {}").format(sql.Identifier(index))
            )
        else:
            connection.execute(
                statement(f"alter table public.deals replica identity {'full' if how == 'f' else 'nothing'}")
            )
