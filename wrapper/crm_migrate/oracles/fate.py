"""O1: every legacy key is in the target, rejected or excluded by a named rule, exactly once."""

from __future__ import annotations

from functools import partial

from psycopg import sql

from crm_migrate import changed, database, pairs
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.oracles.comparison import IMPOSSIBLE, Comparisons
from crm_migrate.oracles.oracle import Oracle, Part, Tally, text
from crm_migrate.pairs import Pair
from crm_migrate.settings import Settings


def _fates(
    connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema, comparisons: Comparisons
) -> list[Part]:
    deals, tasks = sql.Identifier("crm_archive", "deals"), sql.Identifier("crm_archive", "tasks")
    moved = [
        (
            Pair("deals", deals, pairs.successor(settings, "opportunities"), ("opportunities",), "opportunities"),
            "id",
            None,
        ),
        (
            Pair("tasks", tasks, pairs.successor(settings, "activities"), ("tasks",), "activities"),
            "legacy_task_id",
            "activities",
        ),
    ]
    shown = [pair for pair in pairs.live_pairs(connection, settings, legacy) if pair.entity != "deals"]
    return [
        *(Part(partial(_fate_of, run_id, pair, key, changed_in), pair.archived) for pair, key, changed_in in moved),
        # at the end: by then they have been compared
        *(Part(partial(_fate_of_shown, run_id, pair, comparisons)) for pair in shown),
    ]


def _fate_of_shown(run_id: str, pair: Pair, comparisons: Comparisons, connection: Connection) -> Tally:
    try:
        compared = comparisons.of(connection, pair)
    except IMPOSSIBLE:
        return _fate_of(run_id, pair, "id", None, connection)
    unmatched = sql.SQL("select unnest({}::bigint[]) as key").format(sql.Literal(compared.unmatched))
    return _fate_of(run_id, pair, "id", None, connection, checked=compared.rows, unmatched=unmatched)


def _fate_of(
    run_id: str,
    pair: Pair,
    live_key: str,
    changed_in: str | None,
    connection: Connection,
    *,
    checked: int | None = None,
    unmatched: sql.Composable | None = None,
) -> Tally:
    left_out = pairs.changed_keys(connection, run_id, pair)
    if changed_in is not None:
        left_out |= _tasks_of_changed_activities(connection, run_id, pair)
    if checked is None:
        checked = database.count(connection, pair.archived)
    if unmatched is None:
        unmatched = sql.SQL(text("unmatched")).format(archived=pair.archived)
    name = pair.live.as_string(None) if isinstance(pair.live, sql.Identifier) else None
    found = database.rows(
        connection,
        sql.SQL(text("fate")).format(
            run=sql.Literal(run_id),
            model=sql.Literal(pair.model),
            entity=sql.Literal(pair.entity),
            archived=pair.archived,
            live=pair.live,
            live_name=sql.Literal(name),
            key=sql.Identifier(live_key),
            key_name=sql.Literal(live_key),
            unmatched=unmatched,
            left_out=sql.Literal(sorted(left_out)),
        ),
    )
    tally = Tally()
    tally.add(
        checked,
        (
            f"{pair.entity} {row['row_key']}: "
            + (
                f"{row['live']} in the target, {row['rejected']} rejected, {row['excluded']} excluded"
                if row["is_legacy"]
                else "in the target only"
            )
            for row in found
        ),
        len(left_out),
    )
    return tally


def _tasks_of_changed_activities(connection: Connection, run_id: str, pair: Pair) -> frozenset[str]:
    found = changed.keys(connection, run_id, "activities").keys
    if not found:
        return frozenset()
    # an activity that was built has the key of its task, one that was added meanwhile may have any
    live = connection.execute(
        sql.SQL("select legacy_task_id::text from {} where id::text = any(%s) and legacy_task_id is not null").format(
            pair.live
        ),
        [sorted(found)],
    ).fetchall()
    return found | frozenset(row[0] for row in live)


FATE = Oracle("O1", "Every legacy row has exactly one fate.", "Rows without exactly one fate", _fates)
