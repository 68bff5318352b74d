"""The sample: a part of the CRM, migrated in a private server, to try mappings in seconds."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from crm_migrate import cutover, database, legacy, sample, seeds
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, UsageError
from crm_migrate.reports import DryRunReport, plain
from crm_migrate.sample import Choice, Taken
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, demo, dry_run, stage

DATABASE = "crm_sample"


@dataclass(frozen=True)
class SampleReport:
    """What was taken, and what the migration made of it."""

    percent: float
    seed: int
    taken: Mapping[str, Taken]
    dry_run: DryRunReport
    migrated: bool
    seconds: float
    kept: Path | None
    left_out: tuple[str, ...] = sample.LEFT_OUT
    """What of the installation's own was not tried."""

    @property
    def run_id(self) -> str:
        """The dry run on the sample."""
        return self.dry_run.run_id

    @property
    def exit_code(self) -> Exit:
        """As the dry run on the sample ends."""
        return self.dry_run.exit_code

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {**plain(self), "dry_run": self.dry_run.as_json()}


def run(
    connection: Connection, settings: Settings, *, percent: float, seed: int, keep: Path | None, watch: demo.Watcher
) -> SampleReport:
    """Copy a share of the CRM into a private server and try the migration there. The CRM is only read.

    Shares of warned rows say little in a sample, so that only blockers are a NO-GO here.

    Args:
        percent: share of the companies, 0 to 100; what belongs to them comes along.
        seed: the same seed takes the same rows.
        keep: folder that keeps the server; the sample is then migrated for good, to look at it.

    Raises:
        UsageError: a share that is none, or a folder that is in use for something else.
        stage.SeedsWrong: the mapping files do not fit the CRM.
    """
    if not 0 <= percent <= 100:
        raise UsageError(f"{percent:g} is no share in percent.", next="crm-migrate sample --percent 5")
    started = time.monotonic()
    found = legacy.detect(connection)
    # told against the whole CRM: in a part of it a name may seem to be nobody's, or one company's
    problems = seeds.check(connection, settings.seeds_dir)
    if problems:
        raise stage.SeedsWrong(problems)
    choice = Choice(percent, seed, seeds.named_companies(connection, settings.seeds_dir))
    with _folder(keep) as place, EmbeddedServer(place / "server") as server:
        # nobody else is there whom a rehearsal could keep waiting
        there = dataclasses.replace(
            cutover.without_limit(settings),
            dsn=server.dsn(DATABASE),
            work_dir=place,
            backup_dir=place / "backups",
            log_file=place / "migration.log",
            threshold_percent=100.0 + 1e-9,
            rename={},
            triggers={},
        )
        with database.connect(Settings(dsn=server.dsn("postgres"))) as maintenance:
            maintenance.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        with database.connect(there) as own:
            taken = sample.copy(connection, own, found, choice)
        with watch(there) as observer:
            with database.connect(there) as own:
                tried = dry_run.run(own, there, observer, accepted={})
            # without a folder nobody could look at it: the dry run has built and rehearsed everything
            if keep is not None and tried.verdict == "GO":
                with database.connect(there) as own:
                    apply.run(own, there, observer)
    return SampleReport(
        percent=percent,
        seed=seed,
        taken=taken,
        # how long the whole CRM takes cannot be told from a part of it
        dry_run=dataclasses.replace(tried, estimate=None),
        migrated=keep is not None and tried.verdict == "GO",
        seconds=round(time.monotonic() - started, 1),
        kept=place if keep is not None else None,
    )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield demo.empty_folder(keep)
        return
    with tempfile.TemporaryDirectory(prefix="crm-sample-") as folder:
        yield Path(folder)
