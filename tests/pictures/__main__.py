"""`make pictures`: a made-up CRM is migrated and brought back, and its pages are photographed on the way."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright
from psycopg import sql

from crm_migrate import database, demo_data, ledger, paths, sign_offs
from crm_migrate.database import Connection
from crm_migrate.legacy import Generation
from crm_migrate.notices import schedule
from crm_migrate.observer import Silent
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run, rollback
from crm_migrate.web import review_lists
from paused import Paused, running
from pictures import album, camera
from pictures.album import Picture
from web.conftest import ARGUMENTS, Served, serve
from web.tools import browser_program

DATABASE = "crm"
FOLDER = paths.DOCS / "pictures"


def main() -> None:
    """Take every picture anew."""
    parser = argparse.ArgumentParser(prog="make pictures", description=__doc__)
    parser.add_argument("--contacts", type=int, default=5_000, help="size of the CRM")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    with legacy_crm(wanted.contacts) as settings, sync_playwright() as playwright:
        program = browser_program(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        photograph(settings, browser, wanted.out)
        browser.close()


@contextmanager
def legacy_crm(contacts: int) -> Iterator[Settings]:
    """The settings for a CRM of generation 2026 on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="crm-") as name, EmbeddedServer() as server:
        folder = Path(name)
        with database.connect(Settings(dsn=server.dsn())) as maintenance:
            maintenance.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        settings = Settings(
            dsn=server.dsn(DATABASE),
            work_dir=folder,
            backup_dir=folder / "backups",
            log_file=folder / "migration.log",
            seeds_dir=folder / "seeds",
            batch_size=500,
            heartbeat_seconds=0.2,
            # nobody else works here, and the machine may be slow
            rehearsal_max_seconds=0.0,
        )
        with database.connect(settings) as connection:
            demo_data.create_schema(connection, Generation.G2026)
            demo_data.load(connection, Generation.G2026, contacts=contacts)
            demo_data.demo_seeds(connection, settings.seeds_dir)
            connection.execute("analyze")
        yield settings


def photograph(settings: Settings, browser: Browser, folder: Path) -> None:
    """Migrate and go back; every page is taken at its moment."""
    with ExitStack() as stack:
        connection = stack.enter_context(database.connect(settings))
        with database.connect(settings) as own:
            dry_run.run(own, settings, Silent(), accepted={})
        schedule.plan(connection, schedule.server_clock(connection) + timedelta(hours=26), 30)
        served = stack.enter_context(serve(settings))
        take_status(browser, served, "Scheduled", folder)
        connection.execute("update crm_migration.schedule set starts_at = clock_timestamp()")
        moving = Paused("gates", "verify")
        with running(settings, apply.run, moving):
            with moving.before("gates"):
                take_status(browser, served, "In progress", folder)
            with moving.before("verify"):
                take_status(browser, served, "Verifying", folder)
        take_status(browser, served, "Completed", folder)
        run = ledger.latest(connection, "apply")
        assert run is not None
        assert run.dry_run_id is not None
        sign_off(connection, settings, run.run_id)
        take_pages(browser, served, album.of_migrated(connection, run.run_id, run.dry_run_id), folder)
        with running(settings, rollback.run, Paused()):
            pass
        take_status(browser, served, "Rolled back", folder)


def sign_off(connection: Connection, settings: Settings, run_id: str) -> None:
    """Somebody has begun with the checklist."""
    said = (("as expected", ""), ("as expected", ""), ("wrong", "It is a distributor"))
    accounts = review_lists.query(connection, settings, "top_accounts")
    for account, (verdict, note) in zip(accounts, said, strict=True):
        key = str(account["id"])
        sign_offs.sign(
            connection, settings, run_id, "companies", key, verdict=verdict, signed_by="Ada Lovelace", note=note
        )


def take_status(browser: Browser, served: Served, badge: str, folder: Path) -> None:
    """The status page, as soon as it says this word."""
    picture = album.STATUS[badge]
    page = camera.open_page(browser, picture)
    page.goto(served.url + picture.path)
    expect(page.locator("#now .badge")).to_have_text(badge)
    camera.take(page, picture, folder)
    page.context.close()


def take_pages(browser: Browser, served: Served, pictures: Iterable[Picture], folder: Path) -> None:
    """Pages for administrators."""
    for picture in pictures:
        page = camera.open_page(browser, picture)
        page.goto(served.review)
        page.goto(served.url + picture.path)
        camera.take(page, picture, folder)
        page.context.close()


if __name__ == "__main__":
    main()
