"""The order in which dbt builds: what most waits for comes first, and no more is handed out than there are threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import build_order, dbt_process, transform
from crm_migrate.settings import Settings
from dbt_builds import begin

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def test_chain_ends_with_the_last_that_waits() -> None:
    parents = {"roles": ["names"], "deals": ["roles", "contacts"], "opportunities": ["deals"], "links": ["contacts"]}
    lengths = {"names": 4, "roles": 3, "deals": 2, "opportunities": 1, "contacts": 3, "links": 1}
    assert build_order.chains(parents) == lengths


def test_chain_of_nothing() -> None:
    assert build_order.chains({}) == {}


def test_dbt_takes_the_longest_chain_first(
    legacy_2026: Connection, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # with one thread the order of the results is the order in which they were taken
    monkeypatch.setenv("CRM_MIGRATE_DBT_THREADS", "1")
    settings = make_settings(legacy_2026)
    begin(legacy_2026, settings)
    transform.build(settings, "run-1", "sources_only", within_run=True)
    taken = list(transform.build(settings, "run-1", "stage_1", within_run=True).seconds_by_model)
    with dbt_process.opened(settings, dbt_process.BUILD_SCHEMA) as dbt:
        models = {node.name: node for node in dbt.manifest.nodes.values() if node.name in taken}
    parents = {
        name: {parent for key in node.depends_on.nodes if (parent := key.rsplit(".", 1)[-1]) in models}
        for name, node in models.items()
    }
    lengths = build_order.chains(parents)
    assert len(taken) > 15
    assert len({*lengths.values()}) > 5
    for number, name in enumerate(taken):
        ready = [one for one in taken[number:] if parents[one] <= {*taken[:number]}]
        assert min((-lengths[one], one) for one in ready) == (-lengths[name], name)


def test_dbt_hands_out_no_more_than_its_threads(
    legacy_2026: Connection, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbt.graph.queue import GraphQueue

    handed_out: list[int] = []
    mark = GraphQueue._mark_in_progress

    def counted(self: Any, node_id: str, **given: Any) -> None:
        mark(self, node_id, **given)
        handed_out.append(len(self.in_progress))

    monkeypatch.setattr(GraphQueue, "_mark_in_progress", counted)
    settings = make_settings(legacy_2026)
    begin(legacy_2026, settings)
    transform.build(settings, "run-1", "stage_1")
    assert len(handed_out) > 50
    assert max(handed_out) == dbt_process.THREADS
