"""The pictures of the documentation: those that are named are there and show something, and the script takes them."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser

from crm_migrate import ledger, paths
from crm_migrate.settings import Settings
from pictures import album, camera
from pictures.__main__ import FOLDER, take_pages, take_status
from web.conftest import serve

Connection = psycopg.Connection[Any]

LARGEST = 150_000
NAMED = [
    (document.name, *found)
    for document in sorted(paths.DOCS.glob("*.md"))
    for found in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", document.read_text(encoding="utf-8"))
]


def colours(file: Path) -> int:
    """How many colours of its palette a picture uses."""
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert (depth, kind) == (8, 3), "a picture is taken with a palette"
    assert width >= 300
    assert height >= 150
    (length,) = struct.unpack(">I", data[(at := data.index(b"IDAT")) - 4 : at])
    pixels = zlib.decompress(data[at + 4 : at + 4 + length])
    assert len(pixels) == height * (width + 1)
    return len(set(pixels))


def is_a_picture(file: Path) -> bool:
    return colours(file) > 16 and file.stat().st_size < LARGEST


@pytest.mark.parametrize(("document", "says", "place"), NAMED)
def test_a_picture_that_a_guide_names_is_there(document: str, says: str, place: str) -> None:
    assert is_a_picture(paths.DOCS / place)
    assert len(says.split()) >= 5, f"{document}: whoever does not see {place} learns nothing of it"


def test_every_picture_is_named_and_the_script_takes_it(
    migrated_2026: Connection, browser: Browser, tmp_path: Path
) -> None:
    run = ledger.latest(migrated_2026, "apply")
    assert run is not None
    assert run.dry_run_id is not None
    pages = album.of_migrated(migrated_2026, run.run_id, run.dry_run_id)
    there = {file.name for file in FOLDER.iterdir()}
    assert there == {picture.file for picture in (*pages, *album.STATUS.values())}
    assert there == {Path(place).name for _, _, place in NAMED}
    with serve(Settings(dsn=migrated_2026.info.dsn)) as served:
        take_status(browser, served, "Completed", tmp_path)
        take_pages(browser, served, pages, tmp_path)
    taken = sorted(tmp_path.iterdir())
    assert {file.name for file in taken} == {picture.file for picture in (*pages, album.STATUS["Completed"])}
    assert [file.name for file in taken if not is_a_picture(file)] == []


def test_an_empty_page_is_no_picture(browser: Browser, tmp_path: Path) -> None:
    blank = album.Picture("blank", "/")
    page = camera.open_page(browser, blank)
    assert not is_a_picture(camera.take(page, blank, tmp_path))
    page.context.close()
