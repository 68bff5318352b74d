"""What `apply` will need: time from what the dry run measured, disk and memory from what it saw.

Steps that the dry run plays too take what they took. The others read or copy all legacy rows, so they are told in
passes: one pass is the time in which one connection reads and hashes every legacy row, as the dry run did when it
remembered their versions. docs/benchmarks.md holds the estimates against what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crm_migrate import database, ledger, machine
from crm_migrate.database import Connection
from crm_migrate.ledger import Step
from crm_migrate.settings import Settings

# of what the legacy tables take
_DUMP = 0.2

# passes over all legacy rows, and seconds that do not depend on them
_ARCHIVE = 0.55
_BACKUP, _BACKUP_START = 3.2, 1.0
_VALIDATE = 0.25
_ORACLES, _ORACLES_START = 0.72, 0.1
_CHANGES = 0.17
_DELTA = 0.25
_LOCK, _UNLOCK = 0.1, 0.1
# how much of what a backup takes alone is added to what runs beside it
_BESIDE = 0.45
# models that are made anew as a whole when anything changed, mostly beside others, and how much of the rest is
_WHOLE = frozenset({"int_companies__identifiers", "int_companies__roles", "int_organizations__relationships"})
_WHOLE_AGAIN, _REDONE = 0.7, 0.15
_PREPARED_AGAIN = 0.3
# the published gate asks less than the target gate
_PUBLISHED = 0.25
# after models that were made anew in part, the target gate reads what was written just now
_FRESH = 1.25


@dataclass(frozen=True)
class Estimate:
    """Seconds between lock and unlock, and the room that is needed meanwhile.

    Attributes:
        downtime_seconds: of a cold apply, which builds everything under the lock; what people are told.
        warm_downtime_seconds: when less than one row in a hundred changes before the lock.
        parts: where the time of the cold one goes.
        warm_parts: where the time of the warm one goes.
    """

    downtime_seconds: float
    downtime_seconds_with_buffer: float
    disk_bytes: int
    memory_bytes: int
    parts: Mapping[str, float] = field(default_factory=dict)
    warm_downtime_seconds: float | None = None
    warm_parts: Mapping[str, float] = field(default_factory=dict)


def of_dry_run(connection: Connection, settings: Settings, run_id: str) -> Estimate:
    """Estimate the downtime of `apply` from the steps that the dry run measured."""
    measured = {step.name: step for step in ledger.steps(connection, run_id)}
    one_pass = _pass(connection, measured)
    parts, warm_parts = _cold(measured, one_pass), _warm(measured, one_pass)
    seconds = sum(parts.values())
    memory = database.scalar(
        connection, "select max(memory_bytes) from crm_migration.resource_samples where run_id = %s", [run_id]
    )
    return Estimate(
        downtime_seconds=round(seconds, 1),
        downtime_seconds_with_buffer=round(seconds * (1 + settings.buffer_percent / 100), 1),
        disk_bytes=int(machine.legacy_bytes(connection) * (machine.SERVER_FACTOR + _DUMP)),
        memory_bytes=int(memory or 0),
        parts={name: round(value, 2) for name, value in parts.items()},
        warm_downtime_seconds=round(sum(warm_parts.values()), 1),
        warm_parts={name: round(value, 2) for name, value in warm_parts.items()},
    )


def _cold(measured: Mapping[str, Step], one_pass: float) -> dict[str, float]:
    built = ("sources", "transform_stage_1", "transform_stage_1_5", "prepare")
    build = sum(_seconds(measured, name) for name in built)
    gates = _seconds(measured, "source_gate") + _seconds(measured, "target_gate")
    parts = {
        "lock": _LOCK,
        "archive": _ARCHIVE * one_pass,
        "transform": build,
        "tests": _seconds(measured, "tests"),
        "gates": gates,
    }
    backup = _BACKUP_START + _BACKUP * one_pass
    # it runs beside all of these: what outlasts them counts, or what it takes away from them
    parts["backup"] = max(_BESIDE * backup, backup - sum(parts.values()))
    return parts | _after(measured, one_pass)


def _warm(measured: Mapping[str, Step], one_pass: float) -> dict[str, float]:
    models = measured["transform_stage_1"].detail.get("models", {}) if "transform_stage_1" in measured else {}
    whole = sum(models.get(name, 0.0) for name in _WHOLE)
    rest = sum(models.values()) - whole
    parts = {
        "lock": _LOCK,
        "changes": _CHANGES * one_pass,
        "transform": _WHOLE_AGAIN * whole + _REDONE * rest + _PREPARED_AGAIN * _seconds(measured, "prepare"),
        "tests": _seconds(measured, "tests"),
        # the source gate was asked before the lock, and is asked again where somebody wrote since
        "gates": _FRESH * _seconds(measured, "target_gate"),
    }
    delta = _DELTA * one_pass
    parts["backup"] = max(_BESIDE * delta, delta - sum(parts.values()))
    return parts | _after(measured, one_pass)


def _after(measured: Mapping[str, Step], one_pass: float) -> dict[str, float]:
    return {
        "cutover": _seconds(measured, "rehearsal"),
        "validate": _VALIDATE * one_pass,
        "verify": _PUBLISHED * _seconds(measured, "target_gate") + _ORACLES_START + _ORACLES * one_pass,
        "unlock": _UNLOCK,
    }


def _pass(connection: Connection, measured: Mapping[str, Step]) -> float:
    """Seconds in which one connection reads and hashes all legacy rows."""
    remembered = measured.get("row_versions")
    if remembered is None or not remembered.rows:
        return 0.0
    rows = database.scalar(
        connection,
        "select sum(greatest(reltuples, 0)) from pg_catalog.pg_class"
        " where relkind = 'r' and relnamespace = 'public'::regnamespace",
    )
    return (remembered.seconds or 0.0) * max(1.0, float(rows or 0) / remembered.rows)


def _seconds(measured: Mapping[str, Step], name: str) -> float:
    return (measured[name].seconds or 0.0) if name in measured else 0.0
