"""A role from which row level security hides rows: what it does not see, it would not migrate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from crm_migrate import control
from crm_migrate import database as db
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import dry_run
from crm_migrate.steps.stage import Unfit
from people import value

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]
ROLE = "sees_half"


@pytest.mark.fault(number=20)
def test_rows_that_are_hidden_are_no_go(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    true = value(legacy_2026, "select count(*) from public.deals")
    legacy_2026.execute(f"create role {ROLE} login")
    legacy_2026.execute(f"alter table public.deals owner to {ROLE}")
    legacy_2026.execute("alter table public.deals force row level security")
    legacy_2026.execute(f"create policy half on public.deals to {ROLE} using (id % 2 = 0)")
    legacy_2026.execute("analyze public.deals")
    settings = make_settings(legacy_2026, dsn=make_conninfo(legacy_2026.info.dsn, user=ROLE))
    try:
        with db.connect(settings) as own:
            seen = value(own, "select count(*) from public.deals")
            assert 0 < seen < true, "nothing is hidden"
            with pytest.raises(Unfit) as refused:
                dry_run.run(own, settings, Silent(), accepted={})
        assert "visibility" in refused.value.why
        assert f"deals ({seen} rows seen of about {true})" in refused.value.what
        assert not control.installed(legacy_2026)
    finally:
        legacy_2026.execute("drop policy half on public.deals")
        legacy_2026.execute("alter table public.deals owner to postgres")
        legacy_2026.execute(f"drop owned by {ROLE}")
        legacy_2026.execute(f"drop role {ROLE}")
