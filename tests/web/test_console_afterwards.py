"""The console when the old names, the archive or the whole migration are gone: every page is there and says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg

from crm_migrate import database as db
from crm_migrate import ledger
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import archive, compat, rollback
from people import add_company
from web.conftest import Served, come_in, serve

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

LISTED = ("opportunities", "contacts", "organizations", "activities")
KINDS = (*LISTED, "tasks", "opportunity-notes", "contact-notes")
IN_ARCHIVE_ONLY = ("people", "tags")
PURGED = "what records were before is not known any more"


def pages(connection: Connection) -> Iterator[str]:
    """Every page of the console, and the reports of all runs."""
    yield "/review"
    yield from (f"/review/samples?page={number}" for number in range(1, 11))
    for kind in LISTED:
        yield from (f"/review/{kind}", f"/review/{kind}?q=an", f"/review/{kind}?after=20", f"/review/{kind}?before=20")
    yield from (f"/review/{kind}/{key}" for kind in KINDS for key in (1, 3))
    yield "/reports"
    for (run_id,) in connection.execute("select run_id from crm_migration.runs where kind in ('dry-run', 'apply')"):
        yield f"/reports/{run_id}"


def every_page(client: httpx.Client, connection: Connection) -> dict[str, str]:
    """The pages' texts; each of them is answered."""
    answers = {path: client.get(path, headers={"accept": "text/html"}) for path in pages(connection)}
    assert {path: answer.status_code for path, answer in answers.items() if answer.status_code != 200} == {}
    return {path: answer.text for path, answer in answers.items()}


def sign(client: httpx.Client, token: str, **fields: str) -> httpx.Response:
    wanted = {"form_token": token, "name": "Grace", "verdict": "as expected", "back": "/review/contacts/3", **fields}
    return client.post("/review/sign-off", data=wanted, headers={"accept": "text/html"})


def test_console_without_the_old_names_and_then_without_the_archive(migrated: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated)
    migrated.execute("update crm_migration.runs set rollback_until = clock_timestamp() - interval '1 second'")
    with db.connect(settings) as connection:
        compat.drop(connection, settings, although="everybody changed")
    assert not db.exists(migrated, "public.deals")
    with serve(settings) as served, come_in(served) as client:
        shown = every_page(client, migrated)
        samples = "".join(text for path, text in shown.items() if "samples" in path)
        assert samples.count("= same") == 100
        for kind in KINDS:
            assert ">different" not in shown[f"/review/{kind}/3"]
            assert 'data-label="before"' in shown[f"/review/{kind}/3"]
        moved = client.get("/deals/12/show?a=1")
        assert (moved.status_code, moved.headers["location"]) == (308, "/opportunities/12/show?a=1")
        token = re.findall(r'name="form_token" value="(.*?)"', shown["/review/contacts/3"])[0]
        assert sign(client, token, entity="deal_notes", key="3").status_code == 303

        _purge(migrated, settings)
        new = add_company(migrated, "after the purge", "customer")
        shown = every_page(client, migrated)
        assert all(PURGED in shown[f"/review/{kind}/3"] for kind in KINDS)
        assert PURGED in client.get(f"/review/organizations/{new}").text
        assert PURGED in shown["/review"]
        assert PURGED in shown["/review/samples?page=3"]
        assert 'class="sample"' not in shown["/review/samples?page=3"]
        for kind in IN_ARCHIVE_ONLY:
            gone = client.get(f"/review/{kind}/1")
            assert gone.status_code == 410
            assert PURGED in gone.text
        assert client.get("/deals/12").status_code == 308
        assert sign(client, token, entity="contacts", key="3").status_code == 303
    signed = migrated.execute("select entity, row_key from crm_migration.sign_offs order by 1").fetchall()
    # what was said before went with the archive
    assert signed == [("contacts", "3")]


def _purge(connection: Connection, settings: Settings) -> None:
    # the test's database is a copy of the one in which the cutover was
    connection.execute(
        "update crm_migration.archives set (system_identifier, database_oid, database_name) ="
        " (select * from crm_migration.identity_of_database())"
    )
    connection.execute("update crm_migration.runs set archive_until = clock_timestamp() - interval '1 second'")
    with db.connect(settings) as own:
        archive.purge(own, settings, Silent())


def test_console_after_a_rollback(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    with serve(settings) as served, come_in(served) as client:
        before = client.get("/review/contacts/3").text
        token = re.findall(r'name="form_token" value="(.*?)"', before)[0]
        with db.connect(settings) as connection:
            rollback.run(connection, settings, Silent())
        shown = every_page(client, migrated_2026)
        for path, text in shown.items():
            if path.startswith("/review"):
                assert "Nothing to review" in text, path
        too_late = sign(client, token, entity="contacts", key="3")
        assert too_late.status_code == 409
        assert "the migration was rolled back meanwhile" in too_late.text
        run = ledger.latest(migrated_2026, "apply")
        assert run is not None
        assert "rolled back" in shown[f"/reports/{run.run_id}"]
        _is_led_back(served)


def _is_led_back(served: Served) -> None:
    with served.client() as client:
        back = client.get("/opportunities/12/show")
        assert (back.status_code, back.headers["location"]) == (307, "/deals/12/show")
