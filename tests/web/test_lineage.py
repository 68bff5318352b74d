"""The models' documentation: its lineage ends where people meet the data, reports link it, its scripts are caged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg
import pytest
from playwright.sync_api import expect

from crm_migrate import ledger, lineage, report_html, reports
from crm_migrate.settings import Settings
from web.conftest import MakeContext, serve

Connection = psycopg.Connection[Any]

_MANIFEST = '{"metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest'


@pytest.fixture
def written(migrated_2026: Connection, tmp_path: Path) -> Settings:
    """Settings for a migrated CRM whose work folder has the page."""
    settings = Settings(dsn=migrated_2026.info.dsn, work_dir=tmp_path / "work folder")
    assert lineage.link_from(settings, tmp_path) is None
    lineage.write(settings)
    return settings


def manifest(page: Path) -> Any:
    text = page.read_text(encoding="utf-8")
    return json.JSONDecoder().raw_decode(text, text.index(_MANIFEST))[0]


def test_the_lineage_ends_in_exposures_and_is_linked(
    migrated_2026: Connection, written: Settings, tmp_path: Path, context: MakeContext
) -> None:
    graph = manifest(lineage.place(written))
    exposed, seen = list(graph["exposures"]), set(graph["exposures"])
    while exposed:
        for parent in graph["parent_map"][exposed.pop()]:
            if parent not in seen:
                seen.add(parent)
                exposed.append(parent)
    kinds = ("model", "seed", "source")
    unseen = [key for key in (*graph["nodes"], *graph["sources"]) if key.split(".")[0] in kinds and key not in seen]
    assert unseen == [], "nobody meets what comes of these: name the exposure that they end in, or delete them"
    assert len(seen) > 30

    run = ledger.latest(migrated_2026, "apply")
    assert run is not None
    report = report_html.write_apply(
        migrated_2026,
        reports.apply_report(migrated_2026, written, run),
        tmp_path / "apply.html",
        lineage=lineage.link_from(written, tmp_path),
    )
    (link,) = re.findall(r'<a href="([^"]*)">The models and their lineage', report.read_text(encoding="utf-8"))
    assert (report.parent / unquote(link)).samefile(lineage.place(written))

    with serve(written) as served:
        page = context().new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served.review)
        for start in ("/reports", f"/reports/{run.run_id}"):
            page.goto(served.url + start)
            page.get_by_role("link", name="The models and their lineage").click()
            expect(page.get_by_role("heading", name=re.compile("From the legacy CRM to opportunities"))).to_be_visible()
        page.goto(f"{served.url}/reports/lineage#!/exposure/exposure.crm_migrate.opportunities_kanban")
        expect(page.get_by_role("heading", name="Opportunities board")).to_be_visible()
        assert page.evaluate("origin") == "null", "its scripts must not act as this site's"
        assert [url for url in asked if not url.startswith((served.url, "data:", "blob:"))] == []


def test_without_the_page_the_reports_name_the_command(migrated_2026: Connection, tmp_path: Path) -> None:
    with serve(Settings(dsn=migrated_2026.info.dsn, work_dir=tmp_path)) as served, served.client() as client:
        assert client.get("/reports/lineage").status_code == 401
        client.get("/review", params={"token": served.token})
        assert client.get("/reports/lineage").status_code == 404
        assert "<code>crm-migrate docs</code>" in client.get("/reports").text
