"""`dry-run --compare`: which rows a changed mapping moves, against a run whose outcome was kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from rich.console import Console

from crm_migrate import database as db
from crm_migrate import outcomes, report_html
from crm_migrate.cli import render
from crm_migrate.errors import WrongState
from crm_migrate.observer import Silent
from crm_migrate.outcomes import Aspect, Comparison
from crm_migrate.settings import Settings
from crm_migrate.steps import dry_run
from installation import RUN, Installation, built_templates, stock  # noqa: F401  # fixtures
from people import value
from running import program

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def aspects(found: Comparison) -> dict[tuple[str, str], Aspect]:
    return {(item.entity, item.aspect): item for item in found.aspects}


def test_changed_mapping_moves_just_the_rows_of_its_line(tried_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(tried_2026)
    mapping = settings.seeds_dir / "stage_mapping.csv"
    before, after = "proposal-sent,proposal,active,60", "proposal-sent,qualified,active,60"
    mapping.write_text(mapping.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    gone = value(
        tried_2026,
        "delete from public.deals where id = (select max(id) from public.deals where stage = 'won') returning id::text",
    )
    with db.connect(settings) as connection:
        report = dry_run.run(connection, settings, Silent(), accepted={}, compare=outcomes.LAST)
    found = report.comparison
    assert found is not None
    assert report.as_json()["comparison"]["earlier_run_id"] == found.earlier_run_id != report.run_id
    keys = [
        row[0]
        for row in tried_2026.execute(
            "select id::text from public.deals where lower(btrim(stage)) = 'proposal-sent' order by deals.id"
        )
    ]
    (move,) = aspects(found)["deals", "stage"].moves
    assert (move.before, move.after, move.rows) == ("proposal", "qualified", len(keys))
    assert list(move.sample_keys) == keys[:5]
    assert aspects(found)["deals", "only before"].moves[0].sample_keys == (gone,)
    assert ("deals", "probability") not in aspects(found)
    assert found.rows >= len(keys) + 1

    console = Console(file=io.StringIO(), width=80)
    render.dry_run(console, report)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"proposal -> qualified  ({len(keys)})" in shown
    assert f"Against run {found.earlier_run_id}" in shown

    written = report_html.write_dry_run(tried_2026, report, settings.work_dir / "compared.html").read_text("utf-8")
    assert f"Against dry run {found.earlier_run_id}" in written
    assert f"{found.rows} records have another outcome than then." in written
    assert "<bdi>proposal</bdi> → <bdi>qualified</bdi>" in written
    assert f">{', '.join(keys[:5])}</td>" in written

    # an apply has nothing to compare with, and its backup nothing to carry
    outcomes.forget(tried_2026)
    assert value(tried_2026, "select count(*) from pg_class where relname like 'outcome%%'") == 0


def test_every_aspect_is_seen(stock: Installation) -> None:  # noqa: F811
    """One record of each kind is changed by hand in the build: each is found, alone and with its values."""
    connection = stock.connection
    assert outcomes.keep(connection, RUN) == stock.value(
        "select (select count(*) from crm_build.opportunities)"
        " + (select count(distinct contact_id) from crm_build.contact_organizations)"
        " + (select count(*) from crm_build.company_classifications)"
        " + (select count(*) from crm_build.activities where legacy_task_id is not null)"
        " + (select count(distinct (principal_organization_id, distributor_organization_id))"
        "    from crm_build.principal_distributor_relationships)"
    )
    outcomes.keep(connection, "run-0")
    assert outcomes.compare(connection, RUN, "run-0") == Comparison(RUN, 0, ())
    stock.execute("update crm_build.opportunities set principal_organization_id = null where id = 3")
    stock.execute("delete from crm_build.contact_organizations where contact_id = 1")
    stock.execute("update crm_build.company_classifications set organization_type = 'vendor' where company_id = 1")
    stock.execute("update crm_build.activities set interaction_type = 'social' where legacy_task_id = 1")
    pair = stock.execute(
        "update crm_build.principal_distributor_relationships set commission_percent = 99 where id = 1"
        " returning principal_organization_id || '-' || distributor_organization_id"
    )[0][0]
    outcomes.keep(connection, "run-2", compared="run-0")
    found = outcomes.compare(connection, RUN, "run-2")
    assert {key: item.moves[0].sample_keys for key, item in aspects(found).items()} == {
        ("deals", "principal"): ("3",),
        ("contacts", "only before"): ("1",),
        ("companies", "type"): ("1",),
        ("tasks", "interaction"): ("1",),
        ("relationships", "agreed"): (pair,),
    }
    assert found.rows == 5
    assert aspects(found)["deals", "principal"].moves[0].after is None
    # the newest are kept, and the one that is compared with
    for number in range(3, 6):
        outcomes.keep(connection, f"run-{number}", compared="run-0")
    assert [
        row[0] for row in stock.execute("select relname from pg_class where relname like 'outcome%%' order by 1")
    ] == [
        "outcome_run-0",
        "outcome_run-4",
        "outcome_run-5",
    ]


def test_outcome_that_is_not_kept_is_refused_before_anything_is_built(
    tried_2026: Connection, mapped: MakeSettings
) -> None:
    settings = mapped(tried_2026)
    with pytest.raises(WrongState, match="is not kept") as refused:
        outcomes.require(tried_2026, "20200101-000000-0000")
    assert "last 2 dry runs" in refused.value.why
    before = value(tried_2026, "select count(*) from crm_migration.runs")
    run = program(settings, "dry-run", "--compare", "nonsense")
    _, said = run.communicate(timeout=60)
    assert run.returncode == 4, said
    assert value(tried_2026, "select count(*) from crm_migration.runs") == before
    run = program(settings, "dry-run", "--compare", "last", "--quick")
    _, said = run.communicate(timeout=60)
    assert run.returncode == 2, said
