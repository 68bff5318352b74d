"""An installation whose own names are taken: refused with the setting that solves it, migrated with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from crm_migrate import control, fingerprint
from crm_migrate import database as db
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run, rollback, verify
from people import as_role, value

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

OWN = """
    create table public.activities (id uuid primary key default gen_random_uuid(), what text);
    insert into public.activities (what) values ('own');
    create view public.opportunities_summary as select 1 as own;
"""
RENAME = {"activities": "crm_activities", "opportunities_summary": "crm_opportunities_summary"}


def test_a_taken_name_is_a_blocker_that_names_the_setting_which_solves_it(
    legacy_2026: Connection, mapped: MakeSettings
) -> None:
    legacy_2026.execute(OWN)
    settings = mapped(legacy_2026)
    control.install(legacy_2026, settings)
    before = fingerprint.take(legacy_2026)

    with db.connect(settings) as own:
        refused = dry_run.run(own, settings, Silent(), accepted={})
    assert refused.verdict == "NO-GO"
    said = " ".join(finding.message + finding.hint for finding in refused.findings if finding.severity == "blocker")
    for name in RENAME:
        assert name in said
    assert "rename" in said

    settings = mapped(legacy_2026, rename=RENAME)
    with db.connect(settings) as own:
        report = dry_run.run(own, settings, Silent(), accepted={})
    assert report.verdict == "GO", report.reasons
    with db.connect(settings) as own:
        done = apply.run(own, settings, Silent())
    assert done.new_entities["activities"] == value(legacy_2026, "select count(*) from public.crm_activities") > 0
    assert value(legacy_2026, "select what from public.activities") == "own"
    assert verify.run(legacy_2026, settings).ok
    with as_role(legacy_2026):
        assert value(legacy_2026, "select count(*) from public.crm_opportunities_summary") > 0
        value(
            legacy_2026,
            "select public.log_engagement(contact_id => 1, subject => 'hello')",
        )
    assert value(legacy_2026, "select count(*) from public.crm_activities where subject = 'hello'") == 1
    # what people do meanwhile is told apart under the new name, too
    assert verify.run(legacy_2026, settings).ok

    with db.connect(settings) as own:
        rollback.run(own, settings, Silent(), keep_changes=False)
    assert fingerprint.compare(before, fingerprint.take(legacy_2026)) == []
