"""The oracles: each asks one question about every row of the migrated database, and is able to say no."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import LiteralString

import psycopg
from psycopg import sql

from crm_migrate import changed, compat, compat_views, database, paths
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
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


@dataclass(frozen=True)
class Pair:
    """A legacy table in the archive, what shows it today, and the tables in which people change it."""

    entity: str
    archived: sql.Identifier
    live: sql.Composable
    """What shows it today, for a FROM clause."""
    journal: tuple[str, ...]
    model: str = ""
    hidden: sql.Composable | None = None
    """Query of the keys that go out of sight with a row of another table, and of the key of that row."""
    hidden_by: str = ""
    """The name of that table in the journal."""


class _Tally:
    """Adds up what the parts of an oracle found."""

    def __init__(self) -> None:
        self.checked = self.differences = self.changed = 0
        self.examples: list[str] = []

    def add(self, checked: int, differences: Iterable[str], changed_rows: int = 0) -> None:
        found = list(differences)
        self.checked += checked
        self.differences += len(found)
        self.changed += changed_rows
        self.examples += found[:EXAMPLES]

    def result(self, oracle: str, good: str, bad: str) -> OracleResult:
        ok = self.differences == 0
        shown = tuple(self.examples[:EXAMPLES])
        message = good if ok else f"{bad}: {'; '.join(shown)}"
        return OracleResult(oracle, ok, self.checked, self.differences, self.changed, message, shown)


Oracle = Callable[[Connection, Settings, str, LegacySchema], OracleResult]


def live_pairs(connection: Connection, settings: Settings, legacy: LegacySchema) -> list[Pair]:
    """The legacy tables and where their rows are today.

    A compatibility view that was dropped on purpose is replaced by its own query, so that nothing goes unchecked.
    """
    ended = compat.dropped(connection)
    queries = {
        view.name: sql.SQL("({}) as shown").format(view.selection)
        for view in (compat_views.views(connection, settings, legacy) if ended else ())
        if view.name in ended
    }
    names = {"deals": "deals", "deal_notes": legacy.table("deal_notes")}
    return [replace(pair, live=queries.get(names.get(pair.entity, ""), pair.live)) for pair in pairs(settings, legacy)]


def pairs(settings: Settings, legacy: LegacySchema) -> list[Pair]:
    """The legacy tables and what has their names while the compatibility views stand."""
    deal_notes, contact_notes = legacy.table("deal_notes"), legacy.table("contact_notes")
    # the old name does not show the notes of an opportunity that was deleted softly
    hidden = sql.SQL(
        "select notes.id::text as key, opportunities.id::text as with_key from {} as notes"
        " inner join {} as opportunities on opportunities.id = notes.opportunity_id"
        " where opportunities.deleted_at is not null"
    ).format(_new(settings, "opportunity_notes"), _new(settings, "opportunities"))

    def pair(entity: str, name: str, *journal: str, model: str = "") -> Pair:
        return Pair(entity, sql.Identifier("crm_archive", name), sql.Identifier("public", name), journal, model)

    return [
        pair("deals", "deals", "opportunities", model="opportunities"),
        pair("companies", "companies", "companies"),
        pair("contacts", "contacts", "contacts"),
        replace(pair("deal_notes", deal_notes, "opportunity_notes"), hidden=hidden, hidden_by="opportunities"),
        pair("contact_notes", contact_notes, contact_notes),
        pair("tasks", "tasks", "tasks"),
        pair("sales", "sales", "sales"),
        pair("tags", "tags", "tags"),
    ]


def changed_keys(connection: Connection, run_id: str, pair: Pair) -> frozenset[str]:
    """The keys that people changed since, by themselves or by what they did to the row they belong to."""
    own = changed.keys(connection, run_id, *pair.journal).keys
    others = changed.keys(connection, run_id, pair.hidden_by).keys if pair.hidden is not None else None
    if not others:
        return own
    query = sql.SQL("select key from ({}) as hidden where with_key = any(%s)").format(pair.hidden)
    return own | {row[0] for row in connection.execute(query, [sorted(others)])}


def fate(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> OracleResult:
    """O1: every legacy key is in the target, rejected or excluded by a named rule, exactly once."""
    tally = _Tally()
    opportunities = Pair(
        "deals",
        sql.Identifier("crm_archive", "deals"),
        _new(settings, "opportunities"),
        ("opportunities",),
        "opportunities",
    )
    for pair in [opportunities, *(item for item in live_pairs(connection, settings, legacy) if item.entity != "deals")]:
        _fate_of(connection, run_id, pair, "id", tally)
    activities = Pair(
        "tasks", sql.Identifier("crm_archive", "tasks"), _new(settings, "activities"), ("tasks",), "activities"
    )
    _fate_of(connection, run_id, activities, "legacy_task_id", tally, changed_in="activities")
    return tally.result("O1", "Every legacy row has exactly one fate.", "Rows without exactly one fate")


def _fate_of(
    connection: Connection, run_id: str, pair: Pair, live_key: str, tally: _Tally, changed_in: str | None = None
) -> None:
    left_out = changed_keys(connection, run_id, pair)
    if changed_in is not None:
        left_out |= _tasks_of_changed_activities(connection, run_id, pair)
    checked = _count(connection, pair.archived)
    query = sql.SQL(_text("fate")).format(
        run=sql.Literal(run_id),
        model=sql.Literal(pair.model),
        entity=sql.Literal(pair.entity),
        archived=pair.archived,
        live=pair.live,
        key=sql.Identifier(live_key),
    )
    found = database.rows(
        connection,
        sql.SQL(
            "select * from ({query}) as fates where not (is_legacy and live + rejected + excluded = 1)"
            " and row_key <> all({left_out}) order by length(row_key), row_key"
        ).format(query=query, left_out=sql.Literal(sorted(left_out))),
    )
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


def ledger(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> OracleResult:
    """O2: the batches' ranges have no gap and no overlap, and their rows add up to the target's."""
    del legacy
    tally = _Tally()
    tally.add(
        0,
        (
            f"{row['model']} batch {row['batch_no']}: {row['problem']}"
            for row in database.rows(
                connection,
                sql.SQL(_text("ledger_ranges")).format(run=sql.Literal(run_id)),
            )
            if row["problem"]
        ),
    )
    loads = database.rows(
        connection,
        "select model, finished_at is not null as finished from crm_migration.model_loads where run_id = %s order by 1",
        [run_id],
    )
    if not loads:
        tally.add(0, ["the ledger of this run is empty"])
    for load in loads:
        if not load["finished"]:
            tally.add(0, [f"{load['model']}: its load was not finished"])
        _rows_of(connection, settings, run_id, load["model"], tally)
    return tally.result(
        "O2", "The ledger's ranges are complete and add up to the tables.", "The ledger does not add up"
    )


def _rows_of(connection: Connection, settings: Settings, run_id: str, model: str, tally: _Tally) -> None:
    # the classifications became columns of the companies: one row each
    name, key = ("companies", "id") if model == "company_classifications" else (model, "id")
    table = _new(settings, name)
    if not database.exists(connection, table.as_string(connection)):
        tally.add(0, [f"{model}: the table {name} is not there"])
        return
    people = changed.keys(connection, run_id, name)
    rows = database.rows(
        connection,
        sql.SQL(_text("ledger_rows")).format(
            table=table,
            key=sql.Identifier(key),
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


def _present(connection: Connection, table: sql.Identifier, keys: frozenset[str]) -> frozenset[str]:
    if not keys:
        return frozenset()
    query = sql.SQL("select id::text from {} where id::text = any(%s)").format(table)
    return frozenset(row[0] for row in connection.execute(query, [sorted(keys)]))


def round_trip(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> OracleResult:
    """O3: every legacy table is what its view or its successor shows, over every legacy column."""
    tally = _Tally()
    for pair in live_pairs(connection, settings, legacy):
        people = changed_keys(connection, run_id, pair)
        rejected = _rejected(connection, run_id, pair.model)
        columns = archived_columns(connection, pair)
        query = sql.SQL(
            "select row_key, difference from crm_migration.differing_rows(%s, %s)"
            " where row_key <> all(%s) and not (row_key = any(%s) and difference = 'missing')"
            " order by length(row_key), row_key"
        )
        selections = [_selection(connection, columns, table) for table in (pair.archived, pair.live)]
        try:
            with connection.transaction():
                found = connection.execute(query, [*selections, sorted(people), sorted(rejected)]).fetchall()
        except (
            psycopg.errors.DatatypeMismatch,
            psycopg.errors.UndefinedTable,
            psycopg.errors.UndefinedColumn,
        ) as error:
            tally.add(0, [f"{pair.entity}: {str(error).splitlines()[0]}"])
            continue
        tally.add(
            _count(connection, pair.archived),
            (f"{pair.entity} {key}: {difference}" for key, difference in found),
            len(people),
        )
    return tally.result(
        "O3", "Every legacy row comes back exactly, column by column.", "Rows do not come back as they were"
    )


def archived_columns(connection: Connection, pair: Pair) -> list[str]:
    """The legacy columns, in their order."""
    return [
        row[0]
        for row in connection.execute(
            "select attname::text from pg_catalog.pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
            [pair.archived.as_string(connection)],
        )
    ]


def _selection(connection: Connection, columns: list[str], table: sql.Composable) -> str:
    listed = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    return sql.SQL("select {} from {}").format(listed, table).as_string(connection)


def conservation(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> OracleResult:
    """O4: amounts, rows per stage, lengths of lists and numbers of links add up to what they were."""
    tally = _Tally()
    people = {
        name: sorted(changed.keys(connection, run_id, name).keys)
        for name in ("opportunities", "companies", "contacts", "activities", "tasks", "opportunity_notes")
    }
    people["contact_notes"] = sorted(changed.keys(connection, run_id, legacy.table("contact_notes")).keys)
    participants = changed.keys(connection, run_id, "opportunity_participants")
    for file in sorted((paths.SQL / "oracles").glob("conservation_*.sql")):
        name = file.stem.removeprefix("conservation_").replace("_", " ")
        composed = sql.SQL(_text(file.stem)).format(
            opportunities=_new(settings, "opportunities"),
            links=_new(settings, "contact_organizations"),
            participants=_new(settings, "opportunity_participants"),
            activities=_new(settings, "activities"),
            deal_notes=sql.Identifier("crm_archive", legacy.table("deal_notes")),
            contact_notes=sql.Identifier("crm_archive", legacy.table("contact_notes")),
            live_contact_notes=sql.Identifier("public", legacy.table("contact_notes")),
            run=sql.Literal(run_id),
            changed_links=sql.Literal(sorted(changed.keys(connection, run_id, "contact_organizations").keys)),
            replaced_links=sql.Literal(len(changed.keys(connection, run_id, "contact_organizations").replaced)),
            changed_participants=sql.Literal(sorted(participants.keys)),
            replaced_participants=sql.Literal(sorted(participants.replaced)),
            **{f"changed_{table}": sql.Literal(keys) for table, keys in people.items()},
        )
        rows = database.rows(connection, composed)
        tally.add(
            sum(int(row["rows"]) for row in rows),
            (
                f"{name} {row['part'] or ''}: {row['before']} before, {row['after']} after".replace(" :", ":")
                for row in rows
                if row["before"] != row["after"]
            ),
        )
    tally.changed = len({key for keys in people.values() for key in keys})
    return tally.result("O4", "Amounts, stages, lists and links add up to what they were.", "Sums differ")


def notices(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> OracleResult:
    """O7: at most one notice per person and event, for each plan and run; and each Message-ID belongs to one."""
    del settings, run_id, legacy
    if not database.exists(connection, "crm_migration.notices"):
        return OracleResult("O7", None, 0, 0, 0, "There is no outbox: nobody was told anything.")
    tally = _Tally()
    found = database.rows(connection, sql.SQL(_text("notices")))
    total = int(database.scalar(connection, "select count(*) from crm_migration.notices"))
    # the person is not named: the report may be passed on
    tally.add(total, (f"{row['rows']} notices of {row['event']} about {row['subject']} to one person" for row in found))
    return tally.result("O7", "Nobody is told anything twice.", "People are told the same more than once")


def not_applicable() -> list[OracleResult]:
    """The oracles that other commands and the tests ask."""
    return [
        OracleResult("O5", None, 0, 0, 0, "Asked by a rollback: the legacy schema is as it was."),
        OracleResult("O6", None, 0, 0, 0, "Asked by the tests: a second apply writes no row."),
        OracleResult("O8", None, 0, 0, 0, "Asked by the tests: nobody writes while the lock is held."),
    ]


# what takes longest comes first, so that two connections end at about the same time
ORACLES: tuple[Oracle, ...] = (round_trip, fate, conservation, ledger, notices)


def _text(name: str) -> LiteralString:
    return (paths.SQL / "oracles" / f"{name}.sql").read_text(encoding="utf-8")


def _new(settings: Settings, name: str) -> sql.Identifier:
    return sql.Identifier("public", settings.rename.get(name, name))


def _count(connection: Connection, table: sql.Identifier) -> int:
    return int(database.scalar(connection, sql.SQL("select count(*) from {}").format(table)))


def _rejected(connection: Connection, run_id: str, model: str) -> frozenset[str]:
    found = connection.execute(
        "select key_value::text from crm_migration.rejected_records where run_id = %s and model = %s", [run_id, model]
    )
    return frozenset(row[0] for row in found)
