"""What `apply` will need: time from what the dry run measured, disk and memory from what it saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crm_migrate import database, ledger
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

# measured: pg_dump -Fd -j2 -Z1 takes 4.5 s per GB; restoring with indexes about three times that
_DUMP_SECONDS_PER_BYTE = 4.5 / 1e9
_RESTORE_SECONDS_PER_BYTE = 14.0 / 1e9
_ARCHIVE_SECONDS_PER_BYTE = 3.0 / 1e9
_START_SECONDS = 1.5
# of the database's size: its build and archive beside it, the dump, and the restored copy
_COPIES = 3.3


@dataclass(frozen=True)
class Estimate:
    """Seconds between lock and unlock, and the room that is needed meanwhile."""

    downtime_seconds: float
    downtime_seconds_with_buffer: float
    disk_bytes: int
    memory_bytes: int
    parts: Mapping[str, float] = field(default_factory=dict)


def of_dry_run(connection: Connection, settings: Settings, run_id: str) -> Estimate:
    """Estimate the downtime of `apply` from the steps that the dry run measured."""
    measured = {step.name: step.seconds or 0.0 for step in ledger.steps(connection, run_id)}
    size = int(
        database.scalar(
            connection,
            """
            select coalesce(sum(pg_catalog.pg_total_relation_size(pg_class.oid)), 0)
            from pg_catalog.pg_class
            where pg_class.relkind in ('r', 'p', 'm')
                and pg_class.relnamespace not in (
                    select pg_namespace.oid from pg_catalog.pg_namespace
                    where pg_namespace.nspname
                        in (
                            'crm_build', 'crm_versions', 'crm_archive', 'crm_migration',
                            'information_schema', 'pg_catalog'
                        )
                )
            """,
        )
    )
    build = sum(measured.get(name, 0.0) for name in ("sources", "transform_stage_1", "transform_stage_1_5", "prepare"))
    gates = measured.get("source_gate", 0.0) + measured.get("target_gate", 0.0)
    parts = {
        "lock": _START_SECONDS,
        "archive": size * _ARCHIVE_SECONDS_PER_BYTE,
        "transform": build,
        "gates": gates,
        "cutover": measured.get("rehearsal", 0.0),
        "verify": gates,
        "unlock": 0.5,
    }
    backup = _START_SECONDS + size * (_DUMP_SECONDS_PER_BYTE + _RESTORE_SECONDS_PER_BYTE)
    # the backup runs beside archive, transformation and gates: only what outlasts them counts
    beside = parts["archive"] + build + gates
    parts["backup"] = max(0.0, backup - beside)
    seconds = sum(parts.values())
    memory = database.scalar(
        connection, "select max(memory_bytes) from crm_migration.resource_samples where run_id = %s", [run_id]
    )
    return Estimate(
        downtime_seconds=round(seconds, 1),
        downtime_seconds_with_buffer=round(seconds * (1 + settings.buffer_percent / 100), 1),
        disk_bytes=int(size * _COPIES),
        memory_bytes=int(memory or 0),
        parts={name: round(value, 2) for name, value in parts.items()},
    )
