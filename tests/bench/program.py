"""The transformation as the program runs it: dbt in three builds, the data tests, then what is built afterwards."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest import mock

from crm_migrate import control, data_tests, preparation, transform
from crm_migrate.data_tests import DataTest
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

SELECTORS: tuple[transform.Selector, ...] = ("sources_only", "stage_1", "stage_1_5")
MAPPINGS = "(mapping files)"
DATA_TESTS = "(data tests)"
LEDGER = "(ledger and enum types)"
AFTERWARDS = "(keys, indexes, statistics)"

_GROUPS = {"seed": MAPPINGS, "operation": LEDGER}


@dataclass(frozen=True)
class Measured:
    """One run of one way.

    Attributes:
        seconds: by model, and by group for what is no model. Two connections work at once, so they add up to more.
        whole: from the first statement to the last, by the clock.
        start: before and after that: dbt reads its project and plans its work.
    """

    seconds: Mapping[str, float]
    whole: float
    start: float = 0.0


def run(connection: Connection, settings: Settings, run_id: str) -> Measured:
    """Build everything anew, as `apply` does."""
    control.install(connection, settings)
    control.begin_build(connection, run_id, settings.batch_size)
    built = build(settings, run_id)
    return with_afterwards(built, timed_afterwards(connection, settings))


def build(settings: Settings, run_id: str) -> Measured:
    """The three builds of dbt, and the data tests of all of it."""
    seconds: dict[str, float] = {}
    whole = 0.0
    began = time.perf_counter()
    tests = data_tests.read(settings)
    start = time.perf_counter() - began
    groups = {SELECTORS[0]: tests.sources, SELECTORS[-1]: tests.built}
    for selector in SELECTORS:
        with mock.patch.dict(os.environ, DBT_WRITE_JSON="true"):
            built = transform.build(settings, run_id, selector, within_run=True)
        results = _artefact(settings, "run_results")["results"]
        for result in results:
            kind, _, name = result["unique_id"].split(".")[:3]
            name = _GROUPS.get(kind, name)
            seconds[name] = seconds.get(name, 0.0) + result["execution_time"]
        working = _span(results)
        asked = _asked(settings, groups.get(selector, ()))
        seconds[DATA_TESTS] = seconds.get(DATA_TESTS, 0.0) + asked
        whole += working + asked
        start += built.seconds - working
    return Measured(seconds, whole, start)


def _asked(settings: Settings, tests: Sequence[DataTest]) -> float:
    began = time.perf_counter()
    data_tests.ask(settings, tests)
    return time.perf_counter() - began


def timed_afterwards(connection: Connection, settings: Settings) -> float:
    """Seconds for what the program builds when the rows are there: indexes, foreign keys, statistics."""
    began = time.perf_counter()
    preparation.run(connection, settings, moving=False)
    return time.perf_counter() - began


def with_afterwards(built: Measured, seconds: float) -> Measured:
    """The same with what came after it."""
    return Measured({**built.seconds, AFTERWARDS: seconds}, built.whole + seconds, built.start)


def models(settings: Settings) -> list[Mapping[str, Any]]:
    """What dbt knows of the models that it built: name, compiled code, parents, configuration."""
    nodes = _artefact(settings, "manifest")["nodes"].values()
    return [node for node in nodes if node["resource_type"] == "model" and node.get("compiled_code")]


def _artefact(settings: Settings, name: str) -> Any:
    return json.loads((settings.work_dir / "dbt/target" / f"{name}.json").read_text(encoding="utf-8"))


def _span(results: list[Mapping[str, Any]]) -> float:
    """Seconds from the start of the first node to the end of the last."""
    steps = [step for result in results for step in result["timing"]]
    first = min(datetime.fromisoformat(step["started_at"]) for step in steps)
    last = max(datetime.fromisoformat(step["completed_at"]) for step in steps)
    return (last - first).total_seconds()
