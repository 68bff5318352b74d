"""One record's story on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from crm_migrate.cli.render import severity, table
from crm_migrate.cli.visible import visible
from crm_migrate.story import Links, Row, Story
from crm_migrate.story_rules import Rule

_LONG = 300
_STATES = {
    "legacy": "not migrated",
    "tried": "as the dry run {run} built it; nothing is migrated",
    "migrated": "migrated by run {run}",
    "rolled back": "rolled back (run {run})",
}


def story(console: Console, told: Story) -> None:
    """What it was and is, why, what was found in it, who refers to it."""
    console.print(Text(f"{told.entity} {told.key}  {visible(told.title, limit=_LONG)}", style="bold"))
    state = _STATES[told.state].format(run=told.run_id or "unknown")
    console.print(Text(f"{state}; fate: {told.fate}"))
    for remark in told.remarks:
        console.print(Text(remark, style="yellow"))
    _rows(console, told)
    if told.rules:
        _rules(console, told)
    for warning in told.warnings:
        console.print(
            Text(warning.severity, style=severity(warning.severity))
            + Text(f"  {warning.code}: {visible(warning.message, limit=_LONG)}")
        )
    if told.links:
        _links(console, told.links)
    for change in told.changes:
        console.print(Text(f"changed  {change.operation} at {change.changed_at:%Y-%m-%d %H:%M} UTC by {change.role}"))


def _rows(console: Console, told: Story) -> None:
    legacy = told.legacy or {}
    main = told.became[0] if told.became else None
    paired = main is not None and (main.legacy_names or main.table in (told.legacy_table, "opportunity_notes"))
    if main is None or not paired:
        _alone(console, f"Legacy row of {told.legacy_table}", legacy)
    else:
        title = main.table if main.table == told.legacy_table else f"{told.legacy_table}, now {main.table}"
        shown = table("column", "before", "now", title=title)
        for column, before, now in _pairs(legacy, main):
            shown.add_row(Text(visible(column)), _value(before), _value(now))
        console.print(shown)
    for row in told.became[1 if paired else 0 :]:
        facts = (_fact(column, value, told) for column, value in row.values.items() if _is_telling(column, value))
        console.print(Text(f"{row.table} {row.key}  {', '.join(facts)}"))


def _is_telling(column: str, value: Any) -> bool:
    return value not in (None, False) and column != "id" and not column.endswith("_at")


def _fact(column: str, value: Any, told: Story) -> str:
    name = told.names.get(str(value)) if column.endswith("organization_id") else None
    return f"{column.removesuffix('_id')} {_value(value)}" + (f" {visible(name, limit=_LONG)}" if name else "")


def _pairs(legacy: Any, row: Row) -> Iterator[tuple[str, Any, Any]]:
    seen = set()
    for column, now in row.values.items():
        old = row.legacy_names.get(column, column)
        seen.add(old)
        before = legacy.get(old)
        if before is not None or now is not None:
            yield column if old == column else f"{column} ({old})", before, now
    yield from (
        (column, before, None) for column, before in legacy.items() if column not in seen and before is not None
    )


def _alone(console: Console, title: str, values: Any) -> None:
    shown = table("column", "value", title=title)
    for column, value in values.items():
        if value is not None:
            shown.add_row(Text(visible(column)), _value(value))
    if shown.row_count:
        console.print(shown)


def _value(value: Any) -> Text:
    if value is None:
        return Text("")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Text(visible(text, limit=_LONG) if text else '""')


def _rules(console: Console, told: Story) -> None:
    console.print(Text("Why", style="bold"))
    alike: dict[tuple[str, tuple[str, ...]], list[Rule]] = {}
    for rule in told.rules:
        alike.setdefault((rule.text, tuple(line.where for line in rule.lines)), []).append(rule)
    for (text, _), rules in alike.items():
        values = dict.fromkeys(f"{rule.column} = {visible(_name(rule, told), limit=80)}" for rule in rules)
        console.print(Text(", ".join(values)))
        console.print(Padding(Text(text, style="dim"), (0, 0, 0, 4)))
        for line in rules[0].lines:
            cells = ", ".join(visible(cell, limit=60) for cell in line.cells.values() if cell)
            said = "" if line.agrees else "  (the record says otherwise)"
            console.print(Padding(Text(f"{line.where}  {cells}") + Text(said, style="yellow"), (0, 0, 0, 4)))


def _name(rule: Rule, told: Story) -> str:
    name = told.names.get(str(rule.value)) if rule.column.endswith("organization_id") else None
    return f"{rule.value} {name}" if name else str(rule.value)


def _links(console: Console, links: tuple[Links, ...]) -> None:
    shown = table("linked", "by", ">rows", "for example")
    for group in links:
        example = "; ".join(
            " ".join(
                part for part in (link.key, visible(link.label, limit=40), f"({link.how})" if link.how else "") if part
            )
            for link in group.shown[:3]
        )
        shown.add_row(Text(visible(group.table)), Text(visible(group.column)), f"{group.total:,}", Text(example))
    console.print(shown)
