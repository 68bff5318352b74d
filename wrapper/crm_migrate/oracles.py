"""The oracles: each asks one question about every row of the migrated database, and is able to say no."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import LiteralString

import psycopg
from psycopg import sql

from crm_migrate import changed, database, pairs, parallel, paths
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.pairs import Pair
from crm_migrate.settings import Settings

EXAMPLES = 5


@dataclass(frozen=True)
class OracleResult:
    """What an oracle says; `ok` is None where it has nothing to ask."""

    id: str
    ok: bool | None
    checked_rows: int
    differences: int
    changed_since: int
    message: str
    examples: tuple[str, ...] = ()


@dataclass
class Tally:
    """Adds up what a part of an oracle found."""

    checked: int = 0
    differences: int = 0
    changed: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, checked: int, differences: Iterable[str], changed_rows: int = 0) -> None:
        """Count rows that were checked, the differences among them, and rows that people changed since."""
        found = list(differences)
        self.checked += checked
        self.differences += len(found)
        self.changed += changed_rows
        self.examples += found[:EXAMPLES]


@dataclass(frozen=True)
class Part:
    """A part of an oracle's question, which is asked on any connection, and the table that makes most of its work."""

    ask: Callable[[Connection], Tally]
    about: sql.Identifier | None = None

    def size(self, connection: Connection) -> int:
        """Bytes of that table."""
        name = None if self.about is None else self.about.as_string(None)
        query = "select coalesce(pg_catalog.pg_relation_size(pg_catalog.to_regclass(%s)), 0)"
        return int(database.scalar(connection, query, [name]))


Divide = Callable[[Connection, Settings, str, LegacySchema], Sequence[Part]]


@dataclass(frozen=True)
class Oracle:
    """One question about every row.

    Attributes:
        id: what reports call it.
        good: what it says where it finds nothing.
        bad: what it calls what it finds.
        divide: the parts of its question, for a database as it is; none where there is nothing to ask.
        idle: what it says then.
    """

    id: str
    good: str
    bad: str
    divide: Divide
    idle: str = ""

    def result(self, tallies: Sequence[Tally]) -> OracleResult:
        """What the parts found, together."""
        if not tallies:
            return OracleResult(self.id, None, 0, 0, 0, self.idle)
        differences = sum(tally.differences for tally in tallies)
        shown = tuple([example for tally in tallies for example in tally.examples][:EXAMPLES])
        return OracleResult(
            self.id,
            differences == 0,
            sum(tally.checked for tally in tallies),
            differences,
            sum(tally.changed for tally in tallies),
            f"{self.bad}: {'; '.join(shown)}" if differences else self.good,
            shown,
        )


def _fates(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> list[Part]:
    """O1: every legacy key is in the target, rejected or excluded by a named rule, exactly once."""
    deals, tasks = sql.Identifier("crm_archive", "deals"), sql.Identifier("crm_archive", "tasks")
    asked = [
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
        *((pair, "id", None) for pair in pairs.live_pairs(connection, settings, legacy) if pair.entity != "deals"),
    ]
    return [Part(partial(_fate_of, run_id, pair, key, changed_in), pair.archived) for pair, key, changed_in in asked]


def _fate_of(run_id: str, pair: Pair, live_key: str, changed_in: str | None, connection: Connection) -> Tally:
    left_out = pairs.changed_keys(connection, run_id, pair)
    if changed_in is not None:
        left_out |= _tasks_of_changed_activities(connection, run_id, pair)
    checked = _count(connection, pair.archived)
    name = pair.live.as_string(None) if isinstance(pair.live, sql.Identifier) else None
    found = database.rows(
        connection,
        sql.SQL(_text("fate")).format(
            run=sql.Literal(run_id),
            model=sql.Literal(pair.model),
            entity=sql.Literal(pair.entity),
            archived=pair.archived,
            live=pair.live,
            live_name=sql.Literal(name),
            key=sql.Identifier(live_key),
            key_name=sql.Literal(live_key),
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


def _ledgers(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> list[Part]:
    """O2: the batches' ranges have no gap and no overlap, and their rows add up to the target's."""
    del legacy
    loads = database.rows(
        connection,
        "select model, finished_at is not null as finished from crm_migration.model_loads where run_id = %s order by 1",
        [run_id],
    )
    return [
        Part(partial(_ranges, run_id, is_empty=not loads)),
        *(
            Part(
                partial(_rows_of, settings, run_id, load["model"], load["finished"]),
                pairs.successor(settings, _name_of(load["model"])),
            )
            for load in loads
        ),
    ]


def _ranges(run_id: str, connection: Connection, *, is_empty: bool) -> Tally:
    tally = Tally()
    if is_empty:
        tally.add(0, ["the ledger of this run is empty"])
    tally.add(
        0,
        (
            f"{row['model']} batch {row['batch_no']}: {row['problem']}"
            for row in database.rows(connection, sql.SQL(_text("ledger_ranges")).format(run=sql.Literal(run_id)))
            if row["problem"]
        ),
    )
    return tally


def _name_of(model: str) -> str:
    # the classifications became columns of the companies: one row each
    return "companies" if model == "company_classifications" else model


def _rows_of(settings: Settings, run_id: str, model: str, finished: bool, connection: Connection) -> Tally:
    tally = Tally()
    if not finished:
        tally.add(0, [f"{model}: its load was not finished"])
    # the journal has a table's own name, whatever the installation calls it
    name = _name_of(model)
    table = pairs.successor(settings, name)
    if not database.exists(connection, table.as_string(connection)):
        tally.add(0, [f"{model}: the table {name} is not there"])
        return tally
    people = changed.keys(connection, run_id, name)
    rows = database.rows(
        connection,
        sql.SQL(_text("ledger_rows")).format(
            table=table,
            key=sql.Identifier("id"),
            changed=sql.Literal(sorted(people.keys)),
            replaced=sql.Literal(sorted(people.replaced)),
            run=sql.Literal(run_id),
            model=sql.Literal(model),
        ),
    )
    tally.add(
        sum(row["present"] for row in rows),
        (
            f"{model} batch {row['batch_no']}: {row['rows_written']} written and {row['rows_rejected']} rejected as the"
            f" ledger says, {row['present']} and {row['rejected']} there"
            for row in rows
            if row["present"] != row["rows_written"] or row["rejected"] != row["rows_rejected"]
        ),
        len(people.keys),
    )
    total = _count(connection, table) - len(people.added & _present(connection, table, people.added))
    planned = sum(row["present"] for row in rows)
    lost = len(people.replaced - _present(connection, table, people.replaced))
    if planned != total + lost:
        tally.add(0, [f"{model}: {total + lost} rows in the table, {planned} in the ledger's ranges"])
    return tally


def _present(connection: Connection, table: sql.Identifier, keys: frozenset[str]) -> frozenset[str]:
    if not keys:
        return frozenset()
    query = sql.SQL("select id::text from {} where id::text = any(%s)").format(table)
    return frozenset(row[0] for row in connection.execute(query, [sorted(keys)]))


def _round_trips(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> list[Part]:
    """O3: every legacy table is what its view or its successor shows, over every legacy column."""
    asked = pairs.live_pairs(connection, settings, legacy)
    return [Part(partial(_round_trip_of, run_id, pair), pair.archived) for pair in asked]


def _round_trip_of(run_id: str, pair: Pair, connection: Connection) -> Tally:
    tally = Tally()
    people = pairs.changed_keys(connection, run_id, pair)
    rejected = _rejected(connection, run_id, pair.model)
    columns = pairs.archived_columns(connection, pair)
    query = sql.SQL(
        "select row_key, difference from crm_migration.differing_rows(%s, %s)"
        " where row_key <> all(%s) and not (row_key = any(%s) and difference = 'missing')"
        " order by length(row_key), row_key"
    )
    selections = [_selection(connection, columns, table) for table in (pair.archived, pair.live)]
    try:
        with connection.transaction():
            found = connection.execute(query, [*selections, sorted(people), sorted(rejected)]).fetchall()
    except (psycopg.errors.DatatypeMismatch, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        tally.add(0, [f"{pair.entity}: {str(error).splitlines()[0]}"])
        return tally
    tally.add(
        _count(connection, pair.archived),
        (f"{pair.entity} {key}: {difference}" for key, difference in found),
        len(people),
    )
    return tally


def _selection(connection: Connection, columns: list[str], table: sql.Composable) -> str:
    listed = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    return sql.SQL("select {} from {}").format(listed, table).as_string(connection)


def _sums(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> list[Part]:
    """O4: amounts, rows per stage, lengths of lists and numbers of links add up to what they were."""
    people = {
        name: sorted(changed.keys(connection, run_id, name).keys)
        for name in ("opportunities", "companies", "contacts", "activities", "tasks", "opportunity_notes")
    }
    people["contact_notes"] = sorted(changed.keys(connection, run_id, legacy.table("contact_notes")).keys)
    links = changed.keys(connection, run_id, "contact_organizations")
    participants = changed.keys(connection, run_id, "opportunity_participants")
    values = {
        "opportunities": pairs.successor(settings, "opportunities"),
        "links": pairs.successor(settings, "contact_organizations"),
        "participants": pairs.successor(settings, "opportunity_participants"),
        "activities": pairs.successor(settings, "activities"),
        "deal_notes": sql.Identifier("crm_archive", legacy.table("deal_notes")),
        "contact_notes": sql.Identifier("crm_archive", legacy.table("contact_notes")),
        "live_contact_notes": sql.Identifier("public", legacy.table("contact_notes")),
        "run": sql.Literal(run_id),
        "changed_links": sql.Literal(sorted(links.keys)),
        "replaced_links": sql.Literal(len(links.replaced)),
        "changed_participants": sql.Literal(sorted(participants.keys)),
        "replaced_participants": sql.Literal(sorted(participants.replaced)),
        **{f"changed_{table}": sql.Literal(keys) for table, keys in people.items()},
    }
    files = sorted((paths.SQL / "oracles").glob("conservation_*.sql"))
    everybodys = Tally(changed=len({key for keys in people.values() for key in keys}))
    return [
        Part(lambda _: everybodys),
        *(
            Part(
                partial(_sum_of, file.stem, sql.SQL(_text(file.stem)).format(**values)),
                sql.Identifier("crm_archive", "contacts" if "contact" in file.stem else "deals"),
            )
            for file in files
        ),
    ]


def _sum_of(stem: str, query: sql.Composed, connection: Connection) -> Tally:
    name = stem.removeprefix("conservation_").replace("_", " ")
    rows = database.rows(connection, query)
    tally = Tally()
    tally.add(
        sum(int(row["rows"]) for row in rows),
        (
            f"{name} {row['part'] or ''}: {row['before']} before, {row['after']} after".replace(" :", ":")
            for row in rows
            if row["before"] != row["after"]
        ),
    )
    return tally


def _notices(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> list[Part]:
    """O7: at most one notice per person and event, for each plan and run; and each Message-ID belongs to one."""
    del settings, run_id, legacy
    return [Part(_notices_told)] if database.exists(connection, "crm_migration.notices") else []


def _notices_told(connection: Connection) -> Tally:
    tally = Tally()
    found = database.rows(connection, sql.SQL(_text("notices")))
    total = int(database.scalar(connection, "select count(*) from crm_migration.notices"))
    # the person is not named: the report may be passed on
    tally.add(total, (f"{row['rows']} notices of {row['event']} about {row['subject']} to one person" for row in found))
    return tally


def not_applicable() -> list[OracleResult]:
    """The oracles that other commands and the tests ask."""
    return [
        OracleResult("O5", None, 0, 0, 0, "Asked by a rollback: the legacy schema is as it was."),
        OracleResult("O6", None, 0, 0, 0, "Asked by the tests: a second apply writes no row."),
        OracleResult("O8", None, 0, 0, 0, "Asked by the tests: nobody writes while the lock is held."),
    ]


FATE = Oracle("O1", "Every legacy row has exactly one fate.", "Rows without exactly one fate", _fates)
LEDGER = Oracle(
    "O2", "The ledger's ranges are complete and add up to the tables.", "The ledger does not add up", _ledgers
)
ROUND_TRIP = Oracle(
    "O3", "Every legacy row comes back exactly, column by column.", "Rows do not come back as they were", _round_trips
)
CONSERVATION = Oracle("O4", "Amounts, stages, lists and links add up to what they were.", "Sums differ", _sums)
NOTICES = Oracle(
    "O7",
    "Nobody is told anything twice.",
    "People are told the same more than once",
    _notices,
    idle="There is no outbox: nobody was told anything.",
)
ORACLES = (ROUND_TRIP, FATE, CONSERVATION, LEDGER, NOTICES)


def ask(
    connection: Connection,
    settings: Settings,
    run_id: str,
    legacy: LegacySchema,
    *,
    asked: Sequence[Oracle] = ORACLES,
    session: Mapping[str, str] | None = None,
) -> list[OracleResult]:
    """Ask oracles about one state of the database, their parts two at a time, the largest first.

    Args:
        connection: the others see what its transaction sees.
        session: parameters of the server for their connections.
    """
    idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    # no snapshot can be exported from within a transaction of a transaction
    with connection.transaction() if idle else contextlib.nullcontext():
        parts = [(oracle, part) for oracle in asked for part in oracle.divide(connection, settings, run_id, legacy)]
        # a sort keeps the order of equals: of the same table, what an earlier oracle asks takes longer
        parts.sort(key=lambda one: -one[1].size(connection))
        found = parallel.run(
            settings,
            [part.ask for _, part in parts],
            database_name=connection.info.dbname,
            snapshot=database.scalar(connection, "select pg_export_snapshot()"),
            session=session,
            application="crm-migrate verify",
        )
    return [
        oracle.result([tally for (of, _), tally in zip(parts, found, strict=True) if of is oracle]) for oracle in asked
    ]


def _text(name: str) -> LiteralString:
    return (paths.SQL / "oracles" / f"{name}.sql").read_text(encoding="utf-8")


def _count(connection: Connection, table: sql.Identifier) -> int:
    return int(database.scalar(connection, sql.SQL("select count(*) from {}").format(table)))


def _rejected(connection: Connection, run_id: str, model: str) -> frozenset[str]:
    found = connection.execute(
        "select key_value::text from crm_migration.rejected_records where run_id = %s and model = %s", [run_id, model]
    )
    return frozenset(row[0] for row in found)
