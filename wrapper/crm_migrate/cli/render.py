"""Results as tables and sentences for a terminal of 80 columns, with or without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table

from crm_migrate.cli.progress import describe
from crm_migrate.cli.terminal import stdout
from crm_migrate.cli.visible import Text, visible
from crm_migrate.reports import how_built

if TYPE_CHECKING:
    from crm_migrate.doctor import Examination
    from crm_migrate.findings import Finding
    from crm_migrate.outcomes import Comparison
    from crm_migrate.reports import ApplyReport, DryRunReport, StageCount
    from crm_migrate.status import Status
    from crm_migrate.steps.backup import BackupList, BackupReport
    from crm_migrate.steps.demo import DemoReport
    from crm_migrate.steps.rollback import RollbackReport
    from crm_migrate.steps.unlock import LockReport
    from crm_migrate.verification import Verification

_FEW = 20
_STYLE = {"blocker": "bold red", "rejected": "red", "warning": "yellow", "info": "dim"}


def table(*columns: str, title: str | None = None) -> Table:
    """A plain table; a column whose name starts with `>` is right-aligned."""
    made = Table(
        box=box.ASCII2 if not _unicode() else box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False
    )
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return made


def _unicode() -> bool:
    return "utf" in (stdout().encoding or "").lower()


def severity(name: str) -> str:
    """The style of a severity."""
    return _STYLE.get(name, "")


def size(count: float | None) -> str:
    """Bytes for people."""
    if count is None:
        return "-"
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return ""


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "-"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def examination(console: Console, found: Examination) -> None:
    """The doctor's checks."""
    shown = table("check", "", "finding")
    for check in found.checks:
        mark = Text("ok", style="green") if check.ok else Text(check.severity, style=_STYLE.get(check.severity, ""))
        text = check.message + ("" if check.ok or not check.hint else f" Next: {check.hint}")
        shown.add_row(check.id, mark, Text(text))
    console.print(shown)
    layers = ", ".join(found.layers)
    console.print(
        Text(f"Generation {found.generation or 'unknown'}, server {found.server_version}, lock layers: {layers}")
    )


def findings_table(found: Sequence[Finding], *, limit: int = 20) -> Table:
    """Findings, worst first."""
    shown = table("severity", "finding", ">rows", "for example", "meaning")
    # a code that is broken over two lines cannot be copied into --accept-warning
    shown.columns[1].no_wrap = True
    order = list(_STYLE)
    for finding in sorted(found, key=lambda item: (order.index(item.severity), -item.rows))[:limit]:
        keys = ", ".join(str(key) for key in list(finding.sample_keys)[:3])
        shown.add_row(
            Text(finding.severity, style=_STYLE[finding.severity]),
            Text(finding.id),
            f"{finding.rows:,}",
            Text(keys),
            Text(finding.message),
        )
    return shown


def stages_table(stages: Sequence[StageCount], *, limit: int = 12) -> Table:
    """Stages before and after."""
    shown = table("deal stage", "opportunity stage", ">rows")
    for stage in stages[:limit]:
        shown.add_row(Text(repr(stage.legacy_stage)[1:-1] or "(empty)"), stage.stage, f"{stage.rows:,}")
    return shown


def counts_table(counts: Mapping[str, int]) -> Table:
    """New entities and how many of each."""
    shown = table("new", ">rows")
    for name, count in counts.items():
        shown.add_row(name, f"{count:,}")
    return shown


def dry_run(console: Console, report: DryRunReport, *, next_command: str = "crm-migrate apply") -> None:
    """The verdict first, then why, then what it will take."""
    verdict = Text(report.verdict, style="bold green" if report.verdict == "GO" else "bold red")
    console.print(Text("Dry run ") + Text(report.run_id) + Text(": ") + verdict)
    for reason in report.reasons:
        console.print(Text(f"  {reason}"))
    shown = table("entity", ">rows", ">warned", ">rejected", ">percent")
    for name, entity in report.entities.items():
        shown.add_row(
            name, f"{entity['rows']:,}", f"{entity['warned']:,}", f"{entity['rejected']:,}", f"{entity['percent']:.2f}"
        )
    console.print(shown)
    if report.findings:
        console.print(findings_table(report.findings))
    checks = report.checks
    console.print(f"Checks: {checks['evaluated']} of {checks['expected']} evaluated, {checks['errored']} in error")
    if report.quick:
        console.print("Quick: nothing was built, so this is not enough for apply.")
        return
    console.print(counts_table(report.new_entities))
    if report.comparison is not None:
        comparison(console, report.comparison)
    rehearsal = report.cutover_rehearsal
    console.print(
        f"Cutover rehearsed and rolled back: {'ok' if rehearsal['ok'] else 'NOT possible'}"
        f" ({duration(rehearsal['seconds'])} with its locks)"
    )
    for blocker in rehearsal["blockers"]:
        console.print(Text(f"  {blocker['code']}: {blocker['message']} {blocker.get('hint') or ''}", style="red"))
    if report.estimate:
        estimate = report.estimate
        console.print(
            f"Estimated downtime {duration(estimate.downtime_seconds)},"
            f" with buffer {duration(estimate.downtime_seconds_with_buffer)}"
            + (
                f", on this build {duration(estimate.warm_downtime_seconds)};"
                if estimate.warm_downtime_seconds is not None
                else ";"
            )
            + f" disk {size(estimate.disk_bytes)}, memory {size(estimate.memory_bytes)}"
        )
    if report.to_put_back:
        counts = ", ".join(f"{name} {count:,}" for name, count in report.to_put_back.items())
        console.print(f"From before the rollback, put back by apply: {counts}")
    if report.verdict == "GO":
        console.print(f"Next: {next_command}")
    else:
        console.print("Next: mend what is named above, or accept a warning: --accept-warning CODE --reason TEXT")


def comparison(console: Console, found: Comparison) -> None:
    """Which rows a run moves against an earlier one."""
    console.print(Text(f"Against run {found.earlier_run_id}: {found.rows:,} records with another outcome"))
    if not found.aspects:
        return
    shown = table("entity", "aspect", ">rows", "most of them", "for example")
    for aspect in found.aspects:
        told = [
            (f"{_outcome(move.before)} -> {_outcome(move.after)}  ({move.rows:,})", ", ".join(move.sample_keys[:3]))
            if (move.before, move.after) != (None, None)
            else ("", ", ".join(move.sample_keys[:3]))
            for move in aspect.moves[:3]
        ]
        for number, (moved, keys) in enumerate(told):
            first = (aspect.entity, aspect.aspect, f"{aspect.rows:,}") if number == 0 else ("", "", "")
            shown.add_row(*first, Text(moved), Text(keys))
    console.print(shown)


def _outcome(value: str | None) -> str:
    return "none" if value is None else visible(value, limit=60)


def apply(console: Console, report: ApplyReport) -> None:
    """What was done and how long people waited."""
    console.print(Text(f"Migrated by run {report.run_id}.", style="bold green"))
    shown = table("step", "state", ">seconds", ">rows")
    for step in report.steps:
        rows = "" if step.rows is None else f"{step.rows:,}"
        shown.add_row(step.name.replace("_", " "), step.state, f"{step.seconds or 0:.1f}", rows)
    console.print(shown)
    console.print(f"Downtime {duration(report.downtime_seconds)}; rejected rows {report.rejected_rows:,}")
    console.print(Text(how_built(report.build)))
    saved = report.backup
    console.print(
        Text(f"Backup {saved['path']} ({size(saved['bytes'])}, restored on trial: {_yes(saved['restore_tested'])})"),
        soft_wrap=True,
    )
    for name, outcomes in report.put_back.rows.items():
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())
        console.print(f"From before the rollback, {name}: {counts}")
    for row in report.put_back.unfit:
        console.print(Text(f"  {row.table} {row.key}: {row.reason}", style="yellow"))
    if report.rollback_until:
        console.print(f"Rollback until {report.rollback_until:%Y-%m-%d %H:%M} UTC: crm-migrate rollback")


def _yes(value: object) -> str:
    return "yes" if value else "no"


def verification(console: Console, result: Verification) -> None:
    """Oracles, then the sample."""
    shown = table("oracle", "", ">rows", ">different", ">changed since", "meaning")
    for oracle in result.oracles:
        mark = (
            Text("ok", "green")
            if oracle.ok
            else Text("FAILED", "bold red")
            if oracle.ok is False
            else Text("n/a", "dim")
        )
        shown.add_row(
            oracle.id,
            mark,
            f"{oracle.checked_rows:,}",
            f"{oracle.differences:,}",
            f"{oracle.changed_since:,}",
            Text(oracle.message),
        )
    console.print(shown)
    samples = result.samples
    console.print(
        f"Sample: {samples.compared} of {samples.requested} compared side by side, {samples.different} different"
    )


def status_view(found: Status) -> RenderableType:
    """The status as something that can be refreshed in place."""
    lines: list[RenderableType] = []
    title = f"{found.kind} {found.run_id}: {found.state}" if found.run_id else "Never run on this database."
    lines.append(Text(title, style="bold"))
    if found.steps:
        shown = table("step", "state", ">seconds", ">rows")
        # all of it is to be seen on a terminal of 24 lines
        shown.show_edge = False
        for step in found.steps:
            seconds = f"{step.seconds:.1f}" if step.seconds is not None else ""
            shown.add_row(
                step.name.replace("_", " "), step.state, seconds, "" if step.rows is None else f"{step.rows:,}"
            )
        lines.append(shown)
    if found.batches and found.alive:
        lines.append(Text(describe(found.batches)))
    if found.resources and found.alive:
        load = found.resources
        lines.append(
            Text(
                f"CPU {load['cpu_percent'] or 0:.0f} %, memory {size(load['memory_bytes'])},"
                f" disk free {size(load['disk_free_bytes'])}"
            )
        )
    if found.locked_by:
        owner = found.locked_by
        lines.append(
            Text(
                f"Locked by {owner.operator} on {owner.host} since {owner.since:%Y-%m-%d %H:%M} UTC"
                f" ({duration(owner.age_seconds)}{'' if owner.alive else ', its process is gone'})"
            )
        )
    if found.error:
        lines.append(Text(f"{found.error['code']}  {found.error['what']} {found.error['why']}", style="red"))
    if found.rollback_until:
        lines.append(Text(f"Rollback until {found.rollback_until:%Y-%m-%d %H:%M} UTC"))
    if found.old_names_until:
        lines.append(Text(f"Old names until {found.old_names_until:%Y-%m-%d}: crm-migrate compat status"))
    lines.append(Text(f"Next: {found.next_command}"))
    return Group(*lines)


def status(console: Console, found: Status) -> None:
    """The newest run and what can be done."""
    console.print(status_view(found))


def rollback(console: Console, report: RollbackReport) -> None:
    """What came back with people's changes."""
    console.print(
        Text(f"The legacy database is back (run {report.run_id}, {duration(report.seconds)}).", style="bold green")
    )
    if report.carried_over:
        shown = table("carried over", ">inserted", ">updated", ">deleted")
        for entity, counts in report.carried_over.items():
            shown.add_row(entity, *(f"{counts.get(key, 0):,}" for key in ("inserted", "updated", "deleted")))
        console.print(shown)
    for entity, keys in report.revived.items():
        console.print(
            Text(f"Deleted softly, but something else may not lose them; they are back: {entity} {_few(keys)}")
        )
    if report.orphaned:
        shown_keys = _few(report.orphaned)
        console.print(Text(f"Refused deals whose company was deleted, dropped (they are in the file): {shown_keys}"))
    if report.dropped_objects:
        console.print(
            Text(f"Made on the new tables and dropped (they are in the file): {_few(report.dropped_objects)}")
        )
    if report.exported_rows:
        shown = table("cannot be held", ">inserted", ">changed", ">deleted", ">other")
        for entity, kinds in report.exported_rows.items():
            other = sum(count for kind, count in kinds.items() if kind not in ("inserted", "changed", "deleted"))
            shown.add_row(
                entity, *(f"{kinds.get(kind, 0):,}" for kind in ("inserted", "changed", "deleted")), f"{other:,}"
            )
        console.print(shown)
    if report.exported:
        console.print(Text(f"What the legacy shape cannot hold: {report.exported}"), soft_wrap=True)
        console.print("A later apply puts these rows back.")


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:_FEW]) + (f" and {len(keys) - _FEW} more" if len(keys) > _FEW else "")


def lock(console: Console, report: LockReport) -> None:
    """Locked or not, and by what."""
    if report.locked:
        console.print(f"Locked: {', '.join(report.layers)}. Next: crm-migrate unlock")
    else:
        console.print("Unlocked." + (f" Run {report.given_up} was given up." if report.given_up else ""))


def backup(console: Console, report: BackupReport) -> None:
    """One backup."""
    tested = {True: "restored on trial and equal", False: "NOT equal", None: "not restored on trial"}[
        report.restore_tested
    ]
    console.print(Text(f"{report.path}  {size(report.bytes)}  {tested}"))


def backups(console: Console, report: BackupList) -> None:
    """The backups of a folder."""
    shown = table("backup", ">size")
    for item in report.backups:
        shown.add_row(Text(str(item.path)), size(item.bytes))
    console.print(shown if report.backups else "No backups.")


def config(entries: Sequence[Mapping[str, Any]]) -> None:
    """Settings with their origins."""
    shown = table("setting", "value", "from", "meaning")
    for entry in entries:
        shown.add_row(entry["name"], Text(str(entry["value"])), Text(entry["origin"]), Text(entry["help"]))
    stdout().print(shown)


def demo(console: Console, report: DemoReport) -> None:
    """Before and after on one screen."""
    console.print()
    console.print(Text(f"A CRM of generation {report.generation}, before and after", style="bold"))
    shown = table("before", ">rows", "after", ">rows")
    before, after = list(report.before.items()), list(report.after.items())
    for number in range(max(len(before), len(after))):
        left = before[number] if number < len(before) else ("", None)
        right = after[number] if number < len(after) else ("", None)
        shown.add_row(left[0], _count(left[1]), right[0], _count(right[1]))
    console.print(shown)
    console.print(stages_table(report.stages))
    for example in report.examples:
        console.print(Text(example.title, style="bold"))
        console.print(Text(f"  before  {example.before}"))
        console.print(Text(f"  after   {example.after}"))
    console.print()
    console.print(
        f"Downtime {duration(report.downtime_seconds)} (estimated {duration(report.estimated_seconds)});"
        f" rejected rows {report.rejected_rows:,};"
        f" verified {report.checked_rows:,} rows: {'all equal' if report.verified else 'DIFFERENT'}"
    )
    for label, place in report.places.items():
        console.print(Text(f"  {label:<16}{place}"), soft_wrap=True)


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
