"""dbt in this process: one project for both generations, loud failures, no secret anywhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import failed_nodes, paths, transform
from crm_migrate.errors import Exit
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from dbt_builds import ANALYST, begin, value

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def test_both_generations_build_whole(legacy: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(legacy)
    begin(legacy, settings, batch_size=50)
    seen: list[transform.Progress] = []

    sources = transform.build(settings, "run-1", "sources_only")
    stage_1 = transform.build(settings, "run-1", "stage_1", on_progress=seen.append)
    stage_1_5 = transform.build(settings, "run-1", "stage_1_5")

    assert "stg_legacy__deals" in sources.seconds_by_model
    assert "opportunities" not in sources.seconds_by_model
    assert set(stage_1_5.seconds_by_model) == {"products", "principal_distributor_relationships"}
    deals = value(legacy, "select count(*) from public.deals")
    assert (
        stage_1.rows_written["opportunities"] == deals == value(legacy, "select count(*) from crm_build.opportunities")
    )
    assert sum(stage_1.rows_rejected.values()) == 0
    assert stage_1.tests > 0
    batches = [progress for progress in seen if progress.model == "opportunities"]
    assert [progress.done for progress in batches] == list(range(1, batches[0].total + 1))


def test_legacy_schema_is_not_written(legacy: Connection, make_settings: MakeSettings) -> None:
    count = "select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_all_tables where schemaname = 'public'"
    objects = "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
    before = value(legacy, count), value(legacy, objects)
    settings = make_settings(legacy)
    begin(legacy, settings)
    transform.build(settings, "run-1", "stage_1")
    legacy.execute("select pg_stat_clear_snapshot()")
    assert (value(legacy, count), value(legacy, objects)) == before


def test_wrong_mapping_names_its_file(legacy_2026: Connection, make_settings: MakeSettings, tmp_path: Path) -> None:
    seeds = tmp_path / "mappings"
    shutil.copytree(paths.SEEDS, seeds)
    mapping = seeds / "stage_mapping.csv"
    mapping.write_text(mapping.read_text(encoding="utf-8").replace("closed_lost", "closed_lots"), encoding="utf-8")
    settings = make_settings(legacy_2026, seeds_dir=seeds)
    begin(legacy_2026, settings)

    with pytest.raises(failed_nodes.MappingRefused) as caught:
        transform.build(settings, "run-1", "sources_only")
    assert caught.value.exit_code == Exit.NO_GO
    assert "stage_mapping.csv" in caught.value.what


def test_folder_of_own_mappings_keeps_types_and_tests(
    legacy_2026: Connection, make_settings: MakeSettings, tmp_path: Path
) -> None:
    seeds = tmp_path / "mappings"
    shutil.copytree(paths.SEEDS, seeds)
    with (seeds / "stage_mapping.csv").open("a", encoding="utf-8") as file:
        file.write("Demo gebucht,qualified,active,25\n")
    settings = make_settings(legacy_2026, seeds_dir=seeds)
    begin(legacy_2026, settings)
    result = transform.build(settings, "run-1", "sources_only")
    assert result.tests > 0
    assert value(legacy_2026, "select count(*) from crm_build.stage_mapping where stage = 'qualified'") == 1
    assert value(legacy_2026, "select pg_typeof(probability)::text from crm_build.stage_mapping limit 1") == "smallint"


def test_settings_reach_the_models(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    legacy_2026.execute("set session_replication_role = replica")
    legacy_2026.execute("update public.deals set stage = 'own' where id = (select min(id) from public.deals)")
    settings = make_settings(legacy_2026, fallback_stage="nurturing")
    begin(legacy_2026, settings)
    transform.build(settings, "run-1", "stage_1")
    row = legacy_2026.execute(
        "select stage::text, probability, legacy_stage from crm_build.opportunities order by id limit 1"
    ).fetchone()
    assert row == ("nurturing", 15, "own")


def test_nothing_selected_is_an_error(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    with pytest.raises(transform.NothingSelected):
        transform.run(make_settings(legacy_2026), "run", "--select", "no_such_model", schema=ANALYST)


def test_broken_model_is_named(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(legacy_2026)
    begin(legacy_2026, settings)
    legacy_2026.execute("alter table public.companies rename column sector to branch")
    with pytest.raises(transform.TransformFailed) as caught:
        transform.build(settings, "run-1", "stage_1")
    assert "stg_legacy__companies" in caught.value.what
    assert "sector" in caught.value.why


def test_error_of_a_listener_is_not_lost(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(legacy_2026)
    begin(legacy_2026, settings)

    def stop(progress: transform.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transform.build(settings, "run-1", "stage_1", on_progress=stop)
    transform.build(settings, "run-1", "stage_1")


def test_password_is_in_no_file_and_not_left_in_the_environment(
    postgres: EmbeddedServer, legacy_2026: Connection, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("DBT_WRITE_JSON", "true")
    settings = make_settings(legacy_2026)
    settings = replace(settings, dsn=psycopg.conninfo.make_conninfo(settings.dsn, password="geheim-4711"))
    begin(legacy_2026, settings)
    transform.build(settings, "run-1", "sources_only")

    assert "PGPASSWORD" not in os.environ
    files = [path for path in settings.work_dir.rglob("*") if path.is_file()]
    assert any(path.name == "manifest.json" for path in files)
    for path in files:
        assert b"geheim-4711" not in path.read_bytes(), path


def test_unit_tests_of_the_models_pass(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    assert transform.unit_tests(make_settings(legacy_2026), schema=ANALYST) > 20
