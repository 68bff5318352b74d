"""Verification: the oracles over all rows, and a sample of records side by side for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from crm_migrate import database, fault_points, oracles, pairs
from crm_migrate.database import Connection
from crm_migrate.errors import Exit
from crm_migrate.legacy import LegacySchema
from crm_migrate.oracles.oracle import OracleResult
from crm_migrate.pairs import Pair
from crm_migrate.settings import Settings

# what is joined stays in the memory of the session as far as it can
_SESSION = {"work_mem": "64MB", "default_transaction_read_only": "on"}


@dataclass(frozen=True)
class SampledRecord:
    """A record as it was and as the application sees it now; fields as text."""

    entity: str
    key: str
    before: Mapping[str, str | None]
    after: Mapping[str, str | None] | None
    different: bool
    changed_since: bool


@dataclass(frozen=True)
class Samples:
    """The sampled records: how many were asked for, compared, and are different."""

    requested: int
    compared: int
    different: int
    changed_since: int
    records: tuple[SampledRecord, ...]


@dataclass(frozen=True)
class Verification:
    """What a verification found."""

    run_id: str
    ok: bool
    oracles: tuple[OracleResult, ...]
    samples: Samples

    @property
    def exit_code(self) -> Exit:
        """0, or 5 when something is not as it was."""
        return Exit.OK if self.ok else Exit.VERIFICATION_FAILED

    def as_json(self) -> dict[str, Any]:
        """The keys of the verification's JSON document."""
        from crm_migrate.reports import plain

        return {"oracles": plain(self.oracles), "samples": plain(self.samples)}


def run(
    connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema, *, sample: int, seed: int
) -> Verification:
    """Ask every oracle, and compare a sample. Writes nothing; all of it sees one state of the database.

    Args:
        sample: how many records to compare side by side.
        seed: the same seed takes the same records.
    """
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        # it idles while the oracles ask
        connection.execute("select set_config('idle_in_transaction_session_timeout', '0', true)")
        found = oracles.ask(connection, settings, run_id, legacy, session=_SESSION)
        fault_points.reached("verify.oracles-asked")
        samples = _sample(connection, settings, run_id, legacy, sample, seed)
    found += oracles.not_applicable()
    ok = all(result.ok is not False for result in found) and samples.different == 0
    return Verification(run_id, ok, tuple(sorted(found, key=lambda result: result.id)), samples)


def _sample(
    connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema, wanted: int, seed: int
) -> Samples:
    records: list[SampledRecord] = []
    for pair, keys in sampled_keys(connection, settings, run_id, legacy, wanted, seed):
        people = pairs.changed_keys(connection, run_id, pair)
        records += [compare(connection, pair, key, people) for key in keys]
    compared = [record for record in records if not record.changed_since]
    return Samples(
        requested=wanted,
        compared=len(compared),
        different=sum(record.different for record in compared),
        changed_since=len(records) - len(compared),
        records=tuple(records),
    )


def sampled_keys(
    connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema, wanted: int, seed: int
) -> list[tuple[Pair, list[int]]]:
    """Which records are sampled: as many of each entity as there are, in turn, until there are enough."""
    asked = pairs.live_pairs(connection, settings, legacy)
    keys = {pair.entity: _keys(connection, pair, run_id, wanted, seed) for pair in asked}
    taken: dict[str, int] = dict.fromkeys(keys, 0)
    while sum(taken.values()) < wanted:
        open_entities = [entity for entity in keys if taken[entity] < len(keys[entity])]
        if not open_entities:
            break
        for entity in open_entities[: wanted - sum(taken.values())]:
            taken[entity] += 1
    return [(pair, keys[pair.entity][: taken[pair.entity]]) for pair in asked]


def _keys(connection: Connection, pair: Pair, run_id: str, wanted: int, seed: int) -> list[int]:
    # a rejected row has no "after"; the report lists it apart
    query = sql.SQL(
        "select id from {} as legacy where not exists (select from crm_migration.rejected_records"
        " where run_id = %s and model = %s and key_value = legacy.id)"
        " order by pg_catalog.hashint8extended(id, pg_catalog.hashtextextended(%s, 0)), id limit %s"
    ).format(pair.archived)
    return [row[0] for row in connection.execute(query, [run_id, pair.model, f"{seed}:{pair.entity}", wanted])]


def compare(connection: Connection, pair: Pair, key: int, people: frozenset[str]) -> SampledRecord:
    """A legacy row as it was archived, and as the old application is shown it now.

    Args:
        people: keys of this entity that were changed since the migration.
    """
    columns = pairs.archived_columns(connection, pair)
    before = _fields(connection, pair.archived, columns, key)
    after = _fields(connection, pair.live, columns, key)
    return SampledRecord(pair.entity, str(key), before or {}, after, before != after, str(key) in people)


def _fields(
    connection: Connection, table: sql.Composable, columns: list[str], key: int
) -> Mapping[str, str | None] | None:
    listed = sql.SQL(", ").join(sql.SQL("{}::text").format(database.beside_parameters(column)) for column in columns)
    rows = database.rows(connection, sql.SQL("select {} from {} where id = %s").format(listed, table), [key])
    return {str(name): value for name, value in rows[0].items()} if len(rows) == 1 else None
