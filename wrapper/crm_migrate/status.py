"""Where a migration stands, read from the ledger by any connection."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crm_migrate import compat, database, ledger, lock
from crm_migrate.database import Connection
from crm_migrate.errors import Exit
from crm_migrate.ledger import Step
from crm_migrate.reports import plain

RESOURCES = ("cpu_percent", "memory_bytes", "disk_read_bytes", "disk_write_bytes", "disk_free_bytes")
STATES = {
    "running": "in progress",
    "passed": "dry run passed",
    "no_go": "dry run says NO-GO",
    "stopped": "stopped, can go on",
    "failed": "failed",
    "completed": "completed",
    "rolled_back": "rolled back",
}


@dataclass(frozen=True)
class Batches:
    """Progress of the running model, or of all."""

    done: int
    total: int
    rows: int
    rows_per_second: float | None
    eta_seconds: float | None
    model: str | None


@dataclass(frozen=True)
class Status:
    """The newest run and what can be done next."""

    run_id: str | None
    kind: str | None
    state: str
    alive: bool
    locked_by: lock.Owner | None
    steps: Sequence[Step]
    batches: Batches | None
    resources: Mapping[str, Any]
    error: Mapping[str, str] | None
    rollback_until: datetime | None
    archive_until: datetime | None
    next_command: str
    old_names_until: datetime | None = None
    """Until when the compatibility views stay; None when there are none."""

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the status document."""
        # the keys are there before there is anything to say, so that a script need not ask for them
        shown = dataclasses.replace(
            self,
            batches=self.batches or Batches(0, 0, 0, None, None, None),
            resources=self.resources or dict.fromkeys(RESOURCES),
        )
        return {key: value for key, value in plain(shown).items() if key != "run_id"}


def read(connection: Connection) -> Status:
    """The state of the newest run; writes nothing, works while a run is at work."""
    run = ledger.latest(connection)
    owner = lock.owner(connection)
    if run is None:
        return Status(
            None,
            None,
            "never run",
            False,
            owner,
            (),
            None,
            {},
            None,
            None,
            None,
            "crm-migrate doctor, then crm-migrate dry-run" if owner is None else "crm-migrate unlock",
        )
    alive = is_at_work(connection)
    state = run.state if run.state != "running" or alive else "stopped"
    return Status(
        run_id=run.run_id,
        kind=run.kind,
        state=STATES[state],
        alive=alive,
        locked_by=owner,
        steps=ledger.steps(connection, run.run_id),
        batches=batches(connection, run.run_id),
        resources=_resources(connection, run.run_id),
        error=run.error if state in ("stopped", "failed") else None,
        rollback_until=run.rollback_until,
        archive_until=run.archive_until,
        next_command=_next(run.kind, state, locked=owner is not None, cut_over=run.cutover_at is not None),
        old_names_until=min((item.until for item in compat.promises(connection) if item.present), default=None),
    )


def is_at_work(connection: Connection) -> bool:
    """Whether a process is at work on a run: the one that samples the machine's load beside it."""
    return bool(
        database.scalar(
            connection,
            "select exists (select from pg_catalog.pg_stat_activity where datname = current_database()"
            " and application_name = 'crm-migrate resources')",
        )
    )


def _next(kind: str, state: str, *, locked: bool, cut_over: bool) -> str:
    if state == "running":
        return "crm-migrate status --watch"
    if state == "stopped":
        if kind == "dry-run":
            return "crm-migrate dry-run"
        if cut_over and kind == "apply":
            return "crm-migrate apply, or crm-migrate rollback"
        return ("crm-migrate archive purge" if kind == "purge" else f"crm-migrate {kind}") + (
            ", or crm-migrate unlock to give up" if locked and kind == "apply" else ""
        )
    if locked:
        return "crm-migrate unlock"
    if kind == "purge":
        return "nothing: the migration and its archive are done with"
    if kind == "dry-run":
        return "crm-migrate apply" if state == "passed" else "crm-migrate dry-run, after mending what it named"
    if kind == "apply" and state == "completed":
        return "crm-migrate verify; crm-migrate rollback while its window is open"
    return "crm-migrate dry-run"


def batches(connection: Connection, run_id: str) -> Batches | None:
    """Batches of the run; rate and ETA over those done, None before there is a rate."""
    if not database.exists(connection, "crm_migration.batches"):
        return None
    row = database.rows(
        connection,
        """
        select
            count(*) filter (where state = 'done') as done,
            count(*) as total,
            coalesce(sum(rows_written) filter (where state = 'done'), 0)::bigint as rows,
            (
                sum(rows_written) filter (where state = 'done')
                / nullif(sum(ms) filter (where state = 'done') / 1000, 0)
            )::float8 as rate,
            (avg(ms) filter (where state = 'done') / 1000 * count(*) filter (where state = 'pending'))::float8 as eta,
            (array_agg(model order by finished_at desc nulls first) filter (where state = 'pending'))[1] as model
        from crm_migration.batches
        where run_id = %s
        """,
        [run_id],
    )[0]
    return Batches(row["done"], row["total"], row["rows"], row["rate"], row["eta"], row["model"])


def _resources(connection: Connection, run_id: str) -> dict[str, Any]:
    found = database.rows(
        connection,
        """
        select cpu_percent, memory_bytes, disk_read_bytes, disk_write_bytes, disk_free_bytes
        from crm_migration.resource_samples
        where run_id = %s
        order by sampled_at desc
        limit 1
        """,
        [run_id],
    )
    return found[0] if found else {}
