"""What the commands report: one object each, which console, JSON and HTML render alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from psycopg import sql

from crm_migrate import database, ledger, put_back
from crm_migrate.cutover import CutoverResult
from crm_migrate.database import Connection
from crm_migrate.errors import Exit
from crm_migrate.estimate import Estimate
from crm_migrate.findings import Finding, Verdict
from crm_migrate.ledger import Run, Step
from crm_migrate.outcomes import Comparison
from crm_migrate.put_back import PutBack
from crm_migrate.settings import Settings

NEW_ENTITIES = (
    "opportunities",
    "contact_organizations",
    "opportunity_participants",
    "activities",
    "principal_distributor_relationships",
    "contact_preferred_principals",
    "opportunity_products",
    "interaction_participants",
    "products",
)


# legacy entities that stay as they are, but for columns that are added
_IN_PLACE = ("companies", "contacts", "notes")
_LEGACY_TABLES: Mapping[str, tuple[str, ...]] = {
    "notes": ("deal_notes", "dealNotes", "contact_notes", "contactNotes"),
}


def plain(value: Any) -> Any:
    """Anything a report holds as JSON can say it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class StageCount:
    """How many deals of a legacy stage become opportunities of a stage."""

    legacy_stage: str
    stage: str
    rows: int


@dataclass(frozen=True)
class DryRunReport:
    """The verdict of a dry run and what it rests on."""

    run_id: str
    generation: str
    verdict: str
    quick: bool
    entities: Mapping[str, Any]
    findings: Sequence[Finding]
    reasons: Sequence[str]
    new_entities: Mapping[str, int]
    stages: Sequence[StageCount]
    estimate: Estimate | None
    cutover_rehearsal: Mapping[str, Any]
    checks: Mapping[str, int]
    accepted: Mapping[str, str]
    steps: Sequence[Step] = field(default_factory=tuple)
    on_copy: Mapping[str, Any] | None = None
    # rows that people made before a rollback and that `apply` will put back
    to_put_back: Mapping[str, int] = field(default_factory=dict)
    comparison: Comparison | None = None

    @property
    def exit_code(self) -> Exit:
        """0 for GO, 3 for NO-GO."""
        return Exit.OK if self.verdict == "GO" else Exit.NO_GO

    def as_json(self) -> dict[str, Any]:
        """The keys of the dry run's JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


@dataclass(frozen=True)
class ApplyReport:
    """What an apply did."""

    run_id: str
    generation: str
    steps: Sequence[Step]
    downtime_seconds: float
    rejected_rows: int
    backup: Mapping[str, Any]
    before: Mapping[str, int]
    kept: Mapping[str, int]
    new_entities: Mapping[str, int]
    stages: Sequence[StageCount]
    rollback_until: datetime | None
    archive_until: datetime | None
    # `kind`: warm, or cold with the reason in `why`; `changed`: rows by legacy table, where they were counted
    build: Mapping[str, Any] = field(default_factory=dict)
    rolled_back: bool = False
    # what people did before a rollback
    put_back: PutBack = field(default_factory=PutBack)

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the apply's JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


def dry_run_report(
    connection: Connection,
    run: Run,
    verdict: Verdict,
    rehearsed: CutoverResult | None,
    estimated: Estimate | None,
) -> DryRunReport:
    """Gather the report of a dry run from the ledger and the build schema."""
    steps = ledger.steps(connection, run.run_id)
    checks = [step.detail["checks"] for step in steps if "checks" in step.detail]
    return DryRunReport(
        run_id=run.run_id,
        generation=run.generation or "",
        verdict="GO" if verdict.go else "NO-GO",
        quick=rehearsed is None,
        entities=plain(verdict.entities),
        findings=verdict.findings,
        reasons=verdict.reasons,
        new_entities=count_entities(connection, "crm_build"),
        stages=count_stages(connection, "crm_build"),
        estimate=estimated,
        cutover_rehearsal={
            "ok": rehearsed is not None and not rehearsed.blockers,
            "seconds": round(rehearsed.seconds, 3) if rehearsed else None,
            "blockers": plain(rehearsed.blockers) if rehearsed else [],
        },
        checks={key: sum(check[key] for check in checks) for key in ("expected", "evaluated", "errored")},
        accepted=run.accepted,
        steps=steps,
        to_put_back=put_back.waiting(connection),
    )


def apply_report(connection: Connection, settings: Settings, run: Run) -> ApplyReport:
    """Gather the report of an apply from the ledger."""
    steps = ledger.steps(connection, run.run_id)
    saved = next((step.detail for step in steps if step.name == "backup"), {})
    end = run.unlocked_at or run.finished_at
    return ApplyReport(
        run_id=run.run_id,
        generation=run.generation or "",
        steps=steps,
        downtime_seconds=round((end - run.locked_at).total_seconds(), 1) if end and run.locked_at else 0.0,
        rejected_rows=int(
            database.scalar(
                connection, "select count(*) from crm_migration.rejected_records where run_id = %s", [run.run_id]
            )
        ),
        backup={key: saved.get(key) for key in ("path", "bytes", "restore_tested")},
        before=_count_legacy(connection, "crm_archive", "deals", *_IN_PLACE, "tasks"),
        kept=_count_legacy(connection, "public", *_IN_PLACE),
        new_entities=count_entities(connection, "public", settings.rename),
        stages=count_stages(connection, "public", settings.rename),
        rollback_until=run.rollback_until,
        archive_until=run.archive_until,
        build={
            **run.summary.get("build", {}),
            "changed": next((step.detail.get("changed", {}) for step in steps if step.name == "changes"), None),
        },
        rolled_back=run.state == "rolled_back",
        put_back=put_back.result(connection, run.run_id),
    )


def how_built(build: Mapping[str, Any]) -> str:
    """In a sentence: on what the dry run had built, or anew and why."""
    if build.get("kind") == "warm":
        changed = sum((build.get("changed") or {}).values())
        return f"Went on with the build of the dry run; {changed:,} legacy rows had changed since"
    why = build.get("why", "")
    return "Built anew under the lock" + (f": {why}" if why else "")


def _count_legacy(connection: Connection, schema: str, *entities: str) -> dict[str, int]:
    """Rows of the legacy entities that the schema holds, whatever the generation calls their tables."""
    counted: dict[str, int] = {}
    for entity in entities:
        for name in _LEGACY_TABLES.get(entity, (entity,)):
            table = sql.Identifier(schema, name)
            # after the cutover the old name of the deal notes is a view over the new
            if database.exists(connection, table.as_string(None)):
                rows = database.count(connection, table)
                counted[entity] = counted.get(entity, 0) + rows
    return counted


def count_entities(connection: Connection, schema: str, rename: Mapping[str, str] | None = None) -> dict[str, int]:
    """Rows of each new table that exists in the schema, under the name that it has there."""
    tables = {name: sql.Identifier(schema, (rename or {}).get(name, name)) for name in NEW_ENTITIES}
    return {
        name: database.count(connection, table)
        for name, table in tables.items()
        if database.exists(connection, table.as_string(None))
    }


def count_stages(connection: Connection, schema: str, rename: Mapping[str, str] | None = None) -> list[StageCount]:
    """Stages before and after, most frequent first."""
    table = sql.Identifier(schema, (rename or {}).get("opportunities", "opportunities"))
    if not database.exists(connection, table.as_string(None)):
        return []
    return [
        StageCount(row["legacy_stage"], row["stage"], row["rows"])
        for row in database.rows(
            connection,
            sql.SQL(
                "select legacy_stage, stage::text, count(*) as rows from {} group by 1, 2 order by 3 desc, 1 limit 50"
            ).format(table),
        )
    ]
