"""Findings: what the gates found, and the verdict that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from crm_migrate import database, gate_checks, gates, rejected
from crm_migrate.database import Connection
from crm_migrate.errors import UsageError
from crm_migrate.settings import Settings

# which staging views hold an entity's rows
_ROWS: Mapping[str, tuple[str, ...]] = {
    "companies": ("stg_legacy__companies",),
    "contacts": ("stg_legacy__contacts",),
    "deals": ("stg_legacy__deals",),
    "notes": ("stg_legacy__deal_notes", "stg_legacy__contact_notes"),
    "tasks": ("stg_legacy__tasks",),
}
# where an entity's rows are in the legacy database, in the names of both generations, and what their keys begin with
_LEGACY: Mapping[str, tuple[tuple[str, str], ...]] = {
    "companies": (("", "companies"),),
    "contacts": (("", "contacts"),),
    "deals": (("", "deals"),),
    "notes": (
        ("deal_note:", "deal_notes"),
        ("deal_note:", "dealNotes"),
        ("contact_note:", "contact_notes"),
        ("contact_note:", "contactNotes"),
    ),
    "tasks": (("", "tasks"),),
}
MOVED = "moved_during_the_run"


@dataclass(frozen=True)
class Finding:
    """What a check found, with the dotted code by which a warning is accepted."""

    id: str
    check_id: str
    gate: str
    severity: str
    entity: str
    rows: int
    sample_keys: tuple[str, ...]
    message: str
    hint: str
    accepted: bool = False


@dataclass(frozen=True)
class EntityCount:
    """How many rows an entity has, and how many of them count against it; a row counts once."""

    rows: int
    warned: int
    rejected: int
    percent: float


@dataclass(frozen=True)
class Verdict:
    """GO or NO-GO, and why."""

    go: bool
    entities: Mapping[str, EntityCount]
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...]


class UnknownWarning(UsageError):
    """A warning was accepted that no check gives, or something was accepted that is no warning."""

    code = "CRM-013"


def verdict(connection: Connection, settings: Settings, run_id: str, accepted: Mapping[str, str]) -> Verdict:
    """Judge what was found.

    Args:
        accepted: warnings by code, with the reason for which each is accepted.

    Raises:
        UnknownWarning: an accepted code is not the code of a warning, or has no reason.
    """
    require_warnings(accepted)
    with connection.transaction():
        rejected.record(connection, run_id)
    found = load(connection, run_id, accepted)
    entities = {entity: _count(connection, run_id, entity, accepted) for entity in gate_checks.ENTITIES}
    reasons = [
        f"Blocker {finding.id} ({finding.rows:,} row{'s' if finding.rows != 1 else ''}): {finding.message}"
        for finding in found
        if finding.severity == "blocker"
    ]
    reasons += [
        f"{count.percent:.2f} % of {entity} ({count.warned + count.rejected:,} of {count.rows:,}) have a warning"
        f" or were rejected; the threshold is {settings.threshold_percent:g} %."
        for entity, count in entities.items()
        if count.percent >= settings.threshold_percent and count.warned + count.rejected > 0
    ]
    return Verdict(not reasons, entities, tuple(found), tuple(reasons))


def load(connection: Connection, run_id: str, accepted: Mapping[str, str]) -> list[Finding]:
    """The findings of a run, worst first."""
    return [
        Finding(
            id=row["code"],
            check_id=row["check_id"],
            gate=row["gate"],
            severity=row["severity"],
            entity=row["entity"],
            rows=row["rows"],
            sample_keys=tuple(str(key) for key in row["sample_keys"][: gates.SAMPLE_KEYS]),
            message=row["message"],
            hint=row["hint"],
            accepted=row["severity"] == "warning" and row["code"] in accepted,
        )
        for row in database.rows(
            connection,
            "select * from crm_migration.findings where run_id = %s"
            " order by array_position(array['blocker', 'rejected', 'warning', 'info'], severity),"
            " rows desc, code, gate",
            [run_id],
        )
    ]


def warning_codes() -> frozenset[str]:
    """The codes that may be accepted: those of warnings, whether or not they occur."""
    return frozenset(
        check.code
        for gate in ("source", "target")
        for check in gate_checks.read(gate)  # type: ignore[arg-type]  # literals of the loop
        if check.severity == "warning"
    )


def require_warnings(accepted: Mapping[str, str]) -> None:
    """Refuse an acceptance that would accept nothing, or too much.

    Raises:
        UnknownWarning: not the code of a warning, or no reason.
    """
    if not accepted:
        return
    known = warning_codes()
    for code, reason in accepted.items():
        if code not in known:
            raise UnknownWarning(
                f"{code} cannot be accepted: it is not the code of a warning.",
                why="Blockers and rejected rows cannot be accepted, infos need not be.",
                next="These can: " + ", ".join(sorted(known)),
            )
        if not reason.strip():
            raise UnknownWarning(f"{code} is accepted without a reason.", next='--reason "why this is no problem"')


def _count(connection: Connection, run_id: str, entity: str, accepted: Mapping[str, str]) -> EntityCount:
    rows = sum(database.count(connection, sql.Identifier("crm_build", name)) for name in _ROWS[entity])
    found = database.rows(
        connection,
        """
        with counted as (
            select row_key, bool_or(severity = 'rejected') as is_rejected
            from crm_migration.finding_rows
            where run_id = %(run)s and entity = %(entity)s
                and (severity = 'rejected' or (severity = 'warning' and code <> all(%(accepted)s)))
            group by row_key
        )
        select
            count(*) filter (where not is_rejected) as warned,
            count(*) filter (where is_rejected) as rejected
        from counted
        """,
        {"run": run_id, "entity": entity, "accepted": list(accepted)},
    )[0]
    counted = found["warned"] + found["rejected"]
    return EntityCount(rows, found["warned"], found["rejected"], _percent(counted, rows))


def _percent(counted: int, rows: int) -> float:
    return 0.0 if counted == 0 else 100.0 * counted / rows if rows else 100.0


def snapshot(connection: Connection) -> str:
    """The state of the database now, for `recheck_moved` to compare with."""
    return str(database.scalar(connection, "select pg_catalog.pg_current_snapshot()::text"))


def recheck_moved(connection: Connection, run_id: str, since_snapshot: str) -> int:
    """Look again at the rows behind each finding; what was mended, changed or went meanwhile becomes an info.

    People work while a dry run reads. A row that was changed and still fails stays what it is. Returns how many moved.
    """
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        moved = 0
        for row in database.rows(
            connection,
            "select distinct gate, code, entity from crm_migration.finding_rows"
            " where run_id = %s and gate in ('source', 'target') and severity <> 'info' order by gate, code",
            [run_id],
        ):
            if row["gate"] == "source":
                gone = _forget_mended(connection, run_id, row["code"])
            else:
                gone = _forget_changed(connection, run_id, row["code"], row["entity"], since_snapshot)
            if gone:
                _recount(connection, run_id, row["gate"], row["code"])
                _tell_moved(connection, run_id, row["code"], row["entity"], gone)
            moved += len(gone)
    return moved


def _forget_mended(connection: Connection, run_id: str, code: str) -> list[str]:
    check = next((check for check in gate_checks.read("source") if check.code == code), None)
    if check is None:
        return []
    return [
        row[0]
        for row in connection.execute(
            sql.SQL(
                "with failing as materialized ("
                "select distinct named.row_key::text as row_key from (\n{query}\n) as named)"
                " delete from crm_migration.finding_rows as kept"
                " where kept.run_id = {run} and kept.gate = 'source' and kept.code = {code}"
                " and not exists (select from failing where failing.row_key = kept.row_key) returning kept.row_key"
            ).format(query=sql.SQL(check.query), run=sql.Literal(run_id), code=sql.Literal(code))
        )
    ]


def _forget_changed(connection: Connection, run_id: str, code: str, entity: str, since: str) -> list[str]:
    # what was built cannot be asked again: it is as old as its build. So the legacy row is asked for its age
    tables = [
        (prefix, name)
        for prefix, name in _LEGACY[entity]
        if database.scalar(
            connection, "select to_regclass(%s) is not null", [sql.Identifier("public", name).as_string()]
        )
    ]
    unchanged = sql.SQL(" and ").join(
        sql.SQL(
            "not exists (select from {table} as legacy where {prefix} || legacy.id = kept.row_key"
            " and (pg_catalog.age(legacy.xmin) > pg_catalog.age(since.xmin) or pg_catalog.pg_visible_in_snapshot("
            "(since.full_xmin + pg_catalog.age(since.xmin) - pg_catalog.age(legacy.xmin))::text::xid8, since.taken)))"
        ).format(table=sql.Identifier("public", name), prefix=sql.Literal(prefix))
        for prefix, name in tables
    )
    return [
        row[0]
        for row in connection.execute(
            sql.SQL(
                "with since as (select taken, pg_catalog.pg_snapshot_xmin(taken)::text::numeric as full_xmin,"
                " pg_catalog.pg_snapshot_xmin(taken)::xid as xmin from (select {since}::pg_snapshot as taken) as given)"
                " delete from crm_migration.finding_rows as kept using since"
                " where kept.run_id = {run} and kept.gate = 'target' and kept.code = {code} and {unchanged}"
                " returning kept.row_key"
            ).format(since=sql.Literal(since), run=sql.Literal(run_id), code=sql.Literal(code), unchanged=unchanged)
        )
    ]


def _recount(connection: Connection, run_id: str, gate: str, code: str) -> None:
    keys = gates.sample_keys(connection, run_id, gate, code)
    connection.execute(
        "update crm_migration.findings set sample_keys = to_jsonb(%(keys)s::text[]), rows = ("
        " select count(*) from crm_migration.finding_rows"
        " where run_id = %(run)s and gate = %(gate)s and code = %(code)s"
        ") where run_id = %(run)s and gate = %(gate)s and code = %(code)s",
        {"run": run_id, "gate": gate, "code": code, "keys": list(keys)},
    )
    connection.execute(
        "delete from crm_migration.findings where run_id = %s and gate = %s and code = %s and rows = 0",
        [run_id, gate, code],
    )


def _tell_moved(connection: Connection, run_id: str, code: str, entity: str, keys: list[str]) -> None:
    ordered = sorted(keys, key=lambda key: (len(key), key))
    connection.execute(
        "insert into crm_migration.findings"
        " (run_id, gate, check_id, code, entity, severity, rows, sample_keys, message, hint)"
        " values (%s, 'recheck', 'recheck', %s, %s, 'info', %s, to_jsonb(%s::text[]), %s, '')"
        " on conflict (run_id, gate, code, entity) do update set rows = findings.rows + excluded.rows,"
        " sample_keys = findings.sample_keys || excluded.sample_keys",
        [
            run_id,
            f"{code}.{MOVED}",
            entity,
            len(keys),
            ordered[: gates.SAMPLE_KEYS],
            f"Rows that {code} named were changed or removed by people: moved during the run.",
        ],
    )
