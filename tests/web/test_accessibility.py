"""Every page, in light and dark, on a phone and a desk: no finding of axe, nothing outside the window or refused."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from playwright.sync_api import Page

from crm_migrate import ledger
from crm_migrate.settings import Settings
from web.conftest import MakeContext, Served, serve
from web.tools import axe_script

Connection = psycopg.Connection[Any]

LOOKS = [("light", 1280), ("dark", 375)]
PATHS = (
    "/",
    "/nowhere",
    "/review",
    "/review/samples?page=2",
    "/review/opportunities",
    "/review/contacts?q=an",
    "/review/organizations",
    "/review/activities",
    "/review/opportunities/3",
    "/review/contacts/2",
    "/review/organizations/1",
    "/review/activities/1",
    "/reports",
)


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_pages_are_for_everybody(migrated_2026: Connection, context: MakeContext, scheme: str, width: int) -> None:
    run = ledger.latest(migrated_2026, "apply")
    assert run is not None
    with serve(Settings(dsn=migrated_2026.info.dsn)) as served:
        page = context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text) if "404" not in message.text else None)
        page.goto(served.review)
        reports = (f"/reports/{run.run_id}", f"/reports/{run.dry_run_id}")
        found = [problem for path in (*PATHS, *reports) for problem in _problems(page, served, path)]
    assert found == []
    assert refused == []


def _problems(page: Page, served: Served, path: str) -> list[str]:
    page.goto(served.url + path)
    wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    # by way of the debugger: the policy of the page lets no script of ours in
    page.evaluate(axe_script())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{path} is wider than the window"] * wide + [
        f"{path}: {violation['id']} ({violation['impact']}) {node['html'][:200]}"
        for violation in result["violations"]
        for node in violation["nodes"][:3]
    ]


def test_the_check_finds_what_is_wrong(context: MakeContext) -> None:
    page = context().new_page()
    page.set_content("<img src='x.png'><p style='color:#ccc;background:#fff'>pale</p><input>")
    page.evaluate(axe_script())
    found = {violation["id"] for violation in page.evaluate("axe.run()")["violations"]}
    assert {"image-alt", "color-contrast", "label"} <= found
