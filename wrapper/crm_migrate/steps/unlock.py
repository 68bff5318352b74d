"""Lock and unlock by hand. Unlock also heals what a crash left behind, and gives up a run before its cutover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crm_migrate import control, ledger, lock
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, UsageError, WrongState
from crm_migrate.ledger import Run
from crm_migrate.reports import plain
from crm_migrate.settings import Settings
from crm_migrate.steps import stage as stages


@dataclass(frozen=True)
class LockReport:
    """What was locked or unlocked."""

    run_id: str | None
    locked: bool
    layers: tuple[str, ...]
    given_up: str | None = None

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


def lock_by_hand(connection: Connection, settings: Settings) -> LockReport:
    """Take the maintenance lock outside of a run; it stays until `unlock`."""
    stages.install(connection, settings)
    lock.claim(connection)
    held = lock.owner(connection)
    # half taken by hand, by a process that died: goes on
    if held is not None and not (held.run_id is None and held.phase == "preparing"):
        raise lock.LockHeld(held)
    lock.acquire(connection, settings)
    lock.wait_until_writers_are_gone(connection)
    owner = lock.owner(connection)
    return LockReport(None, True, owner.layers if owner else ())


def unlock_by_hand(connection: Connection, settings: Settings, *, accept_failed: str | None) -> LockReport:
    """Undo the maintenance lock.

    Args:
        accept_failed: why a migration whose verification failed is opened as it is; recorded.

    Raises:
        WrongState: not locked, or the run is past its cutover and not verified.
    """
    if not control.installed(connection):
        raise WrongState("The CRM is not locked.", next="crm-migrate status")
    run = ledger.latest(connection, "apply", "rollback", states=ledger.UNFINISHED)
    before_cutover = run is not None and run.kind == "apply" and run.cutover_at is None
    if lock.owner(connection) is None and not (run is not None and _half_unlocked(connection, run, accept_failed)):
        raise WrongState("The CRM is not locked.", next="crm-migrate status")
    stages.install(connection, settings)
    lock.claim(connection)
    given_up = None
    if run is not None and before_cutover:
        given_up = run.run_id
    elif run is not None:
        # past the point of no simple return: only with eyes open
        if accept_failed is None:
            raise WrongState(
                f"Run {run.run_id} ({run.kind}) is past its cutover and not verified.",
                state="The CRM stays locked.",
                next=f"crm-migrate {run.kind} goes on. To open it as it is: crm-migrate unlock"
                " --accept-failed-verification --reason TEXT",
            )
        if not accept_failed.strip():
            raise UsageError("The reason is empty.", next="--reason TEXT")
    lock.release(connection, settings)
    if given_up:
        control.end_build(connection)
        ledger.set_run(connection, given_up, state="failed", finished_at="now")
    elif run is not None:
        ledger.set_run(
            connection,
            run.run_id,
            state="completed",
            verdict="accepted",
            summary={**run.summary, "accepted_because": accept_failed},
            finished_at="now",
            unlocked_at="now",
        )
    return LockReport(run.run_id if run else None, False, (), given_up)


def _half_unlocked(connection: Connection, run: Run, accept_failed: str | None) -> bool:
    """An unlock was killed when the CRM was open and the run not yet closed in the ledger."""
    if run.state == "failed" or not ledger.is_done(connection, run.run_id, "lock"):
        return False
    return accept_failed is not None or (run.kind == "apply" and run.cutover_at is None)
