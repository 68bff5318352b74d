"""The fence under load: people work before, during and after a migration and its rollback, and lose nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import control, lock
from crm_migrate import database as db
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import rollback
from fault_table import Tally, whole
from faults.acknowledged import (
    FENCE,
    Journal,
    Shape,
    Window,
    fence_violations,
    losses,
    summary,
    unclear_errors,
    writing,
)
from running import do_it, try_it, unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

# with the login taken from the application's roles, and where the operator may not do that, as on a hosted platform
CASES = [("2026", True), ("2026", False), ("2025", True)] if whole() else [("2026", True)]
# so many writes are acknowledged before and after each of the two changes
EACH = 1300 if whole() else 60
PAUSE = 0.0 if whole() else 0.03


def roll_back(settings: Settings) -> None:
    with db.connect(settings) as connection:
        rollback.run(connection, settings, Silent())


@pytest.mark.timeout(1800 if whole() else 300)
@pytest.mark.parametrize(("generation", "shut_out_logins"), CASES)
@pytest.mark.fault(number=16)
def test_nothing_that_was_acknowledged_is_lost(
    request: pytest.FixtureRequest,
    generation: str,
    shut_out_logins: bool,
    mapped: MakeSettings,
    tmp_path: Path,
    tally: Tally,
    capsys: pytest.CaptureFixture[str],
) -> None:
    crm: Connection = request.getfixturevalue("tried_2026" if generation == "2026" else "legacy_2025")
    settings = mapped(crm, shut_out_logins=shut_out_logins)
    path = tmp_path / "journal"
    windows: list[Window] = []
    seconds = 0.0
    if generation == "2025":
        assert try_it(settings).verdict == "GO"
    changes: list[tuple[Callable[[Settings], object], Shape]] = [(do_it, "new"), (roll_back, "legacy")]
    for change, shape in changes:
        with writing(crm.info.dsn, generation, path, pause=PAUSE) as writer:
            writer.wait_for(EACH)
            change(settings)
            writer.wait_for(EACH)
        seconds += writer.seconds
        assert unlocked(crm)
        windows.append(Window.last(crm))
        journal = Journal.read(path)
        assert losses(crm, journal, generation, shape, settings.seeds_dir) == []
        assert fence_violations(journal, windows) == []
        assert unclear_errors(journal) == []
    with capsys.disabled():
        print(f"\n{generation}: {summary(journal, seconds)}")
    stopped = sum(count for (state, _), count in journal.refused.items() if state == FENCE[0])
    assert stopped, "nobody met the fence"
    for window in windows:
        for worker in {entry["worker"] for entry in journal.entries}:
            times = [entry["at"] for entry in journal.acknowledged() if entry["worker"] == worker]
            assert min(times) < window.held, f"{worker} did not write before"
            assert max(times) > window.releasing, f"{worker} did not work again afterwards"
    tally.tried(sum(journal.refused.values()))
    tally.survived(sum(journal.refused.values()))


def test_the_oracle_sees_a_fence_that_is_not_there_and_writes_that_are_lost(
    legacy_2026: Connection, make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(legacy_2026)
    control.install(legacy_2026, settings)
    path = tmp_path / "journal"
    with writing(legacy_2026.info.dsn, "2026", path, pause=0.02) as writer:
        writer.wait_for(40)
        with monkeypatch.context() as sabotage:
            sabotage.setattr(lock, "_fence", lambda *args: None)
            sabotage.setattr(lock, "_shut_out", lambda *args, **kwargs: [])
            lock.acquire(legacy_2026, settings)
        writer.wait_for(20)
        lock.release(legacy_2026, settings)
        window = Window.last(legacy_2026)
    journal = Journal.read(path)
    assert len(fence_violations(journal, [window])) >= 20

    def lost() -> list[str]:
        return losses(legacy_2026, journal, "2026", "legacy", settings.seeds_dir)

    assert lost() == []
    deal = next(
        key for (table, key), row in journal.expected().items() if table == "deals" and None not in row.possible
    )
    legacy_2026.execute("update public.deals set amount = amount + 1 where id = %s", [deal])
    assert any(f"deals: {deal} " in problem and "holds" in problem for problem in lost())
    legacy_2026.execute(
        "insert into public.deals (name, stage) select name, stage from public.deals where id = %s", [deal]
    )
    assert any("is there 2 times" in problem for problem in lost())
    assert any("was never acknowledged" in problem for problem in lost())
    legacy_2026.execute("delete from public.deals where id = %s", [deal])
    assert any(f"deals: {deal} " in problem and "is lost" in problem for problem in lost())
