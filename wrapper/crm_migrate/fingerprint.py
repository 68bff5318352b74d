"""The logical fingerprint of the CRM's schema: equal before a run and after its rollback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from crm_migrate import database, parallel
from crm_migrate.access import WRITES, AccessState
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

_SEQUENCE = "S"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as before; None means that it is not there."""

    kind: str
    identity: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Fingerprint:
    """What is there: per kind and identity its description; per table its rows and their hash."""

    schema: Mapping[str, Mapping[str, Any]]
    contents: Mapping[str, Any] = field(default_factory=dict)
    sequences: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """One hash over all of it."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True, default=str).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """A document for the control schema."""
        return {"schema": self.schema, "contents": self.contents, "sequences": self.sequences}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Fingerprint:
        """Read what `as_json` wrote."""
        return cls(document["schema"], document["contents"], document["sequences"])


def take(
    connection: Connection,
    *,
    content: bool = True,
    locked: AccessState | None = None,
    settings: Settings | None = None,
    known: Mapping[str, Any] | None = None,
) -> Fingerprint:
    """Describe the schema as it is now; needs the control schema.

    Args:
        connection: sees all rows.
        content: also hash every table and read every sequence.
        locked: the access before the maintenance lock, when that is held: what the lock takes away then counts as
            there. Its fence never counts.
        settings: read the tables side by side, on connections of their own that see what this one sees. Within a
            transaction of the caller, nobody else sees that, and this one reads them all.
        known: what some tables hold, by name: these are not read.
    """
    alone = settings is None or connection.info.transaction_status != TransactionStatus.IDLE
    with connection.transaction():
        schema: dict[str, dict[str, Any]] = {}
        for kind, identity, described in connection.execute(
            "select * from crm_migration.describe_relations('public')"
            " union all select * from crm_migration.describe_others('public')"
        ):
            schema.setdefault(kind, {})[identity] = described
        schema["grant"] = dict.fromkeys(sorted(_grants(connection, locked)), True)
        if locked is not None:
            _as_before_the_lock(schema, locked)
        if not content:
            return Fingerprint(schema)
        contents = _contents(connection, None if alone else settings, known or {})
        sequences = {
            row[0]: {"last_value": row[1], "is_called": row[2]}
            for row in connection.execute("select * from crm_migration.sequence_values('public')")
        }
    return Fingerprint(schema, contents, sequences)


def _contents(connection: Connection, settings: Settings | None, known: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if settings is None:
        found = connection.execute("select * from crm_migration.table_contents('public')").fetchall()
        return {name: {"rows": rows, "hash": digest} for name, rows, digest in found}
    tables = connection.execute(
        "select name, oid::regclass::text from crm_migration.own_relations('public') where kind = 'r'"
        " order by pg_relation_size(oid) desc, name"
    ).fetchall()
    asked = [(name, table) for name, table in tables if name not in known]
    # it idles while the others read
    connection.execute("select set_config('idle_in_transaction_session_timeout', '0', true)")
    snapshot = database.scalar(connection, "select pg_export_snapshot()")
    read = parallel.run(settings, [partial(_content, table) for _, table in asked], snapshot=snapshot)
    contents = {name: content for (name, _), content in zip(asked, read, strict=True)}
    return {name: contents.get(name) or known[name] for name, _ in tables}


def _content(table: str, connection: Connection) -> dict[str, Any]:
    return database.rows(
        connection, "select row_count as rows, hash from crm_migration.content_of(%s::regclass)", [table]
    )[0]


def compare(before: Fingerprint, after: Fingerprint) -> list[Difference]:
    """All that differs, in a fixed order."""
    found: list[Difference] = []
    pairs = [
        *((kind, before.schema.get(kind, {}), after.schema.get(kind, {})) for kind in {*before.schema, *after.schema}),
        ("content", before.contents, after.contents),
        ("sequence_value", before.sequences, after.sequences),
    ]
    for kind, old, new in pairs:
        for identity in {*old, *new}:
            if old.get(identity) != new.get(identity):
                found.append(Difference(kind, identity, old.get(identity), new.get(identity)))
    return sorted(found, key=lambda item: (item.kind, item.identity))


def schema_digest(connection: Connection, locked: AccessState | None = None) -> str:
    """Hash of the schema without rows: what was tried in a dry run must be what an apply meets, locked or not."""
    described = take(connection, content=False, locked=locked)
    parts = {kind: items for kind, items in described.schema.items() if kind != "role"}
    return Fingerprint(parts).digest


def remember(
    connection: Connection,
    run_id: str,
    kind: str,
    locked: AccessState | None,
    settings: Settings | None = None,
    known: Mapping[str, Any] | None = None,
) -> Fingerprint:
    """Take a fingerprint and keep it with the run; the one that is kept already stays."""
    kept = recall(connection, run_id, kind)
    if kept is not None:
        return kept
    taken = take(connection, locked=locked, settings=settings, known=known)
    connection.execute(
        "insert into crm_migration.fingerprints (run_id, kind, content) values (%s, %s, %s)",
        [run_id, kind, Jsonb(taken.as_json())],
    )
    return taken


def recall(connection: Connection, run_id: str, kind: str) -> Fingerprint | None:
    """The fingerprint that a run has kept."""
    document = database.scalar(
        connection, "select content from crm_migration.fingerprints where run_id = %s and kind = %s", [run_id, kind]
    )
    return None if document is None else Fingerprint.from_json(document)


def _grants(connection: Connection, locked: AccessState | None) -> set[str]:
    found = {_grant(*row) for row in connection.execute("select * from crm_migration.describe_grants('public')")}
    if locked is not None:
        found |= {
            _grant(item.relation, item.column_name, item.grantee, item.privilege, item.grantable)
            for item in locked.grants
            if item.privilege in WRITES and item.kind != _SEQUENCE
        }
    return found


def _grant(relation: str, column: str | None, grantee: str, privilege: str, grantable: bool) -> str:
    target = relation if column is None else f"{relation}.{column}"
    return f"{privilege} on {target} to {grantee}{' with grant option' if grantable else ''}"


def _as_before_the_lock(schema: dict[str, dict[str, Any]], locked: AccessState) -> None:
    for login in locked.logins:
        if login.name in schema.get("role", {}):
            schema["role"][login.name] = {"can_login": login.can_login, "connection_limit": login.connection_limit}
