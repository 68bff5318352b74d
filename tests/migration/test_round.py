"""There, back and there again: what people did after the first migration is in the second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from crm_migrate import database as db
from crm_migrate import ledger, put_back, report_html
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import rollback, verify
from people import as_role
from running import do_it, try_it, unlocked
from work_of_people import CASES, COMPANY, SETTING, links

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def look(connection: Connection, queries: dict[str, str | None]) -> dict[str, list[tuple[Any, ...]]]:
    return {name: connection.execute(query).fetchall() for name, query in queries.items() if query}


OLD = {name: case.old for name, case in CASES.items()}
NEW = {name: case.new for name, case in CASES.items()}


def work(connection: Connection) -> None:
    for statement in (SETTING, *(case.do for case in CASES.values())):
        connection.execute(statement)


def back(settings: Settings, **options: Any) -> rollback.RollbackReport:
    with db.connect(settings) as connection:
        return rollback.run(connection, settings, Silent(), **options)


def legacy_form(query: str) -> str:
    """The same question to the legacy tables, which know no soft delete."""
    return query.replace(" and deleted_at is null", "").replace(" and department is not null", "")


def tables(path: str | None) -> dict[str, int]:
    assert path is not None
    found: dict[str, int] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        read = json.loads(line)
        found[read["table"]] = found.get(read["table"], 0) + 1
    return found


def test_every_table_every_operation_both_ways(migrated_2026: Connection, mapped: MakeSettings) -> None:
    crm, settings = migrated_2026, mapped(migrated_2026, rehearsal_max_seconds=60.0)
    untouched = look(crm, NEW), look(crm, OLD)
    removed = crm.execute(
        "select contact_id, organization_id from public.contact_organizations where id in (select"
        " unnest(array[min(id),"
        " max(id)]) from public.contact_organizations where origin = 'deal')"
    ).fetchall()
    work(crm)
    new, old = look(crm, NEW), look(crm, OLD)
    unseen = [name for name in CASES if (new.get(name), old.get(name)) == tuple(part.get(name) for part in untouched)]
    assert unseen == [], f"each case must show: {unseen}"

    report = back(settings)
    assert report.differences == []
    there = look(crm, {name: query and legacy_form(query) for name, query in OLD.items()})
    assert {name: rows for name, rows in there.items() if rows != old[name]} == {}
    assert sum(sum(kinds.values()) for kinds in report.exported_rows.values()) == sum(tables(report.exported).values())
    assert tables(report.exported).keys() == report.exported_rows.keys()

    # people go on with the old application
    crm.execute("update public.deals set stage = 'won' where id = 35")
    crm.execute("update public.contacts set company_id = 3 where id = 22")
    crm.execute("update public.tasks set text = 'later' where id = 23")
    crm.execute("delete from public.contacts where id = 24")
    crm.execute(f"update public.deals set company_id = {COMPANY} where id = 40")
    Path(report.exported or "").unlink()  # the operator's machine is lost

    tried = try_it(settings, **{"deals.dangling_contact": "people deleted contacts"})
    assert tried.verdict == "GO", tried.reasons
    waiting = {table: sum(kinds.values()) for table, kinds in report.exported_rows.items()}
    assert tried.to_put_back == waiting
    done = do_it(settings)
    again = look(crm, NEW)
    report_html.write_apply(crm, done, settings.work_dir / "apply.html")
    assert "From before the rollback" in (settings.work_dir / "apply.html").read_text(encoding="utf-8")
    lost = {name: (rows, again[name]) for name, rows in new.items() if rows != again[name]}
    changed_since = {
        "deal updated",
        "primary organization changed",
        "preferred principal",
        "commission of the customer",
        "activity of a task described",
        # other links follow from what people did
        "derived link softly deleted",
        "derived link deleted",
    }
    assert lost.keys() == changed_since, lost
    for key in removed:
        live = {link[0] for link in crm.execute(links(key[0]))}
        assert key[1] not in live, "the migration makes it, people have removed it"
    # what people said last counts, and what it leaves no place for is told and kept
    assert crm.execute("select company_id from public.contacts where id = 22").fetchone() == (3,)
    assert [row[:2] for row in again["primary organization changed"] if row[1]] == [(3, True)]
    assert again["activity of a task described"][0][6:] == ("s3", "later", "good", 20)
    assert crm.execute("select stage::text from public.opportunities where id = 35").fetchone() == ("closed_won",)
    unfit = {(item.table, item.reason.split(".")[0]) for item in done.put_back.unfit}
    assert ("opportunity_participants", "Opportunity 40 has another customer since") in unfit
    assert any(table == "contact_preferred_principals" and "foreign key" in reason for table, reason in unfit)
    assert sum(put_back.waiting(crm).values()) == len(done.put_back.unfit)
    counted = {table: sum(outcomes.values()) for table, outcomes in done.put_back.rows.items()}
    assert counted == waiting
    recorded = ledger.latest(crm, "apply")
    assert recorded is not None
    assert {
        table: sum(outcomes.values()) for table, outcomes in recorded.summary["put_back"]["rows"].items()
    } == waiting
    assert unlocked(crm)
    with db.connect(settings) as connection:
        checked = verify.run(connection, settings)
    assert checked.ok, [oracle.message for oracle in checked.oracles if oracle.ok is False]

    # and back once more
    shown = look(crm, OLD)
    assert back(settings).differences == []
    assert look(crm, {name: query and legacy_form(query) for name, query in OLD.items()}) == shown
    with as_role(crm):
        crm.execute("insert into public.deals (name, stage) values ('still', 'won')")
