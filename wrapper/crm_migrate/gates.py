"""The gates: Soda asks the checks in `soda/`, and every row that it complains about is written down.

Soda's word alone is not enough for a GO. Each check of the files must have been evaluated. Soda also counts no more
rows than it samples, so the rows come from the check's own query.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from crm_migrate import database, fault_points, gate_checks, parallel, paths, soda_scan
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, MigrationError, Passing
from crm_migrate.gate_checks import Gate, GateCheck
from crm_migrate.settings import Settings
from crm_migrate.soda_scan import Answer, Question

# a check sorts and joins in memory, and none of them writes
_SESSION = {"work_mem": "64MB", "default_transaction_read_only": "on"}
SAMPLE_KEYS = 5


class GateIncomplete(MigrationError):
    """Soda did not evaluate every check, or stumbled over one: this is not a GO."""

    code, exit_code = "CRM-331", Exit.NO_GO


class GateInterrupted(GateIncomplete, Passing):
    """Soda's connection was lost: the same gate is asked again."""

    code, exit_code = "CRM-332", Passing.exit_code


@dataclass(frozen=True)
class GateFinding:
    """A check that found rows."""

    check_id: str
    code: str
    entity: str
    severity: str
    rows: int
    sample_keys: tuple[str, ...]
    message: str
    hint: str = ""


@dataclass(frozen=True)
class GateResult:
    """How many checks there were, and what they found. `errored` is 0: an error never becomes a result."""

    gate: Gate
    expected: int
    evaluated: int
    errored: int
    findings: tuple[GateFinding, ...]

    @property
    def blockers(self) -> tuple[GateFinding, ...]:
        """The findings that alone say NO-GO."""
        return tuple(finding for finding in self.findings if finding.severity == "blocker")


def run(
    settings: Settings,
    connection: Connection,
    gate: Gate,
    run_id: str,
    *,
    folder: Path | None = None,
    snapshot: str | None = None,
    standing: Collection[str] = (),
) -> GateResult:
    """Evaluate every check of a gate and write its findings down; what the gate found before is replaced.

    Args:
        folder: where the gates' folders are; the project's `soda/` unless a test has its own.
        snapshot: of the connection's transaction, when it has exported one; else the checks see what is there now.
        standing: codes of checks that this run has asked already and whose answer would be the same.

    Raises:
        ChecksUnusable: the files do not say what is to be checked.
        GateIncomplete: not every check was evaluated.
    """
    checks = gate_checks.read(gate, folder or paths.SODA)
    with _transaction(connection, snapshot) as seen:
        connection.execute("delete from crm_migration.findings where run_id = %s and gate = %s", [run_id, gate])
        connection.execute(
            "delete from crm_migration.finding_rows where run_id = %s and gate = %s and code <> all(%s)",
            [run_id, gate, sorted(standing)],
        )
        asked = [check for check in checks if check.code not in standing]
        answers = dict(zip(asked, _name_rows(settings, connection, gate, run_id, asked, seen), strict=True))
        named = [answers.get(check) or _named_before(connection, gate, run_id, check) for check in checks]
        evaluate(gate, [_question(settings, check) for check in checks], [found.answer for found in named])
        fault_points.reached(f"gate.{gate}.evaluated")
        findings = tuple(
            _record(connection, gate, run_id, check, found.rows)
            for check, found in zip(checks, named, strict=True)
            if found.rows
        )
    fault_points.reached(f"gate.{gate}.recorded")
    return GateResult(gate, len(checks), len(checks), 0, findings)


@contextlib.contextmanager
def _transaction(connection: Connection, snapshot: str | None) -> Iterator[str | None]:
    """One transaction; all checks see the same state of a database in use."""
    if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
        with database.one_state(connection) as exported:
            yield exported
    else:
        with connection.transaction():
            yield snapshot


@dataclass(frozen=True)
class _Named:
    """How many rows a check's query named, and what Soda is to see of them."""

    rows: int
    answer: Answer


def _name_rows(
    settings: Settings,
    connection: Connection,
    gate: Gate,
    run_id: str,
    checks: Sequence[GateCheck],
    snapshot: str | None,
) -> list[_Named]:
    """Ask the query of each check, once, and write down every row that it names in the connection's transaction."""
    writing = threading.Lock()

    def ask(check: GateCheck) -> Callable[[Connection], _Named]:
        def do(reader: Connection) -> _Named:
            try:
                with reader.transaction():
                    return _copy_rows(reader, connection, writing, _rows_of(settings, gate, run_id, check))
            except psycopg.Error as error:
                if (
                    database.is_lost(error)
                    or connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
                ):
                    raise
                return _Named(0, error)

        return do

    try:
        return parallel.run(
            settings,
            [ask(check) for check in checks],
            database_name=connection.info.dbname,
            snapshot=snapshot,
            session=_SESSION,
            application="crm-migrate gates",
        )
    except psycopg.Error as error:
        if not database.is_lost(error) or connection.closed:
            raise
        raise GateInterrupted(
            f"The {gate} gate lost a connection.", why=str(error).strip().splitlines()[0], next="The same goes on."
        ) from error


def _named_before(connection: Connection, gate: Gate, run_id: str, check: GateCheck) -> _Named:
    kept = sql.SQL("from crm_migration.finding_rows where run_id = {} and gate = {} and code = {}").format(
        *map(sql.Literal, (run_id, gate, check.code))
    )
    rows = int(database.scalar(connection, sql.SQL("select count(*) {}").format(kept)))
    first = connection.execute(sql.SQL("select row_key {} limit {}").format(kept, sql.Literal(soda_scan.ROWS)))
    return _Named(rows, [row[0] for row in first])


def _copy_rows(reader: Connection, connection: Connection, writing: threading.Lock, query: sql.Composed) -> _Named:
    first: list[str] = []
    with reader.cursor().copy(sql.SQL("copy ({}) to stdout").format(query)) as found:
        row = found.read()
        if not row:
            return _Named(0, first)
        # two checks answer at the same time, and both write here; a savepoint, since the query may fail half-way
        with (
            writing,
            connection.transaction(),
            connection.cursor().copy(
                "copy crm_migration.finding_rows (run_id, gate, code, entity, severity, row_key) from stdin"
            ) as kept,
        ):
            rows = 0
            while row:
                kept.write(row)
                rows += 1
                if rows <= soda_scan.ROWS:
                    first.append(bytes(row).decode("utf-8", "replace").rstrip("\n").rsplit("\t", 1)[-1])
                row = found.read()
    return _Named(rows, first)


def _rows_of(settings: Settings, gate: Gate, run_id: str, check: GateCheck) -> sql.Composed:
    # a row without a key is a row that fails, too
    return (
        sql.SQL("select {}, {}, {}, {}, {}, failing.row_key from (select distinct").format(
            *map(sql.Literal, (run_id, gate, check.code, check.entity, check.severity))
        )
        + sql.SQL(" coalesce(row_key::text, 'null') as row_key from (\n")
        + sql.SQL(gate_checks.query_of(settings, check))  # the text of a file of the project
        + sql.SQL("\n) as named) as failing")
    )


def evaluate(gate: Gate, questions: Sequence[Question], answers: Sequence[Answer]) -> None:
    """Let Soda evaluate the checks, and hold its word against the rows that were written down.

    Raises:
        GateIncomplete: a check was not evaluated, or was not asked for, or Soda makes something else of its rows.
    """
    results, said, errors = _scan(gate, questions, answers)
    outcomes: dict[str, bool] = {}
    for result in results:
        outcome = result.get("outcome")
        if outcome in ("pass", "fail", "warn"):
            outcomes[str(result.get("name")).split(" ", 1)[0]] = outcome == "pass"
    ids = [question.name.split(" ", 1)[0] for question in questions]
    missing, unknown = sorted(set(ids) - set(outcomes)), sorted(set(outcomes) - set(ids))
    doubtful = sorted(
        id for id, answer in zip(ids, answers, strict=True) if id in outcomes and outcomes[id] != (answer == [])
    )
    if missing or unknown or doubtful or errors or len(results) != len(questions):
        reasons = [f"not evaluated: {', '.join(missing)}"] if missing else []
        reasons += [f"not asked for: {', '.join(unknown)}"] if unknown else []
        reasons += [f"not what its rows say: {', '.join(doubtful)}"] if doubtful else []
        raise (GateInterrupted if database.LOST.search(said) else GateIncomplete)(
            f"The {gate} gate could not evaluate all of its {len(questions)} checks"
            + "".join(f"; {r}" for r in reasons),
            why=said or "Soda gave no reason.",
            next="This is a fault of the checks or of the machine and not of the data: crm-migrate doctor.",
        )


def _scan(
    gate: Gate, questions: Sequence[Question], answers: Sequence[Answer]
) -> tuple[list[dict[str, Any]], str, bool]:
    return soda_scan.scan(gate, questions, dict(zip((item.query for item in questions), answers, strict=True)))


def _record(connection: Connection, gate: Gate, run_id: str, check: GateCheck, rows: int) -> GateFinding:
    """Write down what a check found; its rows are there already."""
    keys = sample_keys(connection, run_id, gate, check.code)
    finding = GateFinding(check.id, check.code, check.entity, check.severity, rows, keys, *_message(check))
    connection.execute(
        "insert into crm_migration.findings"
        " (run_id, gate, check_id, code, entity, severity, rows, sample_keys, message, hint)"
        " values (%s, %s, %s, %s, %s, %s, %s, to_jsonb(%s::text[]), %s, %s)",
        [
            run_id,
            gate,
            check.id,
            check.code,
            check.entity,
            check.severity,
            rows,
            list(keys),
            finding.message,
            finding.hint,
        ],
    )
    return finding


def sample_keys(connection: Connection, run_id: str, gate: str, code: str) -> tuple[str, ...]:
    """A few keys of a finding: the shortest, then the lowest, so that they are the same every time."""
    return tuple(
        row[0]
        for row in connection.execute(
            "select row_key from crm_migration.finding_rows where run_id = %s and gate = %s and code = %s"
            " order by length(row_key), row_key limit %s",
            [run_id, gate, code, SAMPLE_KEYS],
        )
    )


def _message(check: GateCheck) -> tuple[str, str]:
    # a reason may start with the name of a column
    why = check.why if "_" in check.why.split()[0] else check.why[0].upper() + check.why[1:]
    said = f"Expected: {check.sentence}. {why}."
    hint = f"Mend these records, or accept them: --accept-warning {check.code} --reason TEXT."
    return said, hint if check.severity == "warning" else ""


def _question(settings: Settings, check: GateCheck) -> Question:
    return Question(check.entity, f"{check.id} {check.sentence}", gate_checks.query_of(settings, check))
