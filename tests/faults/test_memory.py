"""The memory of the program does not follow the size of the CRM: rows stay in the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from fault_table import whole
from faults.memory import MEGABYTE, growth, line, measure, peak_of

SIZES = (10_000, 100_000) if whole() else (2_000, 20_000)
# noise: caches of the parsers, the order of the threads
ALLOWED = 32 * MEGABYTE


@pytest.mark.fault(name="ten times the rows in the same memory")
@pytest.mark.timeout(3600 if whole() else 900)
def test_memory_does_not_follow_the_size(
    postgres: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = [measure(postgres, contacts, tmp_path / str(contacts)) for contacts in SIZES]
    with capsys.disabled():
        print("", *map(line, peaks), sep="\n")
    for command, more in growth(peaks).items():
        assert more < ALLOWED, f"{command} takes {more / MEGABYTE:.0f} MB more"


def test_the_meter_sees_what_is_taken(tmp_path: Path) -> None:
    settings = Settings(work_dir=tmp_path, log_file=tmp_path / "log")
    with_hog = peak_of(settings, "config", prelude=f"hog = bytearray(b'x') * {80 * MEGABYTE}")
    assert with_hog - peak_of(settings, "config") > 60 * MEGABYTE
