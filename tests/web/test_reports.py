"""The reports as files and as pages: the same charts, one file, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psycopg
from playwright.sync_api import expect
from psycopg.types.json import Jsonb

from crm_migrate import charts, ledger, report_charts, report_html, reports
from crm_migrate import database as db
from crm_migrate.outcomes import Aspect, Comparison, Move
from crm_migrate.settings import Settings
from crm_migrate.steps import verify
from web.conftest import MakeContext, come_in, serve

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

TITLES = (
    "Records by type, before and after",
    "Stages, before → after",
    "Findings by severity (rows)",
    "Where the time went",
    "Rows written per second",
)


def test_what_is_written_is_what_is_served(migrated_2026: Connection, tmp_path: Path, context: MakeContext) -> None:
    settings = Settings(dsn=migrated_2026.info.dsn)
    run = ledger.latest(migrated_2026, "apply")
    assert run is not None
    file = report_html.write_apply(
        migrated_2026, reports.apply_report(migrated_2026, settings, run), tmp_path / "apply.html"
    )
    written = file.read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|<img|https?://(?!www\.w3\.org/)", written), "it needs nothing but itself"
    with serve(settings) as served:
        page = context(java_script_enabled=False).new_page()
        page.goto(served.review)
        page.goto(f"{served.url}/reports")
        expect(page.get_by_role("table")).to_contain_text("completed, GO")
        page.get_by_role("link", name=run.run_id).click()
        for title in TITLES:
            expect(page.get_by_text(title, exact=False).first).to_be_visible()
        # the nonce of the answer lets its own style in
        assert page.locator(".cards").evaluate("element => getComputedStyle(element).display") == "grid"
        answer = page.goto(f"{served.url}/reports/{run.dry_run_id}")
        assert answer is not None
        expect(page.get_by_role("heading", level=1)).to_contain_text("GO")
        policy = answer.headers["content-security-policy"]
        assert re.search(r"style-src 'self' 'nonce-[\w-]{20,}'", policy)
        served_text = answer.text()
    drawings = re.findall(r"<svg.*?</svg>", written, re.S)
    assert len(drawings) >= len(TITLES)
    assert len(re.findall(r"<svg.*?</svg>", served_text, re.S)) >= len(TITLES)
    opportunities = migrated_2026.execute("select count(*) from public.opportunities").fetchone()
    assert opportunities is not None
    assert f"deals → opportunities: before {opportunities[0]}, after {opportunities[0]}" in drawings[0]


def test_a_comparison_is_served_with_whatever_it_compares(migrated_2026: Connection) -> None:
    run = ledger.latest(migrated_2026, "dry-run")
    assert run is not None
    hostile = "</td><script>alert(1)</script>\u202e"
    moves = (Move(hostile, None, 1200, (hostile,)), Move("", "x" * 500, 3, ("4", "5")))
    compared = [
        (None, "", "Against dry run"),
        (Comparison("earlier", 0, ()), "Every record has the same outcome as then.", "<script"),
        (
            Comparison("earlier", 1, (Aspect("deals", "stage", 1, moves[1:]),)),
            "1 record has another outcome",
            "<script",
        ),
        (Comparison("earlier", 1203, (Aspect("deals", hostile, 1203, moves),)), "1,200 of 1,203", "<script"),
    ]
    with serve(Settings(dsn=migrated_2026.info.dsn)) as served, come_in(served) as client:
        # one that an earlier version wrote down
        migrated_2026.execute("update crm_migration.runs set summary = summary - 'comparison'")
        assert client.get(f"/reports/{run.run_id}").status_code == 200
        for comparison, said, unsaid in compared:
            migrated_2026.execute(
                "update crm_migration.runs set summary = jsonb_set(summary, '{comparison}', %s) where run_id = %s",
                [Jsonb(reports.plain(comparison)), run.run_id],
            )
            text = client.get(f"/reports/{run.run_id}").text
            assert said in text
            assert unsaid not in text
    assert "&lt;/td&gt;&lt;script&gt;" in text
    assert '<span class="soft">(empty)</span>' in text


def test_a_verification_shows_each_difference_without_colour_and_to_its_end(
    migrated_2026: Connection, tmp_path: Path
) -> None:
    settings = Settings(dsn=migrated_2026.info.dsn, sample_size=8)
    long = "x" * 20_000
    migrated_2026.execute("update public.companies set city = '<script>', name = %s || 'y'", [long])
    with db.connect(settings) as connection:
        found = verify.run(connection, settings)
    shown = report_html.write_verification(found, tmp_path / "verification.html").read_text(encoding="utf-8")
    (company,) = [record for record in found.samples.records if record.entity == "companies"]
    assert company.different
    assert shown.count("<strong>≠</strong>") >= 2
    assert long + "y</bdi>" in shown
    assert "<script>" not in shown
    assert "None" not in shown


def test_a_chart_escapes_what_it_names_and_says_it_in_words() -> None:
    hostile = "</text><script>alert(1)</script>\x01\ud7ff&<b>"
    drawn = charts.bars("Stages <x>", [(hostile, (3, None)), ("\u202eשלום", (0, 2.5))], series=("before", "after"))
    # it is well formed: nothing of a name became an element
    root = ElementTree.fromstring(drawn.svg)  # noqa: S314
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names <= {"svg", "g", "rect", "path", "text", "circle", "line"}
    assert not {attribute for element in root.iter() for attribute in element.attrib} & {"style", "id", "onclick"}
    assert root.attrib["aria-label"].startswith("Stages <x>. </text><script>")
    texts = "".join(root.itertext())
    assert "<script>alert(1)" in texts
    assert "2.5" in texts
    assert drawn.words.endswith("before 0, after 2.5")


def test_blanks_around_a_stage_are_seen() -> None:
    rows = [{"legacy_stage": text, "stage": "closed_won", "rows": 1} for text in ("won", " won ", "  ", None)]
    drawn = report_charts.stages(rows).words
    assert [word.split(" →")[0] for word in drawn.split("; ")] == ["won", "␣won␣", "(empty)", "(empty)"], drawn


def test_a_line_of_nothing_one_and_many_values() -> None:
    assert "Nothing to draw" in charts.line("Rate", []).svg
    assert charts.line("Rate", [(1.0, 5.0)], unit=" %").words == "peak 5 %, mean 5 %"
    many = charts.line("Rate", [(float(n), float(n % 7)) for n in range(60)])
    assert many.words == "peak 6, mean 2.9"
    ElementTree.fromstring(many.svg)  # noqa: S314
