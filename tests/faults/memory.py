"""How much memory the program takes at its peak, for CRMs of several sizes:

    PYTHONPATH=wrapper:tests .venv/bin/python -m faults.memory 10000 100000 1000000

A process tells its own peak (VmHWM) when it ends: what its parent is told by the system may be the parent's.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from crm_migrate import database as db
from crm_migrate import demo_data
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from running import program
from support import DEMO_CONTACTS

MEGABYTE = 1024 * 1024
COMMANDS = ("dry-run", "apply")
TELL = """
import atexit, re, sys
def tell():
    status = open("/proc/self/status").read()
    print("peak", int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024, file=sys.stderr, flush=True)
atexit.register(tell)
"""


@dataclass(frozen=True)
class Peak:
    """What the commands took at their peak, in bytes, on a CRM with so many contacts."""

    contacts: int
    by_command: dict[str, int]


def peak_of(settings: Settings, *arguments: str, prelude: str = "") -> int:
    """The peak of one command, in bytes; the command must succeed."""
    run = program(settings, *arguments, prelude=TELL + prelude)
    _, said = run.communicate()
    assert run.returncode == 0, said
    found = re.search(r"^peak (\d+)$", said, re.MULTILINE)
    assert found is not None, said
    return int(found[1])


def measure(server: EmbeddedServer, contacts: int, folder: Path, *, generation: str = "2026") -> Peak:
    """Migrate a CRM of this size on a database of its own."""
    name = f"memory_{contacts}"
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(f"create database {name} template template0".encode())
    settings = Settings(
        dsn=server.dsn(name),
        work_dir=folder,
        backup_dir=folder / "backups",
        log_file=folder / "log",
        seeds_dir=folder / "seeds",
    )
    with db.connect(settings) as connection:
        demo_data.create_schema(connection, generation)
        demo_data.load(connection, generation, contacts=contacts)
        demo_data.demo_seeds(connection, settings.seeds_dir)
    confirmed = {"apply": ("--confirm-database", name)}
    try:
        return Peak(
            contacts,
            {command: peak_of(settings, command, *confirmed.get(command, ())) for command in COMMANDS},
        )
    finally:
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)".encode())


def growth(peaks: Sequence[Peak]) -> dict[str, int]:
    """How much more the largest takes than the smallest, in bytes, by command."""
    return {command: peaks[-1].by_command[command] - peaks[0].by_command[command] for command in COMMANDS}


def line(peak: Peak) -> str:
    """For people."""
    return f"{peak.contacts:>9,} contacts: " + ", ".join(
        f"{command} {size / MEGABYTE:.0f} MB" for command, size in peak.by_command.items()
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("contacts", type=int, nargs="*", default=[DEMO_CONTACTS, 10_000])
    parser.add_argument("--generation", default="2026")
    options = parser.parse_args()
    peaks = []
    with EmbeddedServer() as server:
        for contacts in options.contacts:
            with tempfile.TemporaryDirectory(prefix="crm-memory-") as folder:
                peaks.append(measure(server, contacts, Path(folder), generation=options.generation))
            print(line(peaks[-1]), flush=True)
    for command, size in growth(peaks).items():
        print(f"{command}: {size / MEGABYTE:+.1f} MB from the first to the last")


if __name__ == "__main__":
    main()
