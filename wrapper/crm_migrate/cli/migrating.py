"""Commands that change the CRM or its access: apply, rollback, lock, unlock. Each wants the database's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import invocation
from crm_migrate.cli.options import Config, ConfirmDatabase, Debug, Dsn, Json, Reason, Report, Seeds

if TYPE_CHECKING:
    from crm_migrate.database import Connection
    from crm_migrate.reports import ApplyReport


@app.command()
def apply(
    dsn: Dsn = None,
    config: Config = None,
    seeds: Seeds = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline", help="HH:MM, UTC: stop unlocked when the cutover would be later.", show_default=False
        ),
    ] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="Build all anew under the lock, whatever the dry run left.")
    ] = False,
    confirm_database: ConfirmDatabase = None,
    report: Report = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Migrate: lock, back up, build, check, cut over, verify, unlock. Goes on by itself where it stopped.

    Example: crm-migrate apply --confirm-database crm
    """
    with invocation("apply", dsn=dsn, config=config, json=json, debug=debug, seeds_dir=seeds) as call:
        from crm_migrate import lineage, log, report_html
        from crm_migrate.cli import render
        from crm_migrate.cli.progress import Watch
        from crm_migrate.steps import apply as step
        from crm_migrate.steps import deadline as deadlines
        from crm_migrate.steps import persistence

        log.open_log(call.settings, "apply")
        with call.connection() as connection:
            until = deadlines.parse(connection, deadline)
            call.confirm_database(connection, confirm_database)

            def migrate(connection: Connection) -> ApplyReport:
                done = step.run(connection, call.settings, watch, deadline=until, cold=cold)
                if report is not None:
                    link = lineage.link_from(call.settings, report.parent)
                    report_html.write_apply(connection, done, report, lineage=link)
                return done

            with Watch(call.settings, quiet=json) as watch:
                result = persistence.going_on(connection, call.settings, watch, migrate)
        call.finish(result, render.apply)


@app.command()
def rollback(
    dsn: Dsn = None,
    config: Config = None,
    keep_changes: Annotated[
        bool,
        typer.Option("--keep-changes/--discard-changes", help="Carry over what people changed since, or not."),
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Although the window is closed; needs --reason.")] = False,
    reason: Reason = None,
    confirm_database: ConfirmDatabase = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring the legacy database back, with what people changed since.

    Example: crm-migrate rollback --confirm-database crm
    """
    with invocation("rollback", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.cli import render
        from crm_migrate.cli.progress import Watch
        from crm_migrate.errors import UsageError
        from crm_migrate.steps import persistence
        from crm_migrate.steps import rollback as step

        if force and not (reason or "").strip():
            raise UsageError("A late rollback is forced with a reason only.", next="--reason TEXT")
        log.open_log(call.settings, "rollback")
        with call.connection() as connection:
            call.confirm_database(connection, confirm_database)
            with Watch(call.settings, quiet=json) as watch:
                result = persistence.going_on(
                    connection,
                    call.settings,
                    watch,
                    lambda connection: step.run(
                        connection,
                        call.settings,
                        watch,
                        keep_changes=keep_changes,
                        force_reason=reason if force else None,
                    ),
                )
        call.finish(result, render.rollback)


@app.command()
def lock(
    dsn: Dsn = None,
    config: Config = None,
    confirm_database: ConfirmDatabase = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Take the maintenance lock by hand: nobody can write until it is released.

    Example: crm-migrate lock --confirm-database crm
    """
    with invocation("lock", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.cli import render
        from crm_migrate.steps import unlock as step

        log.open_log(call.settings, "lock")
        with call.connection() as connection:
            call.confirm_database(connection, confirm_database)
            call.finish(step.lock_by_hand(connection, call.settings), render.lock)


@app.command()
def unlock(
    dsn: Dsn = None,
    config: Config = None,
    accept_failed_verification: Annotated[
        bool, typer.Option("--accept-failed-verification", help="Open the migrated CRM as it is; needs --reason.")
    ] = False,
    reason: Reason = None,
    confirm_database: ConfirmDatabase = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Release the maintenance lock, also after a crash; gives up a run that has not cut over.

    Example: crm-migrate unlock --confirm-database crm
    """
    with invocation("unlock", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.cli import render
        from crm_migrate.errors import UsageError
        from crm_migrate.steps import unlock as step

        if accept_failed_verification and not (reason or "").strip():
            raise UsageError("A failed verification is accepted with a reason only.", next="--reason TEXT")
        log.open_log(call.settings, "unlock")
        with call.connection() as connection:
            call.confirm_database(connection, confirm_database)
            call.finish(
                step.unlock_by_hand(
                    connection, call.settings, accept_failed=reason if accept_failed_verification else None
                ),
                render.lock,
            )
