"""What changed between a backup's dump and the lock: rows as they are now, keys that are gone, numbers of sequences.

The files lie beside the dump and are in the manifest with their checksums. A table whose rows cannot be told apart is
in it whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from crm_migrate import backup_files, content, database, fault_points
from crm_migrate.backup_files import MANIFEST, Backup
from crm_migrate.content import TableContent
from crm_migrate.database import Connection

FOLDER = "delta"
_CHUNK = 1 << 20

_COLUMNS = """
    select attname::text from pg_catalog.pg_attribute
    where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = ''
    order by attnum
"""

_SEQUENCES = """
    select nspname, relname
    from pg_catalog.pg_class
    inner join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
    where relkind = 'S' and nspname = any(%s)
        and case when relkind = 'S' then has_sequence_privilege(pg_class.oid, 'select') end
        -- of an extension, or of a temporary kind: not dumped either
        and relpersistence = 'p'
        and not exists (
            select from pg_catalog.pg_depend
            where classid = 'pg_catalog.pg_class'::regclass and objid = pg_class.oid and deptype = 'e'
        )
    order by 1, 2
"""


@dataclass(frozen=True)
class Changed:
    """A table of the delta: `changes` has the keys of its changed rows; None means all of it."""

    schema: str
    name: str
    key: tuple[str, ...]
    changes: str | None


def write(
    connection: Connection,
    backup: Backup,
    changed: Sequence[Changed],
    *,
    schemas: Sequence[str],
    tables: Mapping[str, TableContent],
) -> Backup:
    """Append to a backup what changed since its dump, and write its manifest anew.

    Args:
        connection: sees the rows under the lock.
        changed: the tables with changes.
        schemas: those whose sequences are taken.
        tables: what the tables hold now, for the restore test.
    """
    folder = backup.path / FOLDER
    with backup_files.disk_errors(backup.path):
        folder.mkdir(mode=0o700, exist_ok=True)
        with connection.transaction():
            content.as_text(connection)
            listed = [_write_table(connection, folder, number, one) for number, one in enumerate(changed)]
            names = connection.execute(_SEQUENCES, [list(schemas)]).fetchall()
            sequences = [[schema, name, *_sequence(connection, schema, name)] for schema, name in names]
        fault_points.reached("backup.delta-written")
        # a manifest that does not know of the delta would call its files foreign
        (backup.path / MANIFEST).unlink()
        made = backup_files.write(
            dataclasses.replace(
                backup,
                files=backup_files.checksums(backup.path),
                tables={**backup.tables, **tables},
                not_dumped={
                    **backup.not_dumped,
                    "since_the_dump": "large objects; what was altered outside of the CRM's schema",
                },
                delta={"tables": listed, "sequences": sequences},
            )
        )
    fault_points.reached("backup.delta-manifest-written")
    return made


def bring(connection: Connection, backup: Backup) -> list[str]:
    """Bring a database that the dump was restored into to the state under the lock.

    Returns:
        A sentence for each table whose changed rows are not what they were when the delta was written, or that has
        another number of rows now.
    """
    if backup.delta is None:
        return []
    wrong: list[str] = []
    with connection.transaction():
        content.as_text(connection)
        with _undisturbed(connection, [_name(table).as_string(None) for table in backup.delta["tables"]]):
            for table in backup.delta["tables"]:
                if _bring_table(connection, backup.path / FOLDER, table) != table["content"]:
                    wrong.append(f"{table['schema']}.{table['name']} lacks rows that changed, or has others.")
        for schema, name, last, called in backup.delta["sequences"]:
            sequence = sql.Identifier(schema, name).as_string(None)
            connection.execute("select setval(%s::regclass, %s, %s)", [sequence, last, called])
        for name, known in backup.tables.items():
            rows = _count(connection, *name.split(".", 1))
            if rows != known.rows:
                wrong.append(f"{name} had {known.rows} rows and has {rows}.")
    return wrong


def _count(connection: Connection, schema: str, table: str) -> int:
    return int(
        database.scalar(connection, sql.SQL("select count(*) from only {}").format(sql.Identifier(schema, table)))
    )


def _name(table: Mapping[str, Any]) -> sql.Identifier:
    return sql.Identifier(table["schema"], table["name"])


def _write_table(connection: Connection, folder: Path, number: int, one: Changed) -> dict[str, Any]:
    relation = sql.Identifier(one.schema, one.name)
    columns = [row[0] for row in connection.execute(_COLUMNS, [relation.as_string(None)])]
    listed = sql.SQL(", ").join(sql.Identifier("crm row", name) for name in columns)
    rows = sql.SQL("select {} from only {} as {}").format(listed, relation, sql.Identifier("crm row"))
    table: dict[str, Any] = {
        "schema": one.schema,
        "name": one.name,
        "columns": columns,
        "key": list(one.key),
        "rows": f"{number:04d}.rows",
    }
    if one.changes is not None:
        key = sql.SQL(", ").join(map(sql.Identifier, one.key))
        changes = sql.SQL(one.changes)
        rows += sql.SQL(" inner join {} as changes using ({})").format(changes, key)
        table["gone"] = f"{number:04d}.gone"
        _copy_out(connection, sql.SQL("select {} from {}").format(key, changes), folder / table["gone"])
    _copy_out(connection, rows, folder / table["rows"])
    same = None if one.changes is None else sql.SQL(one.changes)
    table["content"] = _content(connection, relation, one.key, same)
    return table


def _content(connection: Connection, relation: sql.Identifier, key: Sequence[str], keys: sql.SQL | None) -> list[Any]:
    """How many rows there are of these keys, or in all, and the sums of two hashes of their text."""
    row = sql.Identifier("crm row")
    texts = sql.SQL("select {}::text as whole from only {} as {}").format(row, relation, row)
    if keys is not None:
        listed = sql.SQL(", ").join(map(sql.Identifier, key))
        texts += sql.SQL(" inner join {} as keys using ({})").format(keys, listed)
    found = connection.execute(
        sql.SQL(
            "select count(*), coalesce(sum(hashtextextended(whole, 1)), 0) || ':' ||"
            " coalesce(sum(hashtextextended(whole, 2)), 0) from ({} offset 0) as content"
        ).format(texts)
    ).fetchone()
    return list(found or ())


def _copy_out(connection: Connection, query: sql.Composed, path: Path) -> None:
    with (
        path.open("wb") as file,
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy ({}) to stdout").format(query)) as copy,
    ):
        for chunk in copy:
            file.write(chunk)


def _sequence(connection: Connection, schema: str, name: str) -> tuple[int, bool]:
    query = sql.SQL("select last_value, is_called from {}").format(sql.Identifier(schema, name))
    return connection.execute(query).fetchone() or (1, False)


def _bring_table(connection: Connection, folder: Path, table: Mapping[str, Any]) -> list[Any]:
    relation = _name(table)
    columns = sql.SQL(", ").join(map(sql.Identifier, table["columns"]))
    if "gone" in table:
        key = sql.SQL(", ").join(map(sql.Identifier, table["key"]))
        connection.execute(
            sql.SQL("create temp table crm_keys on commit drop as select {} from {} limit 0").format(key, relation)
        )
        _copy_in(connection, sql.SQL("copy pg_temp.crm_keys from stdin"), folder / table["gone"])
        same = sql.SQL(" and ").join(
            sql.SQL("present.{0} = keys.{0}").format(sql.Identifier(name)) for name in table["key"]
        )
        connection.execute(
            sql.SQL("delete from only {} as present using pg_temp.crm_keys as keys where {}").format(relation, same)
        )
    else:
        connection.execute(sql.SQL("delete from only {}").format(relation))
    _copy_in(connection, sql.SQL("copy {} ({}) from stdin").format(relation, columns), folder / table["rows"])
    keys = sql.SQL("pg_temp.crm_keys") if "gone" in table else None
    content = _content(connection, relation, table["key"], keys)
    connection.execute("drop table if exists pg_temp.crm_keys")
    return content


def _copy_in(connection: Connection, statement: sql.Composed | sql.SQL, path: Path) -> None:
    with path.open("rb") as file, connection.cursor() as cursor, cursor.copy(statement) as copy:
        while chunk := file.read(_CHUNK):
            copy.write(chunk)


@contextmanager
def _undisturbed(connection: Connection, relations: Sequence[str]) -> Iterator[None]:
    """Without triggers and foreign keys meanwhile: neither the order of the tables nor cascades matter then."""
    try:
        with connection.transaction():
            connection.execute("set local session_replication_role = replica")
        yield
        return
    except psycopg.errors.InsufficientPrivilege:
        pass
    keys = database.rows(connection, _FOREIGN_KEYS, [list(relations), list(relations)])
    triggers = database.rows(connection, _TRIGGERS, [list(relations)])
    for key in keys:
        connection.execute(key["drop_it"])
    for trigger in triggers:
        connection.execute(trigger["disable_it"])
    yield
    for trigger in triggers:
        connection.execute(trigger["enable_it"])
    for key in keys:
        connection.execute(key["add_it"])


_FOREIGN_KEYS = """
    select
        format('alter table %%s drop constraint %%I', conrelid::regclass, conname) as drop_it,
        format(
            'alter table %%s add constraint %%I %%s', conrelid::regclass, conname, pg_get_constraintdef(oid)
        ) as add_it
    from pg_catalog.pg_constraint
    where contype = 'f' and conparentid = 0
        and (conrelid = any(%s::regclass[]) or confrelid = any(%s::regclass[]))
"""

_TRIGGERS = """
    select
        format('alter table %%s disable trigger %%I', tgrelid::regclass, tgname) as disable_it,
        format(
            'alter table %%s enable %%s trigger %%I', tgrelid::regclass,
            case tgenabled when 'R' then 'replica' when 'A' then 'always' else '' end, tgname
        ) as enable_it
    from pg_catalog.pg_trigger
    where tgrelid = any(%s::regclass[]) and not tgisinternal and tgenabled <> 'D'
"""
