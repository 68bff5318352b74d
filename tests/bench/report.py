"""The tables of docs/benchmarks.md, out of the figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import safety, ways
from bench.figures import Figures
from bench.migration import BUSY, COLD, WARM

TITLES = ("Whole migration", "Steps", "Transformation", "Other ways", "What the safety costs")
# contacts: seconds are asked for at one size, and the estimate from another on; memory is asked for at every size
SECONDS_AT, ESTIMATES_FROM = 1_000_000, 100_000
MEGABYTE = 1024 * 1024
GIGABYTE = 1024 * MEGABYTE
# what takes less everywhere is left out of a table: seconds, and a part of the whole
SHOWN_FROM, SHOWN_PART = 0.05, 0.01
WAYS = {
    ways.PROGRAM: "program",
    ways.BARE: "plain `INSERT … SELECT`",
    ways.DBT: "dbt's `table`",
    ways.SCRIPT: "script, pages of 1,000",
}


@dataclass(frozen=True)
class Target:
    """Something that was asked for."""

    name: str
    measured: float
    at_most: float
    unit: str = " s"

    @property
    def kept(self) -> bool:
        """Whether it is."""
        return self.measured <= self.at_most


def tables(sizes: Sequence[Figures]) -> Iterator[str]:
    """Lines of markdown for all sizes that were measured."""
    for title, table in zip(TITLES, (_migration, _steps, _transformation, _alternatives, _safety), strict=True):
        rows = list(table(sizes))
        if rows:
            yield from ("", f"## {title}", "", *rows)
    told = [[f"{size['contacts']:,}", *_target(target)] for size in sizes for target in targets(size)]
    if told:
        yield from ("", "## Targets", "", *_lines(["contacts", "", "measured", "at most", ""], told))


def targets(size: Figures) -> list[Target]:
    """What was asked for at this size, as far as it was measured."""
    found = []
    at_its_size = size["contacts"] == SECONDS_AT
    if at_its_size and "ways" in size:
        found.append(Target("transformation, of the bare limit", _ratio(size), 1.3, " ×"))
    for kind, seconds in ((COLD, 120.0), (WARM, 30.0), (BUSY, 30.0)):
        run = size.get("run", {}).get(kind)
        if run is None:
            continue
        if at_its_size:
            steps = run["apply"]["steps"]
            found += [
                Target(f"downtime, {kind}", run["downtime_seconds"], seconds),
                Target(f"verification of all rows, {kind}", steps["verify"], 10.0),
                Target(f"cutover transaction, {kind}", steps["cutover: transaction"], 1.5),
            ]
        peak = max(run[command]["peak_bytes"] for command in ("dry-run", "apply", "verify", "rollback"))
        found.append(Target(f"memory of Python, {kind}", peak / MEGABYTE, 300.0, " MB"))
        if size["contacts"] >= ESTIMATES_FROM:
            error = abs(_estimate_ratio(run) - 1) * 100
            found.append(Target(f"error of the estimate, {kind}", error, 30.0, " %"))
    return found


def _target(target: Target) -> list[str]:
    shown = f"{target.measured:.2f}{target.unit}", f"{target.at_most:g}{target.unit}"
    return [target.name, *shown, "kept" if target.kept else "**missed**"]


def _migration(sizes: Sequence[Figures]) -> Iterator[str]:
    runs = _runs(sizes)
    if not runs:
        return
    rows: list[list[str]] = [
        ["**downtime**, lock → unlock", *(f"**{run['downtime_seconds']:.1f} s**" for run in runs.values())],
        [
            "the dry run's estimate of it",
            *(f"{run['estimated_seconds']:.1f} s ({_estimate_ratio(run):.2f} ×)" for run in runs.values()),
        ],
    ]
    if any("edits" in run for run in runs.values()):
        rows.append(["changed since the dry run", *(_edited(run) for run in runs.values())])
    for command in ("dry-run", "apply", "verify", "rollback"):
        rows.append([f"`{command}`, by the clock", *(f"{run[command]['seconds']:.1f} s" for run in runs.values())])
    for command in ("dry-run", "apply", "verify", "rollback"):
        peaks = (f"{run[command]['peak_bytes'] / MEGABYTE:.0f} MB" for run in runs.values())
        rows.append([f"Python's peak, `{command}`", *peaks])
    for command in ("dry-run", "apply", "rollback"):
        logs = (f"{run[command]['wal_bytes'] / GIGABYTE:.2f} GB" for run in runs.values())
        rows.append([f"write-ahead log, `{command}`", *logs])
    for moment in ("before", "after", "archive"):
        label = "archive in it" if moment == "archive" else f"database {moment}"
        rows.append([label, *(f"{run['database_bytes'][moment] / GIGABYTE:.2f} GB" for run in runs.values())])
    rows.append(["backup on disk", *(f"{run['backup_bytes'] / GIGABYTE:.2f} GB" for run in runs.values())])
    yield from _lines(["contacts", *(f"{contacts:,} {kind}" for contacts, kind in runs)], rows)


def _steps(sizes: Sequence[Figures]) -> Iterator[str]:
    runs = _runs(sizes)
    if not runs:
        return
    for command in ("dry-run", "apply", "rollback"):
        names = dict.fromkeys(name for run in runs.values() for name in run[command]["steps"])
        parts = [("steps", name, f"`{name}`") for name in names]
        parts += [
            ("models", name, f"model `{name}`")
            for name in dict.fromkeys(name for run in runs.values() for name in run[command].get("models", {}))
        ]
        rows = [
            [label, *(_seconds(run[command][group].get(name)) for run in runs.values())]
            for group, name, label in parts
            if _is_worth_a_line(
                (run[command][group].get(name, 0.0) for run in runs.values()),
                (run[command]["seconds"] for run in runs.values()),
            )
        ]
        yield from _lines([f"`{command}`", *(f"{contacts:,} {kind}" for contacts, kind in runs)], rows)
        yield ""


def _transformation(sizes: Sequence[Figures]) -> Iterator[str]:
    measured = [size for size in sizes if "ways" in size]
    if not measured:
        return
    pairs = [(size["ways"][ways.PROGRAM], size["ways"][ways.BARE]) for size in measured]
    names = sorted({name for pair in pairs for one in pair for name in one["seconds"]})
    rows = [["**by the clock**", *(f"**{one['whole']:.1f} s**" for pair in pairs for one in pair)]]
    rows.append(["**ratio**", *(text for size in measured for text in (f"**{_ratio(size):.2f}**", ""))])
    rows.append(["dbt reads and plans, not in it", *(t for ours, _ in pairs for t in (f"{ours['start']:.1f} s", "–"))])
    for name in names:
        seconds = [one["seconds"].get(name, 0.0) for pair in pairs for one in pair]
        if _is_worth_a_line(seconds, (one["whole"] for pair in pairs for one in pair)):
            label = name if name.startswith("(") else f"`{name}`"
            rows.append([label, *(f"{value:.2f} s" for value in seconds)])
    head = [text for size in measured for text in (f"{size['contacts']:,} program", "bare")]
    yield from _lines(["contacts", *head], rows)


def _alternatives(sizes: Sequence[Figures]) -> Iterator[str]:
    measured = [size for size in sizes if ways.DBT in size.get("ways", {})]
    if not measured:
        return
    rows = []
    for way, label in WAYS.items():
        texts = []
        for size in measured:
            one = size["ways"].get(way)
            bare = size["ways"][ways.BARE]["whole"]
            texts.append(f"{one['whole']:.1f} s ({one['whole'] / bare:.2f} ×)" if one else "not measured")
        rows.append([label, *texts, _growth(measured, way)])
    yield from _lines(
        ["contacts", *(f"{size['contacts']:,}" for size in measured), "seconds per row, last : first"], rows
    )


def _growth(sizes: Sequence[Figures], way: str) -> str:
    """How much more a row costs at the largest size than at the smallest."""
    known = [(size["contacts"], size["ways"][way]["whole"]) for size in sizes if way in size["ways"]]
    if len(known) < 2:
        return "–"
    (few, first), (many, last) = known[0], known[-1]
    return f"{(last / many) / (first / few):.2f}"


def _safety(sizes: Sequence[Figures]) -> Iterator[str]:
    measured = [size for size in sizes if "safety" in size]
    if not measured:
        return
    rows = []
    for name in measured[0]["safety"]:
        texts = []
        for size in measured:
            seconds, whole = size["safety"][name], size["safety"][safety.PROGRAM]
            texts.append(f"{seconds:.2f} s ({seconds / whole:.2f} ×)")
        rows.append([name, *texts])
    yield from _lines(["contacts", *(f"{size['contacts']:,}" for size in measured)], rows)


def _runs(sizes: Sequence[Figures]) -> dict[tuple[int, str], Figures]:
    return {(size["contacts"], kind): run for size in sizes for kind, run in size.get("run", {}).items()}


def _ratio(size: Figures) -> float:
    return float(size["ways"][ways.PROGRAM]["whole"] / size["ways"][ways.BARE]["whole"])


def _estimate_ratio(run: Figures) -> float:
    return float(run["estimated_seconds"] / run["downtime_seconds"])


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _is_worth_a_line(seconds: Iterable[float], wholes: Iterable[float]) -> bool:
    return max(seconds) >= max(SHOWN_FROM, SHOWN_PART * max(wholes))


def _edited(run: Mapping[str, Any]) -> str:
    edits = run.get("edits")
    if edits is None:
        return "–"
    changed = edits["updated"] + edits["inserted"] + edits["deleted"]
    return f"{changed:,.0f} rows ({changed / edits['rows'] * 100:.2f} %)"


def _lines(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
