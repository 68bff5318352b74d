"""The warm apply: the dry run's build is gone on with, and backup and archive are made before the lock.

Under the lock only what changed meanwhile is done again, everywhere; the gates and oracles after it are those of a cold
apply. What was laid down before the lock is good for this process only: a resumed run backs up anew under the lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from crm_migrate import (
    archive,
    backup,
    backup_delta,
    backup_files,
    compiled,
    content,
    control,
    data_tests,
    database,
    fingerprint,
    inputs,
    kept_build,
    ledger,
    lock,
    pairs,
    redo,
    row_versions,
    standing,
    transform,
    trial_restore,
)
from crm_migrate.backup import Backup
from crm_migrate.compiled import Model
from crm_migrate.content import TableContent
from crm_migrate.database import Connection
from crm_migrate.errors import MigrationError
from crm_migrate.ledger import Work
from crm_migrate.row_versions import Changes
from crm_migrate.settings import Settings
from crm_migrate.standing import Reads
from crm_migrate.steps import dry_run
from crm_migrate.steps import stage as stages
from crm_migrate.steps.stage import Stage

# the label of the row versions that belong to backup and archive
BASE = "base"
# when more of the rows changed, building all of them anew is no slower
MOST_CHANGED = 0.2


class ChangeMissed(MigrationError):
    """A legacy row changed in a way that was not noticed."""

    code = "CRM-440"


@dataclass(frozen=True)
class Base:
    """Backup and archive as they were before the lock.

    Attributes:
        scratch: the database that the backup was restored into.
        relations: schema and name of the tables that the dump has.
        keyless: those of them whose rows cannot be told apart.
    """

    made: Backup
    scratch: Settings
    relations: tuple[tuple[str, str], ...]
    keyless: frozenset[tuple[str, str]]

    @property
    def tracked(self) -> list[str]:
        """The tables whose changed rows are found, as they are written in SQL."""
        return [_qualified(*one) for one in self.relations if one not in self.keyless]


@dataclass
class Warm:
    """What a warm apply knows beside the ledger."""

    stage: Stage
    opened: ExitStack
    base: Base | None = None
    build_changes: Mapping[str, Changes] = field(default_factory=dict)
    base_changes: Mapping[str, Changes] = field(default_factory=dict)
    reads: Reads = field(default_factory=dict)
    quiet: frozenset[str] = frozenset()

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """The kept models, compiled for this database."""
        return compiled.read(self.stage.settings)

    def lay_base(self, work: Work) -> None:
        """Back up and restore on trial, copy the archive, remember the rows' versions: all of one state."""
        stage, connection = self.stage, self.stage.connection
        for earlier in backup.list_backups(stage.settings.backup_dir):
            if earlier.run_id == stage.run.run_id:
                # of a process that was killed before the lock
                backup.delete(earlier)
        with database.one_state(connection) as snapshot, ThreadPoolExecutor(1, "backup") as pool:
            dumped = pool.submit(self._dump, snapshot)
            work.rows = archive.copy(connection, stage.legacy)
            connection.execute(
                sql.SQL("create schema if not exists {}").format(sql.Identifier(control.VERSIONS_SCHEMA))
            )
            schemas = [name for name in backup.split_schemas(connection, stage.settings)[0] if name != control.SCHEMA]
            relations = content.tables(connection, schemas)
            keyless, _ = row_versions.remember(connection, BASE, [_qualified(*one) for one in relations])
            made = dumped.result()
        _mark_committed(connection, archive.SCHEMA, control.VERSIONS_SCHEMA)
        own = self.opened.enter_context(database.connect(stage.settings, application="crm-migrate backup"))
        result, scratch = self.opened.enter_context(trial_restore.kept(own, stage.settings, made))
        work.detail |= {"path": str(made.path), "bytes": made.bytes, "restore_tested": result.ok}
        tracked = [_qualified(*one) for one in relations if _qualified(*one) not in keyless]
        row_versions.drift(
            stage.settings, kept_build.LABEL, BASE, [one for one in self._legacy(connection).values() if one in tracked]
        )
        self.base = Base(
            made, scratch, tuple(relations), frozenset(one for one in relations if _qualified(*one) in keyless)
        )

    def _dump(self, snapshot: str) -> Backup:
        stage = self.stage
        with database.connect(stage.settings, application="crm-migrate backup") as connection:
            return backup.create(
                connection,
                stage.settings,
                run_id=stage.run.run_id,
                folder=stage.settings.backup_dir,
                snapshot=snapshot,
            )

    def read_models(self, work: Work) -> None:
        """Views and mappings anew, and the models' queries: all that needs dbt and no lock."""
        stages.transform_sources(self.stage, work)
        transform.views(self.stage.settings)
        work.detail |= {"redone": [model.name for model in self.models], "tests": len(self.stage.data_tests.all)}

    def find_changes(self, work: Work) -> None:
        """Compare the legacy rows with their versions; what was kept becomes this run's own.

        Raises:
            inputs.InputsChanged: the legacy schema changed between the start of the run and the lock.
        """
        stage, connection = self.stage, self.stage.connection
        inputs.require_same(
            stage.run.inputs,
            inputs.take(connection, stage.settings, locked=lock.stored_state(connection)),
            since=f"run {stage.run.run_id} started",
            next="crm-migrate dry-run",
        )
        kept_build.adopt(connection, str(stage.run.dry_run_id), stage.run.run_id)
        legacy = self._legacy(connection)
        if self.base is not None:
            self.base_changes = row_versions.find(stage.settings, BASE, self.base.tracked)
        since = [relation for relation in legacy.values() if relation in self.base_changes]
        found = row_versions.join(stage.settings, kept_build.LABEL, BASE, since) | row_versions.find(
            stage.settings, kept_build.LABEL, [relation for relation in legacy.values() if relation not in since]
        )
        self.build_changes = {name: found[relation] for name, relation in legacy.items()}
        work.rows = sum(one.changed for one in self.build_changes.values())
        work.detail["changed"] = {name: one.changed for name, one in self.build_changes.items() if one.changed}
        total = sum(one.rows for one in self.build_changes.values())
        if lacking := redo.impossible(self.models):
            self._build_anew(f"{', '.join(lacking)} has neither a rule in sql/redo nor a key", work)
        elif work.rows > MOST_CHANGED * max(total, 1):
            self._build_anew(f"{100 * work.rows // max(total, 1)} % of the rows changed since the dry run", work)

    def _legacy(self, connection: Connection) -> dict[str, str]:
        """The legacy tables that are there and have a part in any model, as they are written in SQL."""
        named = {name: _qualified("public", name) for name in compiled.sources(self.stage.settings)}
        return {name: relation for name, relation in named.items() if database.exists(connection, relation)}

    def _build_anew(self, why: str, work: Work) -> None:
        stage = self.stage
        ledger.add_to_summary(stage.connection, stage.run.run_id, build={"kind": "cold", "why": why})
        work.detail["built_anew"] = why
        control.renew_build(stage.connection)
        for table in ("batches", "rejected_records", "model_loads"):
            stage.connection.execute(
                sql.SQL("delete from {} where run_id = %s").format(sql.Identifier(control.SCHEMA, table)),
                [stage.run.run_id],
            )
        stages.transform_sources(stage, Work())

    @property
    def goes_on(self) -> bool:
        """Whether the kept build is gone on with; else all is built anew under the lock."""
        return self._goes_on(self.stage)

    def _goes_on(self, stage: Stage) -> bool:
        # asked beside the build, too, where its connection must not be used
        return is_warm(ledger.get(stage.connection, stage.run.run_id).summary)

    def ask_source_gate(self, work: Work) -> None:
        """Ask it about one state, and see in which tables nobody had written until then since the base was laid."""
        assert self.base is not None  # noqa: S101
        settings, connection = self.stage.settings, self.stage.connection
        self.reads = standing.read_by(connection, settings, "source")
        with database.one_state(connection) as snapshot:
            dry_run.run_gate(self.stage, "source", work, snapshot=snapshot)
            found = row_versions.find(settings, BASE, self.base.tracked, snapshot=snapshot)
        self.quiet = _unchanged(found)

    @property
    def standing(self) -> frozenset[str]:
        """The checks of the source gate that read tables as they are now.

        What is as when the base was laid, then and now, is the same: a row that came after the base and went before the
        lock was there when the gate was asked, and now leaves no trace.
        """
        return standing.standing(self.reads, self.quiet & _unchanged(self.base_changes))

    def transform(self, stage_name: str, work: Work) -> None:
        """Make anew what the changed rows have a part in."""
        stage = self.stage
        changes = {name: one.place for name, one in self.build_changes.items()} or self._found_before()
        seconds = redo.run(stage.settings, stage.run.run_id, self.models, changes, stage=stage_name)
        work.detail["models"] = {name: round(one, 3) for name, one in seconds.items()}

    def ask_tests(self, work: Work) -> None:
        """The models' own tests.

        Raises:
            failed_nodes.MappingRefused, failed_nodes.ChecksFailed: a NO-GO.
        """
        work.detail["tests"] = data_tests.ask(self.stage.settings, self.stage.data_tests.all)

    def _found_before(self) -> dict[str, str]:
        # of the process that was killed: the tables are there
        return {
            name: database.scalar(
                self.stage.connection,
                "select crm_migration.changes_name(%s, %s::regclass)",
                [kept_build.LABEL, _qualified("public", name)],
            )
            for name in redo.sources(self.models)
            if database.exists(self.stage.connection, _qualified("public", name))
        }

    def back_up(self, beside: Stage, work: Work) -> None:
        """Append what changed to the backup, bring the restored copy up to date with it, compare what changed.

        All of the copy was compared before the lock, and nobody else is in it.

        Raises:
            trial_restore.RestoreTestFailed: there is no backup to rely on.
        """
        base, connection = self.base, beside.connection
        assert base is not None  # noqa: S101
        changed = []
        for schema, name in base.relations:
            if (schema, name) in base.keyless:
                changed.append(backup_delta.Changed(schema, name, (), None))
                continue
            found = self.base_changes[_qualified(schema, name)]
            if found.changed:
                changed.append(backup_delta.Changed(schema, name, _key(connection, found.relation), found.place))
        before = self._contents(beside)
        made = backup_delta.write(
            connection,
            base.made,
            changed,
            schemas=sorted({schema for schema, _ in base.relations}),
            tables={
                f"public.{name}": TableContent(**known)
                for name, known in before.items()
                if f"public.{name}" in base.made.tables
            },
        )
        try:
            with database.connect(base.scratch, application="crm-migrate restore test") as scratch:
                wrong = backup_delta.bring(scratch, made)
        except psycopg.DatabaseError as error:
            if database.is_lost(error):
                raise
            raise trial_restore.RestoreTestFailed(
                f"What changed since the dump of {made.path.name} cannot be restored.",
                why=str(error).splitlines()[0],
                state=backup_files.LEGACY_UNTOUCHED,
                next="crm-migrate dry-run, then crm-migrate apply --cold makes the backup under the lock.",
            ) from error
        if wrong:
            raise trial_restore.RestoreTestFailed(
                f"The backup {made.path.name} restores, but not to what is there under the lock.",
                why=" ".join(wrong[:5]),
                state=backup_files.LEGACY_UNTOUCHED,
                next="crm-migrate dry-run, then crm-migrate apply --cold makes the backup under the lock.",
            )
        self.opened.close()
        work.rows = sum(one.changed for one in self.base_changes.values())
        work.detail |= {"path": str(made.path), "bytes": made.bytes, "restore_tested": True}

    def _contents(self, beside: Stage) -> Mapping[str, Any]:
        """What the legacy tables hold under the lock, for the backup, the books and the rollback.

        Where the oracles compare every row with what was archived of it, the books say it; all others are read.
        """
        locked = lock.stored_state(beside.connection)
        booked = {
            name: self._booked(beside, BASE, name)
            for name in pairs.names(beside.legacy)
            if _qualified("public", name) in self.base_changes
        }
        kept = fingerprint.remember(beside.connection, beside.run.run_id, "before", locked, beside.settings, booked)
        return kept.contents

    def prove(self, beside: Stage) -> None:
        """The books: nothing changed but what was found.

        What the build knows is held against what the legacy tables hold now, and what backup and archive know against
        those that were read whole.

        Raises:
            ChangeMissed: what was made before the lock cannot be relied on.
        """
        now = self._contents(beside)
        books = [(kept_build.LABEL, name) for name in self._legacy(beside.connection)] if self._goes_on(beside) else []
        if self.base is not None:
            own = [one for one in self.base.relations if one[0] == "public" and one not in self.base.keyless]
            books += [(BASE, name) for _, name in own]
        missed = {name for label, name in books if name in now and self._booked(beside, label, name) != now[name]}
        if missed:
            raise ChangeMissed(
                f"Rows of {', '.join(sorted(missed))} changed without being noticed.",
                why="What was made before the lock cannot be relied on.",
                next="crm-migrate dry-run, then crm-migrate apply --cold builds everything under the lock.",
            )

    @staticmethod
    def _booked(beside: Stage, label: str, table: str) -> dict[str, Any]:
        query = "select row_count as rows, hash from crm_migration.booked_content(%s, %s::regclass)"
        return database.rows(beside.connection, query, [label, _qualified("public", table)])[0]

    def catch_up_archive(self, work: Work) -> None:
        """Bring the archive's copies to the state under the lock."""
        changes = {
            name: (one.place, _key(self.stage.connection, one.relation))
            for name in archive.tables(self.stage.connection)
            if (one := self.base_changes.get(_qualified("public", name))) is not None
        }
        work.rows = archive.catch_up(self.stage.connection, changes)


def is_warm(summary: Mapping[str, Any]) -> bool:
    """Whether a run goes on with the build of its dry run."""
    return bool(summary.get("build", {}).get("kind") == "warm")


def _unchanged(found: Mapping[str, Changes]) -> frozenset[str]:
    return frozenset(relation for relation, one in found.items() if not one.changed)


def _mark_committed(connection: Connection, *schemas: str) -> None:
    """Read what was written, whole: who first meets a row marks it as committed, and that is a write of its page."""
    for relation in content.tables(connection, schemas):
        # of each row, where an index could answer for the table
        connection.execute(sql.SQL("select count(ctid) from {}").format(sql.Identifier(*relation)))


def _key(connection: Any, relation: str) -> tuple[str, ...]:
    return tuple(database.scalar(connection, "select crm_migration.key_of(%s::regclass)", [relation]))


def _qualified(schema: str, name: str) -> str:
    return sql.Identifier(schema, name).as_string(None)
