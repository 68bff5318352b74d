"""From one end to the other and back: an installation with additions of its own, the oldest and the newest server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from crm_migrate import access, control, fingerprint
from crm_migrate import database as db
from crm_migrate.observer import Silent
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run, rollback, verify
from installation import OWN_OBJECTS
from people import as_role
from support import fresh_database, make_template

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


@dataclass
class Place:
    """A legacy CRM on one of the servers."""

    connection: Connection
    notes: str


@pytest.fixture(params=["2025", "2026", "2025 on 15", "2026 on 15"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each generation on each server, with the installation's own objects of every kind."""
    generation, _, older = request.param.partition(" on ")
    server: EmbeddedServer = request.getfixturevalue(f"postgres{older}")
    template = make_template(server, generation, name=f"plain_{generation}") if older else f"template_{generation}"
    if not older:
        template = request.getfixturevalue(f"template_{generation}")
    with fresh_database(server, template=template) as connection:
        connection.execute(OWN_OBJECTS.read_text(encoding="utf-8"))
        yield Place(connection, '"dealNotes"' if generation == "2025" else "deal_notes")


@pytest.mark.fault(number=27)
def test_there_and_back_keeps_what_people_did(place: Place, mapped: MakeSettings) -> None:
    settings = mapped(place.connection, triggers={"deal_won": "drop", "deal_quiet": "drop"}, rehearsal_max_seconds=30.0)
    control.install(place.connection, settings)
    before, allowed = fingerprint.take(place.connection), access.capture(place.connection)

    with db.connect(settings) as own:
        report = dry_run.run(own, settings, Silent(), accepted={})
    assert report.verdict == "GO", (report.reasons, report.cutover_rehearsal)
    told = {item.id: item for item in report.findings if item.gate == "rehearsal"}
    # since 18 a replica identity of whole rows and a generated column exclude each other
    gives_way = {"replication.changed"} if place.connection.info.server_version >= 180000 else set()
    assert {*told} == {"functions.name_deals", *gives_way}
    assert {item.severity for item in told.values()} == {"info"}
    assert "public.open_amount(bigint)" in told["functions.name_deals"].message
    assert fingerprint.compare(before, fingerprint.take(place.connection)) == []
    with db.connect(settings) as own:
        apply.run(own, settings, Silent())
    assert verify.run(place.connection, settings).ok

    # people work on Monday: through the new tables, and through the old names as an unchanged front end does
    with as_role(place.connection, "service_role"):
        place.connection.execute("update public.opportunities set stage = 'closed_won' where id = 1")
        place.connection.execute(
            "insert into public.deals (name, company_id, stage, created_at, updated_at)"
            " values ('after the cutover', 1, 'won', now(), now())"
        )
        place.connection.execute(f"insert into public.{place.notes} (deal_id, text) values (1, 'a note after')")
    assert verify.run(place.connection, settings).ok, "what people change is told apart from damage"

    with db.connect(settings) as own:
        done = rollback.run(own, settings, Silent(), keep_changes=True)
    assert done.differences == []
    assert done.carried_over["deals"]["inserted"] == 1
    assert place.connection.execute("select stage from public.deals where id = 1").fetchone() == ("won",)
    assert place.connection.execute(
        f"select count(*) from public.deals inner join public.{place.notes} as note on note.deal_id = deals.id"
        " where note.text = 'a note after'"
    ).fetchone() == (1,)
    assert access.capture(place.connection) == allowed
    after = fingerprint.take(place.connection, content=False)
    assert fingerprint.compare(fingerprint.Fingerprint(before.schema, {}, {}), after) == []
