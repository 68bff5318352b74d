"""Commands that look and change nothing of the CRM: doctor, dry-run, status, verify."""

from __future__ import annotations

from typing import Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import invocation
from crm_migrate.cli.options import Config, Debug, Dsn, Json, Reason, Report, Seeds


@app.command()
def doctor(dsn: Dsn = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """Check connection, server, tools, privileges, room and the shape of the CRM. Writes nothing.

    Example: crm-migrate doctor --dsn postgresql://postgres@localhost/crm
    """
    with invocation("doctor", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import doctor as doctor_module
        from crm_migrate.cli import render

        with call.connection() as connection:
            call.finish(doctor_module.examine(connection, call.settings), render.examination)


@app.command("dry-run")
def dry_run(
    dsn: Dsn = None,
    config: Config = None,
    seeds: Seeds = None,
    on_copy: Annotated[
        bool, typer.Option("--on-copy", help="On a restored copy: cutover and rollback for real, timed.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Check without building; not enough for apply.")] = False,
    keep_build: Annotated[bool, typer.Option("--keep-build", help="Leave the schema crm_build to look at.")] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="RUN",
            help="Which rows differ from that dry run's outcome; or: last.",
            show_default=False,
        ),
    ] = None,
    accept_warning: Annotated[
        list[str] | None,
        typer.Option("--accept-warning", help="Code of a warning that is accepted; repeatable.", show_default=False),
    ] = None,
    reason: Reason = None,
    report: Report = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Try the whole migration without touching the CRM, and say GO or NO-GO.

    Example: crm-migrate dry-run --report dry-run.html
    """
    with invocation("dry-run", dsn=dsn, config=config, json=json, debug=debug, seeds_dir=seeds) as call:
        from crm_migrate import lineage, log, report_html
        from crm_migrate.cli import render
        from crm_migrate.cli.progress import Watch
        from crm_migrate.errors import UsageError
        from crm_migrate.steps import dry_run as step

        if accept_warning and not (reason or "").strip():
            raise UsageError("A warning is accepted with a reason only.", next="--reason TEXT")
        if compare is not None and (on_copy or quick):
            raise UsageError(
                "Outcomes are compared where everything is built, on the database itself.",
                next="--compare without --on-copy and --quick",
            )
        log.open_log(call.settings, "dry-run")
        accepted = dict.fromkeys(accept_warning or (), reason or "")
        with call.connection() as connection, Watch(call.settings, quiet=json) as watch:
            if on_copy:
                from crm_migrate.steps import on_copy as copy_step

                result = copy_step.run(connection, call.settings, watch, accepted=accepted)
            else:
                result = step.run(
                    connection,
                    call.settings,
                    watch,
                    accepted=accepted,
                    quick=quick,
                    keep_build=keep_build,
                    compare=compare,
                )
            if report is not None:
                lineage.write(call.settings)
                link = lineage.link_from(call.settings, report.parent)
                report_html.write_dry_run(connection, result, report, lineage=link)
        call.finish(result, render.dry_run)


@app.command()
def status(
    dsn: Dsn = None,
    config: Config = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second until the run ends.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the newest run: step, batches, rate, time left, last error, next command. Writes nothing.

    Example: crm-migrate status --watch
    """
    with invocation("status", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import status as status_module
        from crm_migrate.cli import render
        from crm_migrate.cli.watching import follow

        with call.connection() as connection:
            if watch and not json:
                follow(connection)
                return
            call.finish(status_module.read(connection), render.status)


@app.command()
def verify(
    dsn: Dsn = None,
    config: Config = None,
    sample: Annotated[
        int | None, typer.Option("--sample", help="How many records to show side by side.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the sample.", show_default=False)] = None,
    report: Report = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check every row of the migrated database against the archive, and compare a sample side by side.

    Example: crm-migrate verify --json
    """
    with invocation(
        "verify", dsn=dsn, config=config, json=json, debug=debug, sample_size=sample, sample_seed=seed
    ) as call:
        from crm_migrate import lineage, report_html
        from crm_migrate.cli import render
        from crm_migrate.steps import verify as step

        with call.connection() as connection:
            result = step.run(connection, call.settings)
            if report is not None:
                link = lineage.link_from(call.settings, report.parent)
                report_html.write_verification(result, report, lineage=link)
            call.finish(result, render.verification)
