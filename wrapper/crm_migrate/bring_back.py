"""The single moves of the rollback, inside its transaction: the cutover undone, from the last move to the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import (
    access,
    archive,
    carrying_back,
    compat,
    consequences,
    database,
    dependants,
    expectation,
    exports,
    fault_points,
    fingerprint,
    preflight,
    publish,
    successor,
    table_locks,
)
from crm_migrate.access import AccessState
from crm_migrate.consequences import Orphan
from crm_migrate.database import Connection
from crm_migrate.dependants import SavedObject, statement
from crm_migrate.settings import Settings

KINDS = (
    *dependants.REBUILT,
    *(
        "access",
        "deal notes",
        "columns",
        "sequence",
        "created",
        "added column",
        "foreign key",
        "reference",
        "publication",
    ),
    *("owned sequence", "trigger"),
)


@dataclass(frozen=True)
class RollbackResult:
    """What was carried over and where the rest lies."""

    carried_over: dict[str, dict[str, int]]
    exported: Path | None
    # rows that people deleted softly and that something else may not lose, by table
    revived: dict[str, list[str]] = field(default_factory=dict)
    # deals that the target had refused and whose company went away: dropped here, kept whole in the export
    orphaned: list[str] = field(default_factory=list)
    # views and the like that people made on the new tables and that the legacy tables cannot bear; in the export, too
    dropped_objects: list[str] = field(default_factory=list)
    # what was exported: rows per table, and by what people did with them
    exported_rows: dict[str, dict[str, int]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """A document for the control schema."""
        return {**asdict(self), "exported": None if self.exported is None else str(self.exported)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RollbackResult:
        """Read what `as_json` wrote."""
        exported = document.get("exported")
        return cls(**{**document, "exported": Path(exported) if exported else None})


# triggers and policies first, types last; the rest goes with what it belongs to
_DROP_ORDER = (
    *("trigger", "policy", "table constraint", "view", "materialized view", "function", "procedure", "aggregate"),
    *("table", "index", "sequence", "type", "domain"),
)


@dataclass
class BringingBack:
    connection: Connection
    settings: Settings
    run_id: str
    keep_changes: bool
    saved: Sequence[SavedObject]
    carried: dict[str, dict[str, int]] = field(default_factory=dict)
    revived: dict[str, list[str]] = field(default_factory=dict)
    orphans: list[Orphan] = field(default_factory=list)
    dropped_objects: list[str] = field(default_factory=list)

    def play(self, export_dir: Path) -> RollbackResult:
        connection = self.connection
        fault_points.reached("rollback.started")
        locked = AccessState.from_json(self._of("access")[0].detail)
        self._lock_tables()
        compat.put_back(connection, self.settings, self.run_id)
        fault_points.reached("rollback.tables-locked")
        later = self._later_objects()
        exports.keep(connection, self.settings, self.run_id, later, all_of_it=not self.keep_changes)
        fault_points.reached("rollback.exported")
        states = self._pause_triggers()
        deals_sequence = self._highest_deal()
        with successor.writable(connection, self._name("opportunities"), sql.Identifier("crm_archive", "deals")):
            if self.keep_changes:
                self.revived = consequences.delete_softly_deleted(connection, self._name)
            fault_points.reached("rollback.soft-deletes-done")
            self._expect()
            fault_points.reached("rollback.expectation-written")
            if self.keep_changes:
                self.carried = carrying_back.carry(connection, self._name("opportunities"))
            fault_points.reached("rollback.deals-carried")
        self._drop_new_objects()
        fault_points.reached("rollback.new-objects-dropped")
        self._bring_back_deals()
        if not self.keep_changes:
            archive.restore(connection)
        fault_points.reached("rollback.tables-back")
        self._foreign_keys()
        fault_points.reached("rollback.foreign-keys-back")
        self._resume_triggers(states)
        self._publications()
        self._sequences(deals_sequence)
        fault_points.reached("rollback.sequences-back")
        dependants.rebuild(connection, self._of(*dependants.REBUILT), locked, _at_once)
        if self.keep_changes:
            dependants.rebuild(connection, later, locked, self._if_possible)
        fault_points.reached("rollback.dependants-back")
        self._access(locked)
        connection.execute("select crm_migration.raise_fence()")
        fault_points.reached("rollback.fenced")
        connection.execute("notify pgrst, 'reload schema'")
        connection.execute("delete from crm_migration.migration_history where run_id = %s", [self.run_id])
        exported = exports.write(connection, self.run_id, export_dir)
        fault_points.reached("rollback.export-written")
        result = RollbackResult(
            self.carried,
            exported,
            revived=self.revived,
            orphaned=[orphan.key for orphan in self.orphans if not orphan.stays],
            dropped_objects=self.dropped_objects,
            exported_rows=exports.summary(connection, self.run_id),
        )
        dependants.save(connection, self.run_id, [SavedObject("rolled back", self.run_id, detail=result.as_json())])
        return result

    def _of(self, *kinds: str) -> list[SavedObject]:
        return [item for item in self.saved if item.kind in kinds]

    def _name(self, table: str) -> sql.Identifier:
        return sql.Identifier("public", self.settings.rename.get(table, table))

    def _text(self, table: str) -> str:
        return self._name(table).as_string(None)

    def _lock_tables(self) -> None:
        # views first, as whoever reads them does; one that reads another has the higher number
        found = self.connection.execute(
            """
            select oid::regclass::text from crm_migration.own_relations('public') where kind in ('r', 'v', 'm')
            order by kind = 'r', oid desc
            """
        ).fetchall()
        names = [*(name for (name,) in found), "crm_archive.deals"]
        table_locks.take(self.connection, names, "access exclusive", patience=self.settings.lock_timeout)
        self.connection.execute("set constraints all immediate")

    def _later_objects(self) -> list[SavedObject]:
        """Views and the like that people made since the cutover on what goes away now."""
        roots = [
            row[0]
            for row in self.connection.execute(
                "select oid::regclass::text from pg_catalog.pg_class"
                " where relkind in ('r', 'v', 'm') and oid::regclass::text = any(%s)",
                [
                    [
                        *(item.identity for item in self._of("created") if item.definition in ("table", "view")),
                        *(item.identity for item in self._of("view", "materialized view")),
                    ]
                ],
            )
        ]
        known = {item.identity for item in self._of("created")}
        known |= {item.detail["address"] for item in self._of(*dependants.REBUILT)}
        return [
            item
            for item in dependants.find(self.connection, roots)
            if item.kind in dependants.REBUILT
            and item.detail["address"] not in known
            # what stands for deals in views that read with their owner's rights
            and item.detail.get("schema_name") != "crm_compat"
        ]

    def _pause_triggers(self) -> dict[int, Any]:
        """No trigger of the installation fires: what we write was written by people, or is as it was."""
        states = {}
        for oid, name in self.connection.execute(
            "select oid, oid::regclass::text from crm_migration.own_relations('public') where kind = 'r'"
            " union all select 'crm_archive.deals'::regclass, 'crm_archive.deals'"
        ).fetchall():
            states[oid] = database.scalar(self.connection, "select crm_migration.pause_triggers(%s::regclass)", [name])
            if "crm_migrate_journal_delete" in states[oid]:
                # deletes that follow from soft deletes are changes of people, too
                self.connection.execute(
                    sql.SQL("alter table {} enable trigger crm_migrate_journal_delete").format(sql.SQL(statement(name)))
                )
        return states

    def _resume_triggers(self, states: Mapping[int, Any]) -> None:
        self.connection.execute("set constraints all immediate")
        for oid, state in states.items():
            self.connection.execute(
                "select crm_migration.resume_triggers(oid::regclass, %s) from pg_catalog.pg_class where oid = %s",
                [Jsonb(state), oid],
            )

    def _highest_deal(self) -> int | None:
        value: int | None = database.scalar(
            self.connection,
            "select pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass)",
            [self._text("opportunities")],
        )
        return value

    def _expect(self) -> None:
        """From here on nothing is written but what comes back: write down what everything else has to hold."""
        expectation.remember_tables(
            self.connection,
            self.run_id,
            {self.settings.rename.get(preflight.NOTES, preflight.NOTES): self._of("deal notes")[0].identity},
            created=[item.identity for item in self._of("created")],
            dropped=[item.identity for item in self._of("added column")],
            leave_out=() if self.keep_changes else archive.names(self.connection),
        )
        before = fingerprint.recall(self.connection, self.run_id, "before")
        if self.keep_changes and before is not None:
            expectation.remember_deals(self.connection, self.run_id, self._name("opportunities"), before)

    def _drop_new_objects(self) -> None:
        connection = self.connection
        for item in self._of("owned sequence"):
            # it would go away with the new table
            connection.execute(
                sql.SQL("alter sequence {} owned by none").format(sql.SQL(statement(item.detail["sequence"])))
            )
        # policies of the deal notes are on a table of another name now, and among what was created
        rebuilt = [item for item in self._of(*dependants.REBUILT) if not publish.on_deal_notes(item)]
        dependants.drop(connection, rebuilt, cascade=True)
        for kind in _DROP_ORDER:
            for item in self._of("created"):
                if item.definition == kind:
                    self._drop_created(kind, item.identity)
        connection.execute("drop schema if exists crm_compat cascade")
        for item in self._of("added column"):
            connection.execute(
                sql.SQL("alter table {} drop column if exists {} cascade").format(
                    sql.SQL(statement(item.detail["table"])), sql.Identifier(item.detail["column"])
                )
            )

    def _drop_created(self, kind: str, identity: str) -> None:
        what: sql.Composable
        if kind in ("trigger", "policy", "table constraint"):
            name, _, table = identity.rpartition(" on ")
            if not database.exists(self.connection, table):
                return
            form = (
                "alter table {2} drop constraint if exists {1}"
                if kind == "table constraint"
                else ("drop {0} if exists {1} on {2}")
            )
            what = sql.SQL(statement(form)).format(*(sql.SQL(statement(part)) for part in (kind, name, table)))
        else:
            what = sql.SQL("drop {} if exists {}").format(sql.SQL(statement(kind)), sql.SQL(statement(identity)))
        self.connection.execute(what + sql.SQL(" cascade" if kind != "trigger" else ""))

    def _bring_back_deals(self) -> None:
        connection = self.connection
        connection.execute("alter table crm_archive.deals set schema public")
        connection.execute(
            "delete from crm_migration.archived_tables where run_id = %s and table_name = 'deals'", [self.run_id]
        )
        connection.execute(
            sql.SQL("alter table {} rename column opportunity_id to deal_id").format(self._name(preflight.NOTES))
        )
        connection.execute(
            sql.SQL("alter table {} rename to {}").format(
                self._name(preflight.NOTES), sql.Identifier(self._of("deal notes")[0].identity)
            )
        )
        for item in self._of("owned sequence"):
            connection.execute(statement(item.definition))

    def _foreign_keys(self) -> None:
        for item in self._of("foreign key"):
            orphans = consequences.settle_orphans(self.connection, item.detail)
            exports.keep_orphans(self.connection, self.run_id, item.identity, orphans)
            self.orphans += orphans
            expectation.settle(self.connection, self.run_id, [orphan.key for orphan in orphans])
            self.connection.execute(statement(item.definition))
            dependants.comment_constraint(self.connection, "public.deals", item.identity, item.detail.get("comment"))
        for item in self._of("reference"):
            if database.exists(self.connection, item.detail["table_name"]):
                self.connection.execute(statement(item.definition))
                dependants.comment_constraint(
                    self.connection, item.detail["table_name"], item.detail["name"], item.detail.get("comment")
                )
        if not self.orphans:
            return
        counts = self.carried.setdefault("deals", {})
        for counted, stays in (("orphaned", False), ("unlinked", True)):
            keys = {orphan.key for orphan in self.orphans if orphan.stays == stays}
            if keys:
                counts[counted] = len(keys)

    def _publications(self) -> None:
        present = {row[0] for row in self.connection.execute("select pubname::text from pg_catalog.pg_publication")}
        for item in self._of("publication"):
            if item.identity in present:
                self.connection.execute(statement(item.definition))

    def _sequences(self, highest_deal: int | None) -> None:
        if not self.keep_changes:
            for item in self._of("sequence"):
                name = sql.Identifier("public", item.identity).as_string(None)
                if database.exists(self.connection, name):
                    self.connection.execute(
                        "select pg_catalog.setval(%s::regclass, %s, %s)",
                        [name, item.detail["last_value"], item.detail["is_called"]],
                    )
        elif highest_deal is not None:
            self.connection.execute(
                """
                select pg_catalog.setval(
                    pg_sequence.seqrelid,
                    case
                        when pg_sequence.seqincrement > 0 then greatest(pg_sequence_last_value(seqrelid), %(number)s)
                        else least(pg_sequence_last_value(seqrelid), %(number)s)
                    end
                )
                from pg_catalog.pg_sequence
                where pg_sequence.seqrelid = pg_get_serial_sequence('public.deals', 'id')::regclass
                """,
                {"number": highest_deal},
            )

    def _access(self, locked: AccessState) -> None:
        """Grants as before the migration; the lock takes the writing ones, and its release gives exactly these back."""
        connection = self.connection
        wanted = {
            (item.relation, item.column_name, item.grantee, item.privilege, item.grantable) for item in locked.grants
        }
        for row in connection.execute("select * from crm_migration.describe_grants('public')").fetchall():
            if tuple(row) not in wanted:
                relation, column, grantee, privilege, _ = row
                columns = sql.SQL(" ({})").format(sql.Identifier(column)) if column else sql.SQL("")
                connection.execute(
                    sql.SQL("revoke {}{} on {} from {}").format(
                        sql.SQL(statement(privilege)),
                        columns,
                        sql.Identifier("public", relation),
                        sql.SQL(statement(grantee)),
                    )
                )
        access.give_back(connection, locked)
        access.revoke_writes(connection, locked)
        connection.execute("update crm_migration.lock set access_before = %s", [Jsonb(locked.as_json())])

    @contextmanager
    def _if_possible(self, kind: str, identity: str) -> Iterator[None]:
        """An object that stood on the new tables: its definition is in the export when it cannot come back."""
        try:
            with self.connection.transaction():
                yield
        except psycopg.errors.OperationalError:
            raise
        except psycopg.Error:
            self.dropped_objects.append(f"{kind} {identity}")


@contextmanager
def _at_once(kind: str, identity: str) -> Iterator[None]:
    """An object that was there before must come back."""
    yield
