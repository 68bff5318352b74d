"""`make bench`, or with its arguments: `make bench ARGS="--contacts 100000 1000000 --repeat 3 --json FILE"`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from psycopg import sql

from bench import figures, migration, progress, report, ways
from bench.figures import Figures
from crm_migrate import database, demo_data
from crm_migrate.database import Connection
from crm_migrate.legacy import Generation
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings

KINDS = (migration.COLD, migration.WARM, migration.BUSY)
PARTS = ("run", "transformation", "alternatives", "safety")
# what a server of this size is given by whoever sets it up; all else is PostgreSQL's own
SERVER = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
_TEMPLATE, _COPY = "bench_legacy", "bench"
# a machine that is measured holds its locks as long as it must: the figure is what we want
_REHEARSAL_SECONDS = 120.0


def main() -> int:
    """Measure and print; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--contacts", type=int, nargs="+", default=[1_000_000], help="sizes; half as many deals")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; medians are printed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of the part run")
    parser.add_argument("--script-up-to", type=int, default=sys.maxsize, help="contacts that the script is tried with")
    parser.add_argument("--json", type=Path, help="file for all figures, those of each round included")
    wanted = parser.parse_args()
    sizes: list[Figures] = []
    with (
        tempfile.TemporaryDirectory(prefix="crm-bench-") as folder,
        EmbeddedServer(durable=True, settings=SERVER) as server,
    ):
        settings = Settings(
            dsn=server.dsn(_COPY),
            work_dir=Path(folder),
            seeds_dir=Path(folder) / "seeds",
            log_file=Path(folder) / "migration.log",
            rehearsal_max_seconds=_REHEARSAL_SECONDS,
        )
        with database.connect(Settings(dsn=server.dsn())) as maintenance:
            about = _machine(maintenance)
            for contacts in sorted(wanted.contacts):
                load(maintenance, settings, contacts)
                sizes.append(
                    measure(
                        maintenance,
                        settings,
                        contacts,
                        wanted.parts,
                        kinds=wanted.kinds,
                        repeat=wanted.repeat,
                        script_too=contacts <= wanted.script_up_to,
                    )
                )
                if wanted.json:
                    # after each size: hours may go by until the next
                    wanted.json.write_text(json.dumps({"machine": about, "sizes": sizes}, indent=1), encoding="utf-8")
    rounds = f"median of {wanted.repeat} rounds" if wanted.repeat > 1 else "one round"
    print(f"\n{about['text']}, {rounds}.")
    print("\n".join(report.tables(sizes)))
    return 0 if all(target.kept for size in sizes for target in report.targets(size)) else 1


def load(maintenance: Connection, settings: Settings, contacts: int) -> None:
    """Make the legacy CRM that is copied, and settle it: whoever reads first should not pay for what was written."""
    began = time.perf_counter()
    for name in (_COPY, _TEMPLATE):
        database.drop_database(maintenance, name)
    maintenance.execute(sql.SQL("create database {}").format(sql.Identifier(_TEMPLATE)))
    with database.connect(settings, database=_TEMPLATE) as connection:
        demo_data.create_schema(connection, Generation.G2026)
        demo_data.load(connection, Generation.G2026, contacts=contacts)
        demo_data.demo_seeds(connection, settings.seeds_dir)
        connection.execute("vacuum (freeze, analyze)")
    progress.done(f"{contacts:,} contacts, {contacts // 2:,} deals, loaded", began)


def measure(
    maintenance: Connection,
    settings: Settings,
    contacts: int,
    parts: Sequence[str],
    *,
    kinds: Sequence[str] = KINDS,
    repeat: int,
    script_too: bool = True,
) -> Figures:
    """The medians of one size, and what each round measured as `rounds`."""
    rounds = []
    runs = tuple(kinds) if "run" in parts else ()
    needed = repeat * (len(runs) + bool({*parts} - {"run"}))

    def fresh() -> Connection:
        nonlocal needed
        needed -= 1
        migration.copied(maintenance, _TEMPLATE, _COPY, last=needed == 0)
        return database.connect(settings, application="bench")

    for number in range(repeat):
        one: Figures = {}
        for kind in runs:
            began = time.perf_counter()
            with fresh() as connection:
                one.setdefault("run", {})[kind] = migration.run(connection, settings, kind)
            progress.done(f"round {number + 1}: {kind} migration", began)
        if {*parts} - {"run"}:
            began = time.perf_counter()
            with fresh() as connection:
                one |= ways.run(connection, settings, f"bench-{number}", parts, script_too=script_too)
            progress.done(f"round {number + 1}: transformation in {len(one['ways'])} ways", began)
        rounds.append(one)
    return {"contacts": contacts, **figures.median(rounds), "rounds": rounds}


def _machine(maintenance: Connection) -> Figures:
    version = str(database.scalar(maintenance, "select current_setting('server_version')"))
    memory = psutil.virtual_memory().total / report.GIGABYTE
    set_to = ", ".join(f"{name} {value}" for name, value in SERVER.items())
    text = (
        f"PostgreSQL {version} (embedded, durable, {set_to}), Python {platform.python_version()},"
        f" {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB of memory"
    )
    return {"text": text, "postgresql": version, "python": platform.python_version(), "cores": os.cpu_count()}


if __name__ == "__main__":
    sys.exit(main())
