"""What the reports draw: where rows went, what was found, how fast it was, what it cost the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

from crm_migrate import charts, database, paths
from crm_migrate.charts import Chart
from crm_migrate.database import Connection

_SEVERITIES = ("blocker", "rejected", "warning", "info")
# what each legacy entity became; the others of the new entities are new
_BECAME = {"deals": "opportunities", "tasks": "activities"}
_STAGES_SHOWN = 12
_MEGABYTE = 1e6


def rows_by_type(before: Mapping[str, int], after: Mapping[str, int]) -> Chart:
    """Rows of each type before and after: an entity beside what it became, then what is new."""
    rows: list[tuple[str, Sequence[float | None]]] = []
    left = dict(after)
    for name, count in before.items():
        became = _BECAME.get(name, name)
        label = name if became == name else f"{name} → {became}"
        rows.append((label.replace("_", " "), (count, left.pop(became, None))))
    rows += [(name.replace("_", " "), (None, count)) for name, count in left.items() if count]
    return charts.bars("Records by type, before and after", rows, series=("before", "after"))


def stages(counts: Sequence[Mapping[str, Any]]) -> Chart:
    """The stages that deals had, and have as opportunities."""
    shown = counts[:_STAGES_SHOWN]
    rows: list[tuple[str, Sequence[float | None]]] = [
        (f"{as_typed(row['legacy_stage'])} → {str(row['stage']).replace('_', ' ')}", (row["rows"],)) for row in shown
    ]
    rest = sum(row["rows"] for row in counts[_STAGES_SHOWN:])
    if rest:
        rows.append((f"{len(counts) - _STAGES_SHOWN} others", (rest,)))
    return charts.bars("Stages, before → after", rows, series=("opportunities",))


def as_typed(stage: str | None) -> str:
    """A legacy stage; blanks around it would not be seen, and it would look like another one."""
    text = stage or ""
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    return "␣" * before + inner + "␣" * (len(text) - before - len(inner)) if inner else "(empty)"


def findings(connection: Connection, *run_ids: str) -> Chart | None:
    """Rows with findings by severity; None when nothing was found."""
    found = dict(
        connection.execute(
            "select severity, sum(rows)::bigint from crm_migration.findings where run_id = any(%s) group by severity",
            [list(run_ids)],
        ).fetchall()
    )
    rows = [(name, (int(found[name]),)) for name in _SEVERITIES if found.get(name)]
    return charts.bars("Findings by severity (rows)", rows, series=("rows",)) if rows else None


def minutes(steps: Sequence[Mapping[str, Any]]) -> Chart:
    """Where the minutes went."""
    rows = [
        (step["name"].replace("_", " "), (round(step["seconds"], 2),)) for step in steps if step["seconds"] is not None
    ]
    return charts.bars("Where the time went", rows, series=("seconds",), unit=" s")


def over_time(connection: Connection, run_id: str) -> list[Chart]:
    """Rows per second, CPU, memory and disk over the time of a run; those of which there is anything."""
    drawn = []
    if database.exists(connection, "crm_migration.batches"):
        rates = _rows(connection, "rows_per_second", run_id)
        if rates:
            drawn.append(charts.line("Rows written per second", [(r["at_seconds"], r["rate"]) for r in rates]))
    load = _rows(connection, "load", run_id)
    for title, column, unit, scale in (
        ("CPU of the machine", "cpu_percent", " %", 1.0),
        ("Memory of the program", "memory_bytes", " MB", _MEGABYTE),
        ("Disk read and written per second", "disk_rate", " MB", _MEGABYTE),
        ("Disk free", "disk_free_bytes", " GB", 1000 * _MEGABYTE),
    ):
        points = [(row["at_seconds"], float(row[column])) for row in load if row[column] is not None]
        if len(points) > 1:
            drawn.append(charts.line(title, points, unit=unit, scale=scale))
    return drawn


def _rows(connection: Connection, name: str, run_id: str) -> list[dict[str, Any]]:
    text: LiteralString = (paths.SQL / "reports" / f"{name}.sql").read_text(encoding="utf-8")
    return database.rows(connection, text, {"run": run_id})
