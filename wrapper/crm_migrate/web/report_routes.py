"""Routes of the reports: what `--report` writes, of every run that has one. They hold data, so they want the token."""

from __future__ import annotations

import secrets
from http import HTTPStatus

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse

from crm_migrate import database, ledger, lineage, report_html, reports
from crm_migrate.database import Connection
from crm_migrate.errors import WrongState
from crm_migrate.ledger import Run
from crm_migrate.settings import Settings
from crm_migrate.web import pages, shield
from crm_migrate.web.entry import Entry
from crm_migrate.web.poller import read_only

_APPLICATION = "crm-migrate reports"
# dbt's own page is all scripts: it may run them, but as a page of nobody, without cookies and without a network
_OF_DBT = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline';"
    " img-src data:; font-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def routes(settings: Settings, entry: Entry) -> APIRouter:
    """The list of the runs, and the report of each."""
    router = APIRouter(dependencies=[Depends(entry.require)], include_in_schema=False)

    @router.get("/reports")
    def all_reports() -> HTMLResponse:
        with read_only(settings, _APPLICATION) as connection:
            runs = _runs(connection)
            return pages.page(
                "reports.html",
                here="reports",
                runs=runs,
                database=connection.info.dbname,
                lineage=_lineage(settings),
            )

    @router.get("/reports/lineage")
    def the_lineage() -> FileResponse:
        if not lineage.place(settings).exists():
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return FileResponse(lineage.place(settings), headers={"Content-Security-Policy": _OF_DBT})

    @router.get("/reports/{run_id}")
    def report(run_id: str) -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        with read_only(settings, _APPLICATION) as connection:
            text = _report(connection, settings, run_id, nonce)
        policy = shield.POLICY.format(nonce=f" 'nonce-{nonce}'")
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    return router


def _runs(connection: Connection) -> list[dict[str, object]]:
    """The newest runs; those that have a report say so."""
    if not database.exists(connection, "crm_migration.runs"):
        return []
    found = database.rows(
        connection,
        """
        select run_id, kind, state, verdict, started_at, finished_at, operator, summary ? 'verdict' as has_summary
        from crm_migration.runs
        order by started_at desc
        limit 100
        """,
    )
    return [{**row, "has_report": row["has_summary"] or _is_applied(row["kind"], row["state"])} for row in found]


def _lineage(settings: Settings) -> str | None:
    return "/reports/lineage" if lineage.place(settings).exists() else None


def _is_applied(kind: str, state: str) -> bool:
    return kind == "apply" and state in ("completed", "rolled_back")


def _report(connection: Connection, settings: Settings, run_id: str, nonce: str) -> str:
    run = _run(connection, run_id)
    if run.kind == "dry-run" and "verdict" in run.summary:
        return report_html.dry_run(
            connection, {**run.summary, "run_id": run.run_id}, nonce=nonce, lineage=_lineage(settings)
        )
    if _is_applied(run.kind, run.state):
        made = reports.plain(reports.apply_report(connection, settings, run))
        return report_html.apply(connection, made, nonce=nonce, lineage=_lineage(settings))
    raise HTTPException(HTTPStatus.NOT_FOUND)


def _run(connection: Connection, run_id: str) -> Run:
    try:
        if database.exists(connection, "crm_migration.runs"):
            return ledger.get(connection, run_id)
    except WrongState:
        pass
    raise HTTPException(HTTPStatus.NOT_FOUND)
