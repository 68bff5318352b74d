"""The machine's load while a run works, sampled into the control schema."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Any

import psutil
import psycopg

from crm_migrate import database
from crm_migrate.errors import MigrationError
from crm_migrate.settings import Settings


class Sampler:
    """Samples CPU, memory and disk of this machine beside a run; a failing sample never disturbs the run."""

    def __init__(self, settings: Settings, run_id: str) -> None:
        self._settings = settings
        self._run_id = run_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="resources", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _sample(self) -> None:
        with contextlib.suppress(psycopg.Error, MigrationError, psutil.Error, OSError):
            process = psutil.Process()
            psutil.cpu_percent()
            started = psutil.disk_io_counters()
            with database.connect(self._settings, application="crm-migrate resources") as connection:
                while not self._stop.wait(self._settings.heartbeat_seconds):
                    connection.execute(
                        """
                        insert into crm_migration.resource_samples
                            (run_id, step, cpu_percent, memory_bytes,
                             disk_read_bytes, disk_write_bytes, disk_free_bytes)
                        values (
                            %(run)s,
                            (
                                select name from crm_migration.steps
                                where run_id = %(run)s and state = 'running'
                                order by position desc limit 1
                            ),
                            %(cpu)s, %(memory)s, %(read)s, %(written)s, %(free)s
                        )
                        """,
                        {"run": self._run_id, **self._reading(process, started)},
                    )

    def _reading(self, process: psutil.Process, started: Any) -> dict[str, Any]:
        now = psutil.disk_io_counters()
        place = self._settings.backup_dir
        while not place.exists():
            place = place.parent
        return {
            "cpu": psutil.cpu_percent(),
            # dbt and Soda run inside this process
            "memory": sum(p.memory_info().rss for p in [process, *_tools(process)]),
            "read": now.read_bytes - started.read_bytes if now and started else None,
            "written": now.write_bytes - started.write_bytes if now and started else None,
            "free": psutil.disk_usage(str(place)).free,
        }


def _tools(process: psutil.Process) -> list[psutil.Process]:
    # a private PostgreSQL is a child, too, but no part of the program
    with contextlib.suppress(psutil.Error):
        return [child for child in process.children(recursive=True) if child.name() in ("pg_dump", "pg_restore")]
    return []
