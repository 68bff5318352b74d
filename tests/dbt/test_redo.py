"""The rules by which a kept build is brought up to date."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import compiled, data_tests, failed_nodes, redo, row_versions, transform
from crm_migrate.compiled import Model
from crm_migrate.settings import Settings
from dbt_builds import begin, value

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

SOURCES = ["companies", "contacts", "deals", "sales", "tasks"]
BY_HAND = (
    "update public.deals set company_id = (select max(id) from public.companies) where id % 7 = 0",
    "update public.deals set contact_ids = contact_ids[2:] where id % 9 = 0",
    "delete from public.deals where id % 11 = 0",
    "delete from public.contacts where id % 13 = 0",
    "update public.tasks set type = 'Email' where id % 5 = 0",
)
PARTS = (
    ("opportunities", "t"),
    ("company_classifications", "t"),
    (
        "contact_organizations",
        "row(t.contact_id, t.organization_id, t.is_primary_organization, t.origin, t.created_at)",
    ),
    ("opportunity_participants", "row(t.opportunity_id, t.organization_id, t.role, t.created_at)"),
    ("activities", "t"),
    ("principal_distributor_relationships", "t"),
)


@pytest.fixture
def crm(legacy_2026: Connection, mapped: MakeSettings) -> tuple[Connection, Settings]:
    """A CRM with a build, whose rows are remembered."""
    settings = mapped(legacy_2026, batch_size=60)
    begin(legacy_2026, settings, batch_size=60)
    build(settings, "run-1")
    row_versions.remember(legacy_2026, "build", [f"public.{name}" for name in SOURCES])
    return legacy_2026, settings


def build(settings: Settings, run_id: str) -> None:
    """All models, without their tests."""
    transform.run(settings, "build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")


def rows(connection: Connection) -> dict[str, Any]:
    """What the marts hold, without the numbers of links."""
    return {
        name: value(connection, f"select array_agg({row}::text order by {row}::text) from crm_build.{name} as t")
        for name, row in PARTS
    }


def redone(connection: Connection, settings: Settings, models: tuple[Model, ...]) -> dict[str, Any]:
    """Bring the build up to date after some edits, and compare it with one that is made anew."""
    for statement in BY_HAND:
        connection.execute(statement.encode())
    found = row_versions.find(settings, "build", [f"public.{name}" for name in SOURCES])
    changes = {name: found[f"public.{name}"].place for name in SOURCES}
    for stage in ("stage_1", "stage_1_5"):
        redo.run(settings, "run-1", models, changes, stage=stage)
    updated = rows(connection)
    begin(connection, settings, "run-2", batch_size=60)
    build(settings, "run-2")
    assert updated == rows(connection)
    return updated


def test_every_rule_holds_for_its_model(crm: tuple[Connection, Settings]) -> None:
    _, settings = crm
    models = {model.name: model for model in compiled.read(settings)}
    assert {path.stem for path in redo.FOLDER.glob("*.sql")} == models.keys()
    for name, model in models.items():
        rule = redo.read_rule(name)
        assert rule is not None
        # a model that is made anew as a whole needs no more than a key
        wanted = f"-- holds for: {model.text}"
        assert rule.whole or rule.holds_for == model.text, (
            f"{name} has changed. Read sql/redo/{name}.sql: does its query still find every row that"
            f" a changed legacy row has a part in? Then write into it: {wanted}"
        )
        named = set(re.findall(r"\{(\w+)\}", rule.stale))
        assert named <= model.models | model.sources, name
    assert set(redo.sources(list(models.values()))) == set(SOURCES)


def test_rows_are_made_anew_where_something_changed(crm: tuple[Connection, Settings]) -> None:
    connection, settings = crm
    models = compiled.read(settings)
    before = dict(connection.execute("select id, xmin::text from crm_build.opportunities").fetchall())
    for statement in BY_HAND[:3]:
        connection.execute(statement.encode())
    found = row_versions.find(settings, "build", [f"public.{name}" for name in SOURCES])
    redo.run(settings, "run-1", models, {name: found[f"public.{name}"].place for name in SOURCES}, stage="stage_1")
    after = dict(connection.execute("select id, xmin::text from crm_build.opportunities").fetchall())
    same = [key for key, version in after.items() if before.get(key) == version]
    assert len(same) > len(after) / 2
    assert not [key for key in same if not (key % 7 and key % 9 and key % 11)]


def test_a_rule_that_is_out_of_date_is_not_used(
    crm: tuple[Connection, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, settings = crm
    for path in redo.FOLDER.glob("*.sql"):
        # queries that find nothing: whoever used them would miss every change
        text = path.read_text(encoding="utf-8")
        if "-- whole" not in text:
            text = (
                "-- holds for: another text\n"
                + "\n".join(line for line in text.splitlines() if line.startswith("-- ") and "holds for" not in line)
                + "\nselect null::bigint as key"
            )
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    real = redo.rule_for
    monkeypatch.setattr(redo, "rule_for", lambda model, folder=tmp_path: real(model, folder))
    redone(connection, settings, compiled.read(settings))


def test_a_row_that_the_target_refuses_stands_alone(crm: tuple[Connection, Settings]) -> None:
    connection, settings = crm
    models = compiled.read(settings)
    connection.execute("alter table crm_build.opportunities add constraint own_rule check (amount <> 4711)")
    connection.execute("update public.deals set amount = 4711 where id in (7, 14)")
    connection.execute("update public.deals set amount = 5 where id in (8, 9)")
    found = row_versions.find(settings, "build", [f"public.{name}" for name in SOURCES])
    redo.run(settings, "run-1", models, {name: found[f"public.{name}"].place for name in SOURCES}, stage="stage_1")
    assert value(
        connection, "select array_agg(amount order by id) from crm_build.opportunities where id in (7, 8, 9, 14)"
    ) == [5, 5]
    rejected = connection.execute(
        "select key_value, constraint_name, source_row ->> 'amount' from crm_migration.rejected_records order by 1"
    ).fetchall()
    assert rejected == [(7, "own_rule", "4711"), (14, "own_rule", "4711")]
    counted = connection.execute(
        "select sum(rows_written), sum(rows_rejected) from crm_migration.batches where model = 'opportunities'"
    ).fetchone()
    assert counted == (value(connection, "select count(*) from crm_build.opportunities"), 2)


def test_the_tests_of_the_models_are_asked_without_dbt(crm: tuple[Connection, Settings]) -> None:
    connection, settings = crm
    tests = data_tests.read(settings).all
    assert data_tests.ask(settings, tests) == len(tests) > 50
    connection.execute("update crm_build.int_companies__roles set organization_type = null where company_id = 3")
    with pytest.raises(failed_nodes.ChecksFailed) as failed:
        data_tests.ask(settings, tests)
    assert "not_null_int_companies__roles_organization_type" in failed.value.why
    assert "Got 1 result," in failed.value.why
