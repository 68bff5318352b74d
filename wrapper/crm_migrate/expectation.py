"""What the tables have to hold after a rollback: written down in its transaction, compared when it is over.

People work between cutover and rollback, so the fingerprint of before says nothing about the rows that they touched.
What nobody touched has to be as in that fingerprint; what somebody touched, as the old names showed it to people.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.fingerprint import Difference, Fingerprint

_DEALS = "deals"


def remember_tables(
    connection: Connection,
    run_id: str,
    names: Mapping[str, str],
    *,
    created: Collection[str],
    dropped: Collection[str],
    leave_out: Collection[str],
) -> None:
    """Write down what each table of the CRM holds that is there before and after the rollback.

    Args:
        names: what a table will be called, where it is called otherwise now.
        created: what the cutover made, and the rollback takes away.
        dropped: columns that the rollback takes away, as `table.column`.
        leave_out: tables that the rollback writes, by the names that they will have.
    """
    connection.execute("delete from crm_migration.expected_content where run_id = %s", [run_id])
    connection.execute("delete from crm_migration.expected_deals where run_id = %s", [run_id])
    for table, name, columns in connection.execute(
        """
        select own.oid::regclass::text, own.name, array_agg(attname::text order by attnum)
        from crm_migration.own_relations('public') as own
        inner join pg_catalog.pg_attribute on attrelid = own.oid and attnum > 0 and not attisdropped
        where own.kind = 'r' and own.oid::regclass::text <> all(%s)
            and own.oid::regclass::text || '.' || attname <> all(%s)
        group by own.oid, own.name
        """,
        [list(created), list(dropped)],
    ).fetchall():
        if names.get(name, name) not in leave_out:
            connection.execute(
                "insert into crm_migration.expected_content (run_id, table_name, row_count, hash)"
                " select %s, %s, row_count, hash from crm_migration.content_of(%s::regclass, %s)",
                [run_id, names.get(name, name), table, columns],
            )


def remember_deals(connection: Connection, run_id: str, opportunities: sql.Identifier, before: Fingerprint) -> None:
    """Write down the deals that people touched as the view shows them, and what all others have to add up to."""
    connection.execute(
        sql.SQL(
            """
            insert into crm_migration.expected_deals (run_id, key)
            select %(run)s, key from crm_migration.changes where table_name = 'opportunities'
            union
            -- refused by the target: nobody could touch them, but their company may have gone
            select %(run)s, deals.id::text
            from crm_archive.deals
            where not exists (select from {} as kept where kept.id = deals.id)
            """
        ).format(opportunities),
        {"run": run_id},
    )
    keys = _single_keys(connection, run_id)
    for relation in ("crm_archive.deals", "public.deals"):
        # what only the archive has was refused; what the view has, people have seen
        _hash(connection, run_id, relation, "crm_archive.deals", keys)
    connection.execute(
        "update crm_migration.expected_deals set hash = null where run_id = %s"
        " and key in (select key from crm_migration.changes where table_name = 'opportunities')"
        " and not exists (select from public.deals where deals.id::text = expected_deals.key)",
        [run_id],
    )
    rows, (first, second) = before.contents[_DEALS]["rows"], _halves(before.contents[_DEALS]["hash"])
    for (hash_then,) in connection.execute(
        "select hash from crm_migration.row_hashes('crm_archive.deals', 'crm_archive.deals', %s)", [keys]
    ):
        of_row = _halves(hash_then)
        rows, first, second = rows - 1, first - of_row[0], second - of_row[1]
    connection.execute(
        "insert into crm_migration.expected_content (run_id, table_name, row_count, hash) values (%s, %s, %s, %s)",
        [run_id, _DEALS, rows, f"{first}:{second}"],
    )


def settle(connection: Connection, run_id: str, keys: Sequence[str]) -> None:
    """Deals whose company went away are as the rule of the foreign key has made them."""
    connection.execute(
        "update crm_migration.expected_deals set hash = null where run_id = %s and key = any(%s)", [run_id, list(keys)]
    )
    _hash(connection, run_id, "public.deals", "public.deals", keys)


def differences(connection: Connection, run_id: str, after: Fingerprint) -> list[Difference]:
    """What does not hold what it has to hold; touched deals one by one."""
    contents = dict(after.contents)
    keys = _single_keys(connection, run_id)
    if keys:
        for rows, hash_now in connection.execute(
            "select * from crm_migration.content_of('public.deals', null, %s)", [keys]
        ).fetchall():
            contents[_DEALS] = {"rows": rows, "hash": hash_now}
    found = []
    for table, rows, hash_then in connection.execute(
        "select table_name, row_count, hash from crm_migration.expected_content where run_id = %s order by 1", [run_id]
    ).fetchall():
        expected = {"rows": rows, "hash": hash_then}
        if contents.get(table) != expected:
            found.append(Difference("content", table, expected, contents.get(table)))
    for key, hash_then, hash_now in connection.execute(
        "select key, expected.hash, present.hash from crm_migration.expected_deals as expected"
        " left join crm_migration.row_hashes('public.deals', 'public.deals', %s) as present using (key)"
        " where run_id = %s and expected.hash is distinct from present.hash order by length(key), key",
        [keys, run_id],
    ).fetchall():
        found.append(Difference("content", f"deals {key}", hash_then, hash_now))
    return found


def _single_keys(connection: Connection, run_id: str) -> list[str]:
    found = database.scalar(
        connection,
        "select coalesce(array_agg(key), '{}') from crm_migration.expected_deals where run_id = %s",
        [run_id],
    )
    return list(found)


def _hash(connection: Connection, run_id: str, relation: str, shape: str, keys: Sequence[str]) -> None:
    connection.execute(
        "update crm_migration.expected_deals set hash = present.hash"
        " from crm_migration.row_hashes(%s::regclass, %s::regclass, %s) as present"
        " where run_id = %s and expected_deals.key = present.key",
        [relation, shape, list(keys), run_id],
    )


def _halves(text: str) -> tuple[int, int]:
    first, second = text.split(":")
    return int(first), int(second)
