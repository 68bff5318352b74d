"""The benchmark compares like with like: both of its ways end in the same rows, and it would notice if they did not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from bench import __main__ as bench
from bench import content, program
from crm_migrate import demo_data
from crm_migrate.settings import Settings

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def test_both_ways_end_in_the_same_rows_and_a_ratio_is_told(
    legacy_2026: Connection, make_settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(legacy_2026)
    settings = make_settings(legacy_2026, seeds_dir=demo_data.demo_seeds(legacy_2026, settings.work_dir / "seeds"))

    rounds = [bench.measure(legacy_2026, settings, f"bench-{number}") for number in range(2)]

    models = program.models(settings)
    assert {"opportunities", "products", "int_deals__participants"} <= {model["name"] for model in models}
    assert content.differing(legacy_2026, models) == {}
    assert all(bare.seconds["opportunities"] > 0 for _, bare in rounds)

    ratio = bench.show(rounds, 300, "18")
    printed = capsys.readouterr().out
    assert re.search(rf"ratio {ratio:.2f}, at most 2\.00", printed)
    assert "(data tests)" in printed

    # the oracle sees a changed row, a missing one and a doubled one
    legacy_2026.execute("update measured.opportunities set name = name || '?' where id = 1")
    legacy_2026.execute("delete from crm_build.contact_organizations where id = 1")
    legacy_2026.execute(
        "insert into measured.int_companies__role_lines select * from measured.int_companies__role_lines limit 1"
    )
    found = content.differing(legacy_2026, models)
    assert found == {"opportunities": 2, "contact_organizations": 1, "int_companies__role_lines": 1}
