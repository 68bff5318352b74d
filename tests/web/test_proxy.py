"""Behind a proxy that speaks TLS: a real nginx as the documentation sets it up, and who is believed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import expect

import nginx
from crm_migrate import paths
from crm_migrate.errors import UsageError
from crm_migrate.server import free_port
from crm_migrate.settings import Settings
from crm_migrate.web import entry, server
from mail_server import make_certificate
from web.conftest import MakeContext, Served, serve

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

DOCUMENTED = re.findall(
    r"^location .*?^\}", (paths.PROJECT / "docs" / "status-page.md").read_text(encoding="utf-8"), re.S | re.M
)


def test_the_documented_proxy_makes_the_cookies_secure_and_lets_the_stream_through(
    migrated_2026: Connection, context: MakeContext, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    (documented,) = DOCUMENTED
    with serve(Settings(dsn=migrated_2026.info.dsn)) as served:
        rules = documented.replace("http://127.0.0.1:8080", served.url)
        assert rules != documented
        tls = f"listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};\n{rules}\n"
        with nginx.running(nginx.find(), tmp_path / "nginx", port, tls):
            profile = context(ignore_https_errors=True)
            page = profile.new_page()
            address = f"https://localhost:{port}"
            page.goto(f"{address}/review/contacts/3")
            expect(page.get_by_text("This page is for administrators")).to_be_visible()
            page.goto(f"{address}/review?token={served.token}")
            expect(page.get_by_role("heading", level=1)).to_have_text("Checklist after the migration")
            assert page.url == f"{address}/review"
            page.goto(f"{address}/review/contacts/3")
            page.get_by_label("Your name").fill("Ada Lovelace")
            page.get_by_role("button", name=re.compile("as expected")).click()
            expect(page.locator(".panel .badge")).to_have_text("✓ as expected")
            cookies = {cookie["name"]: (cookie["secure"], cookie["httpOnly"]) for cookie in profile.cookies()}
            assert cookies == {entry.COOKIE: (True, True), "crm_migrate_reviewer": (True, True)}
            # the event stream comes through: the page hears of news without being loaded again
            page.goto(f"{address}/status")
            last = page.locator("#now time").last
            shown = last.get_attribute("datetime")
            assert shown is not None
            expect(last).not_to_have_attribute("datetime", shown, timeout=15_000)


def _cookie(served: Served, *, source: str, **headers: str) -> str:
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(base_url=served.url, transport=transport, headers=headers) as client:
        answer = client.get("/review", params={"token": served.token})
    assert answer.status_code == 303
    return answer.headers["set-cookie"]


def test_only_a_proxy_of_this_machine_or_a_named_one_is_believed(
    legacy_2026: Connection, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what would make uvicorn believe everybody
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    tls, stranger = {"x-forwarded-proto": "https"}, "127.0.0.2"
    with serve(make_settings(legacy_2026)) as served:
        assert "Secure" in _cookie(served, source="127.0.0.1", **tls)
        assert "Secure" not in _cookie(served, source="127.0.0.1")
        assert "Secure" not in _cookie(served, source="127.0.0.1", **{"x-forwarded-proto": "http"})
        assert "Secure" not in _cookie(served, source=stranger, **tls)
    with serve(make_settings(legacy_2026), proxies=["127.0.0.2/31"]) as served:
        assert "Secure" in _cookie(served, source=stranger, **tls)
        assert "Secure" not in _cookie(served, source="127.0.0.4", **tls)


@pytest.mark.parametrize("proxy", ["*", "", "proxy.example.com", "10.0.0.5/8", "0.0.0.0/0", "::/0"])
def test_a_proxy_that_is_no_address_is_refused(
    legacy_2026: Connection, make_settings: MakeSettings, proxy: str
) -> None:
    with pytest.raises(UsageError, match="not the address of a proxy"):
        server.serve(make_settings(legacy_2026), host="127.0.0.1", port=0, ready=print, proxies=[proxy])
