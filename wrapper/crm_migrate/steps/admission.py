"""Whether an apply may start, or go on: a passed dry run of exactly this, and nothing changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crm_migrate import cutover, database, inputs, kept_build, ledger, legacy, lock
from crm_migrate.database import Connection
from crm_migrate.errors import NoGo, WrongState
from crm_migrate.ledger import Run
from crm_migrate.legacy import LegacySchema
from crm_migrate.settings import Settings


class NoDryRun(NoGo):
    """There is no passed dry run of what would be run."""

    code = "CRM-301"


class AlreadyMigrated(WrongState):
    """The migration was done; doing it twice would write nothing."""

    code = "CRM-401"


def begin(
    connection: Connection, settings: Settings, steps: Mapping[str, Sequence[str]], *, cold: bool = False
) -> tuple[Run, LegacySchema]:
    """Start a run, when a passed dry run of exactly this allows it.

    Args:
        steps: those of a `warm` run, which goes on with the dry run's build, and those of a `cold` one.
        cold: build everything anew under the lock, whatever was kept.

    Raises:
        AlreadyMigrated: there is nothing to do.
        NoDryRun, inputs.InputsChanged: what would be run was not tried, or not lately.
    """
    done = ledger.latest(connection, "apply", states=("completed",))
    if done is not None:
        raise AlreadyMigrated(
            f"This database was migrated by run {done.run_id} at {done.cutover_at:%Y-%m-%d %H:%M} UTC.",
            next="crm-migrate verify, or crm-migrate status for what is still possible.",
        )
    found = legacy.detect(connection)
    taken = inputs.take(connection, settings)
    tried = ledger.latest(connection, "dry-run", states=("passed",))
    newest = ledger.latest(connection, "dry-run", states=("passed", "no_go"))
    if tried is None or newest is None:
        raise NoDryRun("There is no passed dry run of this database.", next="crm-migrate dry-run")
    if newest.run_id != tried.run_id:
        raise NoDryRun(f"The latest dry run, {newest.run_id}, said NO-GO.", next="crm-migrate dry-run")
    inputs.require_same(tried.inputs, taken, since=f"the dry run {tried.run_id}", next="crm-migrate dry-run")
    age = database.scalar(
        connection,
        "select extract(epoch from clock_timestamp() - finished_at)::float8 / 3600"
        " from crm_migration.runs where run_id = %s",
        [tried.run_id],
    )
    if age > settings.dry_run_max_age_hours:
        raise NoDryRun(
            f"The passed dry run {tried.run_id} is {age:.0f} hours old;"
            f" {settings.dry_run_max_age_hours:g} are allowed.",
            next="crm-migrate dry-run",
        )
    if "carry" in settings.triggers.values() and not tried.summary.get("on_copy"):
        raise NoDryRun(
            "A trigger of the installation is carried over, and that was tried without a copy only.",
            why="A carried trigger is exercised on a restored copy, where it can do no harm.",
            next="crm-migrate dry-run --on-copy",
        )
    why_not = "asked for" if cold else kept_build.why_not(connection, tried.run_id)
    build = {"kind": "warm"} if why_not is None else {"kind": "cold", "why": why_not}
    run = ledger.start(
        connection,
        settings,
        "apply",
        steps[build["kind"]],
        generation=found.generation,
        inputs=taken,
        accepted=tried.accepted,
        dry_run_id=tried.run_id,
        summary={"legacy": found.as_json(), "dry_run": tried.run_id, "build": build},
    )
    return run, found


def resume(connection: Connection, settings: Settings, run: Run) -> tuple[Run, LegacySchema]:
    """Take up an unfinished run, when nothing that decides its result changed since it started.

    Raises:
        inputs.InputsChanged: models, mappings, settings or the legacy schema did.
    """
    if run.cutover_at is None and not cutover.is_done(connection, run.run_id):
        inputs.require_same(
            run.inputs,
            inputs.take(connection, settings, locked=lock.stored_state(connection)),
            since=f"run {run.run_id} started",
            next="Put them back and run crm-migrate apply, or give up this run: crm-migrate unlock.",
        )
    return ledger.resume(connection, run), LegacySchema.from_json(run.summary["legacy"])


def is_out_of_date(connection: Connection, run: Run) -> bool:
    """Whether an unfinished run cannot be gone on with before its cutover.

    People may have worked since it took the lock; and before its lock it is no more than its dry run, of which there
    may be a newer one.
    """
    if cutover.is_done(connection, run.run_id):
        return False
    if ledger.is_done(connection, run.run_id, "lock"):
        return lock.owner(connection) is None
    newest = ledger.latest(connection, "dry-run", states=("passed", "no_go"))
    return newest is not None and newest.run_id != run.dry_run_id
