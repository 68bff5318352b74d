"""Reports as one HTML file each: readable without a network, in print, in light and dark, and without colour."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from crm_migrate import database, report_charts
from crm_migrate.charts import Chart
from crm_migrate.database import Connection
from crm_migrate.reports import ApplyReport, DryRunReport, how_built, plain

if TYPE_CHECKING:
    from crm_migrate.verification import Verification

_FLAG = re.compile(r"(--[a-z][a-z-]+)")


def environment(folder: str = "templates") -> Environment:
    """Templates of a folder of this package: everything is escaped, a missing value is an error."""
    made = Environment(
        loader=PackageLoader("crm_migrate", folder),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["thousands"] = lambda value: f"{value:,}"
    made.filters["seconds"] = lambda value: "–" if value is None else f"{value:,.1f} s"
    made.filters["duration"] = _duration
    made.filters["as_typed"] = report_charts.as_typed
    made.filters["size"] = _size
    made.filters["code"] = _code
    made.filters["flags"] = _flags
    return made


def _code(text: str) -> Markup:
    """A text in which `this` is a name of the database."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def _flags(text: str) -> Markup:
    """A text in which no flag of a command is broken at its hyphens."""
    parts = [escape(part) for part in _FLAG.split(text)]
    return Markup("").join(
        Markup('<span class="word">{}</span>').format(part) if at % 2 else part for at, part in enumerate(parts)
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds // 60:,.0f} min {seconds % 60:02.0f} s"


def _size(count: float | None) -> str:
    if not count:
        return "–"
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def write_dry_run(connection: Connection, report: DryRunReport, target: Path, *, lineage: str | None = None) -> Path:
    """Write the dry run's report."""
    return _write(target, dry_run(connection, plain(report), lineage=lineage))


def write_apply(connection: Connection, report: ApplyReport, target: Path, *, lineage: str | None = None) -> Path:
    """Write the report of a finished apply."""
    return _write(target, apply(connection, plain(report), lineage=lineage))


def write_verification(result: Verification, target: Path, *, lineage: str | None = None) -> Path:
    """Write the oracles and the sample, before and after side by side."""
    return _write(target, _page("verification.html", report=plain(result), lineage=lineage))


def dry_run(
    connection: Connection, report: Mapping[str, Any], *, nonce: str | None = None, lineage: str | None = None
) -> str:
    """The page of a dry run.

    Args:
        report: a `DryRunReport` as its JSON document has it, with its `run_id`.
        nonce: of the answer that the page is sent in; a file has none.
        lineage: address of the models' documentation, as seen from the page; None when there is none yet.
    """
    before = {name: entity["rows"] for name, entity in report["entities"].items()}
    kept = {
        name: entity["rows"] - entity["rejected"]
        for name, entity in report["entities"].items()
        if name in ("companies", "contacts", "notes") and not report["quick"]
    }
    drawn = [report_charts.rows_by_type(before, {**kept, **report["new_entities"]})]
    return _page("dry_run.html", nonce=nonce, lineage=lineage, **_of_run(connection, report, drawn))


def apply(
    connection: Connection, report: Mapping[str, Any], *, nonce: str | None = None, lineage: str | None = None
) -> str:
    """The page of a finished apply; arguments as for `dry_run`."""
    drawn = []
    if report["before"]:
        drawn.append(report_charts.rows_by_type(report["before"], {**report["kept"], **report["new_entities"]}))
    built = how_built(report.get("build") or {})
    return _page("apply.html", nonce=nonce, lineage=lineage, built=built, **_of_run(connection, report, drawn))


def _of_run(connection: Connection, report: Mapping[str, Any], drawn: list[Chart]) -> dict[str, Any]:
    if report["stages"]:
        drawn.append(report_charts.stages(report["stages"]))
    found = report_charts.findings(connection, report["run_id"])
    return {
        "report": report,
        "charts": drawn + ([found] if found else []),
        "minutes": report_charts.minutes(report["steps"]),
        "over_time": report_charts.over_time(connection, report["run_id"]),
        "steps": report["steps"],
        "load": _load(connection, report["run_id"]),
        "database": connection.info.dbname,
    }


def _page(template: str, *, nonce: str | None = None, lineage: str | None = None, **values: Any) -> str:
    made = environment().get_template(template)
    return made.render(generated_at=datetime.now(UTC), nonce=nonce, lineage=lineage, **values)


def _write(target: Path, text: str) -> Path:
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # a report holds keys and samples of customers' data
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)  # one that was there before may be open to others
        file.write(text)
    return target


def _load(connection: Connection, run_id: str) -> dict[str, Any]:
    """Peaks of the machine's load during the run."""
    return database.rows(
        connection,
        """
        select
            count(*) as samples,
            max(cpu_percent)::float8 as cpu,
            max(memory_bytes) as memory,
            max(disk_read_bytes) as read,
            max(disk_write_bytes) as written,
            min(disk_free_bytes) as free
        from crm_migration.resource_samples
        where run_id = %s
        """,
        [run_id],
    )[0]
