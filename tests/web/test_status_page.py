"""The status page through a migration and its rollback, in a browser that is open all the time."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Page, expect
from psycopg import sql

from crm_migrate import control, ledger, lock
from crm_migrate import database as db
from crm_migrate.notices import schedule
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, rollback
from crm_migrate.web import poller
from paused import Paused, running
from web.conftest import MakeContext, Served, serve

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def says(page: Page, badge: str) -> None:
    expect(page.locator("#now .badge")).to_have_text(badge)


def test_people_follow_a_migration_and_its_rollback(
    tried_2026: Connection, mapped: MakeSettings, context: MakeContext
) -> None:
    settings = mapped(tried_2026, heartbeat_seconds=0.2)
    with serve(settings) as served, served.client() as client:
        page = context().new_page()
        page.goto(served.url)
        # a dry run is nobody's business
        says(page, "Not scheduled yet")
        assert client.get("/deals").status_code == 404

        observer = Paused("lock", "gates", "verify")
        with running(settings, apply.run, observer):
            with observer.before("lock"):
                says(page, "In progress")
                expect(page.locator(".phases .current")).to_contain_text("Getting ready")
                expect(page.locator(".figures")).to_contain_text("not known yet")
                assert client.get("/api/status").json()["eta_seconds"] is None
            with observer.before("gates"):
                expect(page.locator(".phases .current").last).to_contain_text("Checking the new records")
                expect(page.locator(".figures")).to_contain_text("left, as far as can be told")
                _closed_for_everything_else(client)
            with observer.before("verify"):
                says(page, "Verifying")
        says(page, "Completed")
        expect(page).to_have_title("Completed · CRM status")
        told = client.get("/api/status").json()
        assert told["finished_at"]
        assert told["closed"] is False
        assert client.get("/api/banner").json()["kind"] == "success"
        assert client.get("/anything", headers={"accept": "text/html"}).status_code == 404

        observer = Paused("prove")
        with running(settings, rollback.run, observer), observer.before("prove"):
            expect(page.locator("#now h1")).to_have_text("The previous version of the CRM is being brought back")
        says(page, "Rolled back")


def _closed_for_everything_else(client: Any) -> None:
    for path in ("/contacts", "/deals/12", "/rest/v1/deals?select=*"):
        refused = client.get(path)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 30
        assert refused.json()["code"] == "PT503"
    assert client.post("/rest/v1/deals", json={}).status_code == 503
    shown = client.get("/contacts", headers={"accept": "text/html,*/*"})
    assert shown.status_code == 503
    assert "is moving to its new version" in shown.text
    assert client.get("/").status_code == 200
    assert client.get("/api/banner").json()["kind"] == "maintenance"


def test_fifty_viewers_cost_the_database_what_one_does(
    postgres: EmbeddedServer, legacy_2026: Connection, make_settings: MakeSettings
) -> None:
    name = legacy_2026.info.dbname
    legacy_2026.execute(sql.SQL("alter database {} set log_statement = 'all'").format(sql.Identifier(name)))
    with serve(make_settings(legacy_2026), interval=0.25) as served:
        # starting up fifty takes longer, so looks are counted by the second
        for_one = _statements(postgres, legacy_2026, served, viewers=1)
        for_fifty = _statements(postgres, legacy_2026, served, viewers=50)
    for cost in (for_one, for_fifty):
        assert cost.looks > 1
        assert cost.looks / cost.seconds <= 1 / 0.25
    assert for_fifty.statements / for_fifty.looks == for_one.statements / for_one.looks
    assert (for_one.sessions, for_fifty.sessions) == (1, 1)


@dataclass
class Cost:
    looks: int
    statements: int
    seconds: float
    sessions: int


def _statements(server: EmbeddedServer, connection: Connection, served: Served, *, viewers: int) -> Cost:
    """What the database is asked in three seconds in which so many follow the stream and ask for pages."""

    async def watch() -> None:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=served.url, timeout=30, limits=limits) as client:
            await asyncio.gather(*(view(client) for _ in range(viewers)))

    async def view(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "/events") as stream:
            assert stream.status_code == 200
            lines = stream.aiter_lines()
            async for line in lines:
                if line.startswith("data: "):
                    assert json.loads(line[6:])["state"] == "not_scheduled"
                    break
            for path in ("/", "/api/status", "/api/banner"):
                assert (await client.get(path)).status_code == 200
            await asyncio.sleep(3)

    before, started = server.log_file.stat().st_size, time.monotonic()
    # the browser's driver has a loop in this thread
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, watch()).result()
    seconds = time.monotonic() - started
    with server.log_file.open("rb") as file:
        file.seek(before)
        said = file.read().decode()
    # whole looks: from the first to the last that begins in this time
    statements = re.findall(r"LOG: +(?:execute|statement)[^:]*: (.*)", said)
    begins = [number for number, text in enumerate(statements) if text == "select clock_timestamp()"]
    sessions = connection.execute(
        "select count(*) from pg_catalog.pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    ).fetchone()
    assert sessions is not None
    return Cost(len(begins) - 1, begins[-1] - begins[0], seconds, sessions[0])


def test_the_page_works_without_javascript(
    legacy_2026: Connection, make_settings: MakeSettings, context: MakeContext
) -> None:
    with serve(make_settings(legacy_2026)) as served:
        page = context(java_script_enabled=False).new_page()
        page.goto(served.url)
        says(page, "Not scheduled yet")
        expect(page.locator("#now time")).to_contain_text("UTC")
        # Playwright's own search leaves out what is for browsers without scripts
        assert "refreshes itself every 10 seconds" in page.locator("footer").inner_text()
        with page.expect_request(served.url + "/", timeout=20_000):
            pass


def test_a_reader_sees_the_own_time_zone_and_utc(
    legacy_2026: Connection, make_settings: MakeSettings, context: MakeContext
) -> None:
    with serve(make_settings(legacy_2026)) as served:
        page = context(timezone_id="Asia/Tokyo").new_page()
        page.goto(served.url)
        shown = page.locator("#now time").last
        expect(shown).to_contain_text("UTC")
        expect(shown.locator("strong")).to_contain_text("GMT+9")


def test_a_database_that_does_not_answer_makes_the_page_stale_and_nothing_worse(
    postgres: EmbeddedServer, legacy_2026: Connection, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "STALE_SECONDS", 1.0)
    name = sql.Identifier(legacy_2026.info.dbname)
    with (
        psycopg.connect(postgres.dsn(), autocommit=True) as admin,
        serve(make_settings(legacy_2026)) as served,
        served.client() as client,
    ):
        assert client.get("/api/status").json()["stale"] is False
        admin.execute(sql.SQL("alter database {} allow_connections false").format(name))
        ended = admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s", [poller.APPLICATION]
        )
        assert ended.fetchall() == [(True,)]
        _until(lambda: client.get("/api/status").json()["stale"] is True)
        assert "could not be read anew" in client.get("/").text
        admin.execute(sql.SQL("alter database {} allow_connections true").format(name))
        _until(lambda: client.get("/api/status").json()["stale"] is False)


def _until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.1)


def test_a_planned_move_is_announced_with_a_banner(
    legacy_2026: Connection, make_settings: MakeSettings, context: MakeContext
) -> None:
    settings = make_settings(legacy_2026)
    control.install(legacy_2026, settings)
    now = schedule.server_clock(legacy_2026)
    with serve(settings) as served, served.client() as client:
        page = context(timezone_id="America/New_York").new_page()
        page.goto(served.url)
        schedule.plan(legacy_2026, now + timedelta(hours=3), 45)
        says(page, "Scheduled")
        expect(page.locator(".times")).to_contain_text("about 3 hours")
        shown = client.get("/api/banner").json()
        assert shown["show"] is False

        schedule.plan(legacy_2026, now + timedelta(minutes=20), 45)
        _until(lambda: client.get("/api/banner").json()["kind"] == "warning")
        shown = client.get("/api/banner").json()
        assert 1100 < shown["countdown_seconds"] <= 1200
        length = datetime.fromisoformat(shown["ends_at"]) - datetime.fromisoformat(shown["starts_at"])
        assert length == timedelta(minutes=45)

        # nobody started it
        legacy_2026.execute("update crm_migration.schedule set starts_at = clock_timestamp() - interval '11 minutes'")
        says(page, "Delayed")
        assert client.get("/contacts").status_code == 404, "people still work"
        schedule.call_off(legacy_2026)
        says(page, "Not scheduled yet")


def test_nobody_learns_who_where_or_how(tried_by_somebody: Settings) -> None:
    with serve(tried_by_somebody) as served, served.client() as client:
        shown = [client.get(path).text for path in ("/", "/api/status", "/api/banner", "/contacts")]
        assert client.get("/api/status").json()["state"] == "delayed"
        assert client.get("/api/status").json()["closed"] is True
    with db.connect(tried_by_somebody) as connection:
        (run,) = db.rows(connection, "select run_id, operator, host, pid::text from crm_migration.runs")
        secrets = [*run.values(), connection.info.dbname, "crm_migration", "relation", "made to fail", "127.0.0.1:"]
    for text in shown:
        for secret in secrets:
            assert secret not in text


@pytest.fixture
def tried_by_somebody(legacy_2026: Connection, make_settings: MakeSettings) -> Settings:
    """A database that is locked by a run that failed with a telling error."""
    settings = make_settings(legacy_2026)
    control.install(legacy_2026, settings)
    run = ledger.start(legacy_2026, settings, "apply", ["doctor", "lock"], generation="2026", inputs={})
    lock.acquire(legacy_2026, settings, run_id=run.run_id)
    ledger.set_run(
        legacy_2026, run.run_id, state="stopped", error={"what": 'made to fail: relation "deals"', "code": "CRM-001"}
    )
    return settings


def test_headers_and_description(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    with serve(make_settings(legacy_2026)) as served, served.client() as client:
        for path in ("/", "/status", "/nowhere", "/static/site.css", "/review", "/api/status"):
            headers = client.get(path).headers
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers
        for path in ("/api/status", "/api/banner"):
            assert client.get(path).headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-origin" not in client.get("/").headers
        described = client.get("/openapi.json").json()
        assert set(described["paths"]) == {"/api/status", "/api/banner"}
        assert described["components"]["schemas"]["PublicStatus"]["properties"]["eta_seconds"]["description"]
        for path in ("/docs", "/redoc"):
            assert client.get(path).status_code == 404
