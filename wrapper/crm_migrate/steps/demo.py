"""The demo: a realistic legacy CRM on an embedded server, migrated from one end to the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from crm_migrate import database, demo_data, doctor, lineage, report_html
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, UsageError
from crm_migrate.legacy import Generation
from crm_migrate.observer import Observer
from crm_migrate.reports import ApplyReport, DryRunReport, StageCount, plain
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run, verify

DATABASE = "crm_demo"

Watcher = Callable[[Settings], AbstractContextManager[Observer]]


@dataclass(frozen=True)
class Example:
    """One record before and after."""

    title: str
    before: str
    after: str


@dataclass(frozen=True)
class DemoReport:
    """What the demo did, for one screen."""

    run_id: str
    generation: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    stages: Sequence[StageCount]
    examples: Sequence[Example]
    downtime_seconds: float
    estimated_seconds: float
    rejected_rows: int
    checked_rows: int
    verified: bool
    seconds: float
    places: Mapping[str, str]

    @property
    def exit_code(self) -> Exit:
        """5 when the verification found a difference."""
        return Exit.OK if self.verified else Exit.VERIFICATION_FAILED

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


def run(
    *,
    contacts: int,
    generation: str,
    folder: Path | None,
    watch: Watcher,
    then: Callable[[Settings, DemoReport], None] | None = None,
) -> DemoReport:
    """Start a server, load a CRM, doctor, dry run, apply, verify; stop the server.

    Args:
        contacts: size of the CRM; the rest follows from it.
        generation: "2025" or "2026".
        watch: opens an observer of the runs.
        then: done with the migrated database before its server is stopped.
        folder: keeps the server's data and the reports; by default `.crm-migrate/demo`, made anew.

    Raises:
        UsageError: another generation, or a folder that is in use for something else.
    """
    if generation not in set(Generation):
        raise UsageError(f"There is no generation {generation!r}.", next="--generation 2025 or --generation 2026")
    started = time.monotonic()
    place = empty_folder(folder or Path(".crm-migrate/demo"))
    with EmbeddedServer(place / "server") as server:
        with database.connect(Settings(dsn=server.dsn("postgres"))) as maintenance:
            maintenance.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        settings = Settings(
            dsn=server.dsn(DATABASE),
            work_dir=place,
            backup_dir=place / "backups",
            log_file=place / "migration.log",
            seeds_dir=place / "seeds",
            # nobody else works here, and the machine may be slow
            rehearsal_max_seconds=0.0,
        )
        with database.connect(settings) as connection:
            demo_data.create_schema(connection, Generation(generation))
            demo_data.load(connection, Generation(generation), contacts=contacts)
            demo_data.demo_seeds(connection, settings.seeds_dir)
            connection.execute("analyze")
            report = _play(connection, settings, generation, place, started, watch)
        if then is not None:
            then(settings, report)
        return report


def _play(
    connection: Connection, settings: Settings, generation: str, place: Path, started: float, watch: Watcher
) -> DemoReport:
    before = _count_legacy(connection)
    named_before = _named(connection)
    with watch(settings) as observer:
        examination = doctor.examine(connection, settings)
        observer.say(f"doctor: {sum(check.ok for check in examination.checks)} of {len(examination.checks)} checks ok")
        # each command of the program has its own connection; the advisory lock is given up with it
        with database.connect(settings) as own:
            tried = dry_run.run(own, settings, observer, accepted={})
        observer.say(f"dry run: {tried.verdict}")
        with database.connect(settings) as own:
            done = apply.run(own, settings, observer)
        verified = verify.run(connection, settings)
        docs = lineage.write(settings)
        link = lineage.link_from(settings, place)
        report_html.write_dry_run(connection, tried, place / "dry-run.html", lineage=link)
        report_html.write_apply(connection, done, place / "apply.html", lineage=link)
    return DemoReport(
        run_id=done.run_id,
        generation=generation,
        before=before,
        after=done.new_entities,
        stages=done.stages,
        examples=_examples(connection, named_before),
        downtime_seconds=done.downtime_seconds,
        estimated_seconds=_estimated(tried, done),
        rejected_rows=done.rejected_rows,
        checked_rows=sum(oracle.checked_rows for oracle in verified.oracles),
        verified=verified.ok,
        seconds=round(time.monotonic() - started, 1),
        places={
            "dry-run report": str(place / "dry-run.html"),
            "run report": str(place / "apply.html"),
            "lineage": str(docs),
            "backup": str(done.backup["path"]),
            "log": str(settings.log_file),
        },
    )


def empty_folder(folder: Path) -> Path:
    """A folder for a private server: made, or emptied of an earlier one.

    Raises:
        UsageError: it holds something else.
    """
    place = folder.absolute()
    if place.exists() and any(place.iterdir()):
        if not (place / "server" / "PG_VERSION").exists() and not (place / "migration.log").exists():
            raise UsageError(
                f"The folder {place} holds something that is not an earlier one of these.", next="--keep another folder"
            )
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    return place


def _count_legacy(connection: Connection) -> dict[str, int]:
    tables = [
        row["relname"]
        for row in database.rows(
            connection,
            "select relname::text from pg_catalog.pg_class"
            " where relnamespace = 'public'::regnamespace and relkind = 'r'"
            " and relname not in ('configuration', 'favicons_excluded_domains') order by relname",
        )
    ]
    return {name: database.count(connection, sql.Identifier("public", name)) for name in tables}


def _named(connection: Connection) -> list[dict[str, Any]]:
    return database.rows(
        connection,
        """
        select deals.id, deals.name, deals.stage, deals.amount, companies.name as company
        from public.deals
        left join public.companies on companies.id = deals.company_id
        order by deals.id
        limit 3
        """,
    )


def _estimated(tried: DryRunReport, done: ApplyReport) -> float:
    if tried.estimate is None:
        return 0.0
    warm = tried.estimate.warm_downtime_seconds if done.build.get("kind") == "warm" else None
    return tried.estimate.downtime_seconds if warm is None else warm


def _examples(connection: Connection, before: Sequence[Mapping[str, Any]]) -> list[Example]:
    examples = []
    for deal in before:
        after = database.rows(
            connection,
            """
            select
                opportunities.name, opportunities.stage::text, opportunities.probability, opportunities.amount,
                opportunities.commission_percent,
                customers.name as customer, principals.name as principal, distributors.name as distributor
            from public.opportunities
            left join public.companies as customers on customers.id = opportunities.customer_organization_id
            left join public.companies as principals on principals.id = opportunities.principal_organization_id
            left join public.companies as distributors on distributors.id = opportunities.distributor_organization_id
            where opportunities.id = %s
            """,
            [deal["id"]],
        )[0]
        roles = [
            f"{role} {after[role]}" for role in ("customer", "principal", "distributor") if after[role] is not None
        ]
        percent = after["commission_percent"]
        company = deal["company"] or "no company"
        commission = f", commission {percent:g} %" if percent is not None else ""
        examples.append(
            Example(
                title=str(deal["name"]),
                before=f"deal {deal['id']}, {deal['stage']}, {deal['amount'] or 0:,}, {company}",
                after=f"opportunity {deal['id']}, {after['stage']} ({after['probability']} %),"
                f" {after['amount'] or 0:,}, {', '.join(roles) or 'no organization'}{commission}",
            )
        )
    return examples
