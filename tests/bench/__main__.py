"""`make bench`, or with its arguments: `make bench ARGS="--contacts 100000 --repeat 3"`."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from psycopg import sql

from bench import content, limit, program
from bench.program import Measured
from crm_migrate import database, demo_data
from crm_migrate.database import Connection
from crm_migrate.legacy import Generation
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings

AT_MOST = 2.0
DATABASE = "bench"
# what takes less on both sides is left out of the table
SHOWN_FROM = 0.05

Rounds = Sequence[tuple[Measured, Measured]]


def main() -> int:
    """Measure and print; 1 when the ratio is above the limit or the results differ."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--contacts", type=int, default=1_000_000, help="size of the CRM; half as many deals")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; medians are printed")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder, EmbeddedServer(durable=False) as server:
        settings = _settings(server, Path(folder))
        with database.connect(settings) as connection:
            load(connection, settings, wanted.contacts)
            rounds: list[tuple[Measured, Measured]] = []
            differing: dict[str, int] = {}
            for number in range(wanted.repeat):
                rounds.append(measure(connection, settings, f"bench-{number}"))
                differing |= content.differing(connection, program.models(settings))
            version = database.scalar(connection, "select current_setting('server_version')")
    ratio = show(rounds, wanted.contacts, str(version))
    if differing:
        print(f"The results differ: {', '.join(f'{rows} rows of {name}' for name, rows in differing.items())}")
    return 0 if ratio <= AT_MOST and not differing else 1


def _settings(server: EmbeddedServer, place: Path) -> Settings:
    with database.connect(Settings(dsn=server.dsn())) as maintenance:
        maintenance.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
    return Settings(
        dsn=server.dsn(DATABASE), work_dir=place, seeds_dir=place / "seeds", log_file=place / "migration.log"
    )


def load(connection: Connection, settings: Settings, contacts: int) -> None:
    """Make the legacy CRM, and settle it: whoever reads first should not pay for what was written."""
    began = time.perf_counter()
    demo_data.create_schema(connection, Generation.G2026)
    demo_data.load(connection, Generation.G2026, contacts=contacts)
    demo_data.demo_seeds(connection, settings.seeds_dir)
    connection.execute("vacuum analyze")
    print(f"{contacts:,} contacts, {contacts // 2:,} deals, loaded in {time.perf_counter() - began:.0f} s", flush=True)


def measure(connection: Connection, settings: Settings, run_id: str) -> tuple[Measured, Measured]:
    """The program's way, then the bare limit."""
    connection.execute("checkpoint")
    ours = program.run(connection, settings, run_id)
    connection.execute("checkpoint")
    return ours, limit.run(connection, settings, program.models(settings))


def show(rounds: Rounds, contacts: int, version: str) -> float:
    """Print the medians, and return the ratio."""
    names = sorted({name for pair in rounds for name in pair[0].seconds})
    print(f"{'median of ' + str(len(rounds)):<42}{'program':>10}{'bare':>10}")
    for name in names:
        ours, bare = (statistics.median(pair[side].seconds.get(name, 0.0) for pair in rounds) for side in (0, 1))
        if max(ours, bare) >= SHOWN_FROM:
            print(f"{name:<42}{ours:>8.2f} s{bare:>8.2f} s")
    ours, bare = (statistics.median(pair[side].whole for pair in rounds) for side in (0, 1))
    start = statistics.median(pair[0].start for pair in rounds)
    ratio = ours / bare
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'by the clock':<42}{ours:>8.2f} s{bare:>8.2f} s")
    print(f"{'dbt reads and plans (not in the ratio)':<42}{start:>8.2f} s")
    print(f"ratio {ratio:.2f}, at most {AT_MOST:.2f}; with dbt's start {(ours + start) / bare:.2f}")
    print(f"Python's peak memory {memory:.0f} MB")
    print(
        f"PostgreSQL {version}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores,"
        f" {contacts:,} contacts"
    )
    return ratio


if __name__ == "__main__":
    sys.exit(main())
