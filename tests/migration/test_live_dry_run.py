"""A dry run beside people at work: they go on, and what they change meanwhile decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import database as db
from crm_migrate import lock
from crm_migrate.settings import Settings
from crm_migrate.steps.stage import Stage
from faults.acknowledged import Journal, losses, writing
from running import do_it, try_it

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def test_dry_run_passes_while_people_create_move_and_delete(
    legacy_2026: Connection, mapped: MakeSettings, tmp_path: Path
) -> None:
    settings = mapped(legacy_2026)
    path = tmp_path / "journal"
    with writing(legacy_2026.info.dsn, "2026", path, pause=0.005) as writer:
        writer.wait_for(100)
        report = try_it(settings)
        writer.wait_for(50)
    assert report.verdict == "GO", (report.reasons, [item for item in report.findings if item.severity == "blocker"])
    assert report.checks["expected"] == report.checks["evaluated"] > 0
    journal = Journal.read(path)
    assert losses(legacy_2026, journal, "2026", "legacy", settings.seeds_dir) == []
    assert {entry["op"] for entry in journal.acknowledged()} >= {"create", "update", "delete"}


def test_under_the_lock_every_test_of_the_models_is_run(tried_2026: Connection, mapped: MakeSettings) -> None:
    """What a dry run beside people leaves out is made up for before the cutover."""
    settings = mapped(tried_2026)
    asked: list[bool] = []
    real = Stage.moving

    class Watched:
        def __get__(self, stage: Stage, owner: type) -> bool:
            found = bool(real.fget(stage))  # type: ignore[attr-defined]
            asked.append(found)
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "moving", Watched())
        do_it(settings)
    assert asked
    assert not any(asked)
    with db.connect(settings) as connection:
        assert lock.stored_state(connection) is None
