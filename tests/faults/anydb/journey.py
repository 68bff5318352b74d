"""One installation's way: dry run, apply, verify, work, rollback; and what has to hold at each station."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import strategies as st
from psycopg import sql

from crm_migrate import access, control, database, findings, fingerprint
from crm_migrate.observer import Silent
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import rollback, verify
from faults.anydb.additions import additions
from faults.anydb.edits import Edit, through_new_names, through_old_names
from faults.anydb.own import Addition
from faults.anydb.rows import Rows, crm
from people import as_role
from running import do_it, try_it

Connection = psycopg.Connection[Any]

# rows in a dump, by the beginning of their statements
_ALL, _NONE = re.compile(""), re.compile("(?!)")
_OF_THE_CRM = re.compile(r'INSERT INTO (?!"own schema")')

ROLES = ("anon", "authenticated", "service_role")
# what a statement of people may be refused with: their values, their privileges, their rows' rules, and where a
# publication has what the replica identity cannot say
REFUSALS = ("22", "23", "42501", "P0001", "55000")
# what only the rehearsal itself finds
REHEARSED = frozenset({"view.not_carried"})
ACCEPTED = dict.fromkeys(findings.warning_codes(), "made on purpose")


@dataclass(frozen=True)
class Installation:
    """A legacy CRM, and what people do with it after the cutover."""

    generation: str
    rows: Rows
    additions: Sequence[Addition]
    old_edits: Sequence[Edit]
    new_edits: Sequence[Edit]
    keep_changes: bool


@st.composite
def installations(draw: st.DrawFn, generation: str | None = None) -> Installation:
    """Any installation."""
    shape = generation or draw(st.sampled_from(["2025", "2026"]))
    rows = draw(crm(shape))
    own = draw(additions(shape, rows))
    return Installation(
        shape,
        rows,
        own,
        draw(through_old_names(shape, rows)),
        draw(through_new_names(rows)),
        draw(st.booleans()),
    )


@dataclass
class Statistic:
    """How far the installations came."""

    examples: int = 0
    whole_way: int = 0
    stopped_by: Counter[str] = field(default_factory=Counter)
    additions: int = 0
    impossible: list[str] = field(default_factory=list)
    edits: Counter[str] = field(default_factory=Counter)


def travel(
    server: EmbeddedServer, connection: Connection, installation: Installation, folder: Path, statistic: Statistic
) -> None:
    """Go the whole way from an empty CRM, or find the reason why not; every station is checked."""
    statistic.examples += 1
    _fill(connection, installation.rows)
    applied = [addition for addition in installation.additions if _add(connection, addition, statistic)]
    settings = Settings(
        dsn=connection.info.dsn,
        work_dir=folder,
        backup_dir=folder / "backups",
        log_file=folder / "run.log",
        batch_size=2,
        threshold_percent=101.0,
        rehearsal_max_seconds=0.0,
        heartbeat_seconds=10.0,
        triggers={name: choice for addition in applied for name, choice in addition.triggers.items()},
    )
    control.install(connection, settings)
    expected = _outcomes(connection, installation.old_edits)
    before = Before.of(connection, server)

    report = try_it(settings, **ACCEPTED)
    before.check_untouched(connection, server)
    blockers = [item for item in report.findings if item.severity == "blocker"]
    wanted = {code for addition in applied for code in addition.blockers}
    if wanted - REHEARSED:
        # what is in the way of the rehearsal is to be removed first
        wanted -= REHEARSED
    assert {item.id for item in blockers} == wanted, blockers
    assert (report.verdict == "GO") == (not wanted), report.reasons
    if wanted:
        statistic.stopped_by.update(wanted)
        return

    do_it(settings)
    before.check_seen(connection)
    _verify(connection, settings, "as it was migrated")
    _outcomes_are(connection, installation.old_edits, expected, statistic)
    soft = _work(connection, installation.new_edits, statistic)
    _verify(connection, settings, "after people's work")

    shown = before.old_names(connection)
    with database.connect(settings) as own:
        done = rollback.run(own, settings, Silent(), keep_changes=installation.keep_changes)
    assert done.differences == []
    if not installation.keep_changes:
        before.check_untouched(connection, server, worked=True)
    else:
        before.check_schema(connection, server)
        if not soft and not done.orphaned and not done.revived:
            assert before.old_names(connection) == shown
    statistic.whole_way += 1


def _verify(connection: Connection, settings: Settings, when: str) -> None:
    found = verify.run(connection, settings)
    assert found.ok, (when, [item for item in found.oracles if item.ok is False])


@dataclass(frozen=True)
class Before:
    """The legacy CRM as it was: by the program's own fingerprint, by pg_dump, and as its roles saw it."""

    print: fingerprint.Fingerprint
    access: access.AccessState
    dump: Counter[str]
    seen: Mapping[tuple[str, str], object]
    columns: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, connection: Connection, server: EmbeddedServer) -> Before:
        columns: dict[str, list[str]] = dict(
            connection.execute(
                """
                select pg_class.oid::regclass::text, array_agg(attname::text order by attnum)
                from pg_catalog.pg_class
                inner join pg_catalog.pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
                inner join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
                where relkind in ('r', 'v', 'm')
                    -- documents of whole companies and contacts show the new columns as well
                    and not (relname = 'activity_log' and attname in ('company', 'contact'))
                    and nspname !~ '^(pg_|crm_|information_schema|auth|extensions)'
                    and relispopulated
                group by pg_class.oid
                """
            ).fetchall()
        )
        return cls(
            fingerprint.take(connection),
            access.capture(connection),
            _dump(server, connection.info.dbname),
            _seen(connection, columns),
            columns,
        )

    def check_untouched(self, connection: Connection, server: EmbeddedServer, *, worked: bool = False) -> None:
        """Schema, rows, sequences and access are exactly as they were.

        Args:
            worked: people deleted rows meanwhile; what that did to rows of other schemas is not undone.
        """
        self.check_schema(connection, server, rows=_OF_THE_CRM if worked else _ALL)
        assert fingerprint.compare(self.print, fingerprint.take(connection)) == []
        if not worked:
            assert _seen(connection, self.columns) == self.seen
        else:
            now = _seen(connection, self.columns)
            assert {key: now[key] for key in now if "own schema" not in key[1]} == {
                key: self.seen[key] for key in now if "own schema" not in key[1]
            }

    def check_schema(self, connection: Connection, server: EmbeddedServer, *, rows: re.Pattern[str] = _NONE) -> None:
        """All but the rows is as it was, and the rows whose statements begin so."""
        now = fingerprint.take(connection, content=False)
        assert fingerprint.compare(fingerprint.Fingerprint(self.print.schema), now) == []
        assert access.capture(connection) == self.access
        dumped = _dump(server, connection.info.dbname)
        gone, new = self.dump - dumped, dumped - self.dump
        gone, new = (
            Counter({line: n for line, n in side.items() if not _is_row(line) or rows.match(line)})
            for side in (gone, new)
        )
        assert (sorted(gone), sorted(new)) == ([], []), "pg_dump tells them apart"

    def check_seen(self, connection: Connection) -> None:
        """Every role sees through the old names what it saw before."""
        now = _seen(connection, self.columns)
        different = {key: (self.seen[key], now[key]) for key in self.seen if self.seen[key] != now[key]}
        assert not different, different

    def old_names(self, connection: Connection) -> Mapping[tuple[str, str], object]:
        """What the owner sees through the old names of the tables."""
        tables = {name: columns for name, columns in self.columns.items() if name in _TABLES}
        return _seen(connection, tables, roles=("postgres",))


_TABLES = (
    *("public.deals", "public.companies", "public.contacts", "public.tasks", "public.tags", "public.sales"),
    *("public.deal_notes", 'public."dealNotes"', "public.contact_notes", 'public."contactNotes"'),
)


def _fill(connection: Connection, rows: Rows) -> None:
    # as a restored dump is loaded: triggers do not fire
    connection.execute("set session_replication_role = replica")
    for table, listed in rows.of.items():
        for position, row in enumerate(listed):
            _insert(connection, table, dict(row), position)
        if table in rows.sequences:
            connection.execute(
                "select setval(pg_get_serial_sequence(%s, 'id')::regclass, %s)",
                [sql.Identifier("public", table).as_string(None), rows.sequences[table]],
            )
    connection.execute("reset session_replication_role")


def _insert(connection: Connection, table: str, row: dict[str, Any], position: int) -> None:
    if table == "sales":
        row["user_id"] = f"00000000-0000-0000-0000-{position:012}"
        connection.execute("insert into auth.users (id) values (%s)", [row["user_id"]])
    connection.execute(
        sql.SQL("insert into {} ({}) overriding system value values ({})").format(
            sql.Identifier("public", table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        ),
        list(row.values()),
    )


def _add(connection: Connection, addition: Addition, statistic: Statistic) -> bool:
    """Whether this server and what came before it allow the addition."""
    statistic.additions += 1
    try:
        with connection.transaction():
            for statement in addition.statements:
                connection.execute(statement)
    except psycopg.Error as error:
        statistic.impossible.append(f"{addition.kind}: {str(error).splitlines()[0]}")
        return False
    return True


def _outcome(connection: Connection, edit: Edit) -> object:
    """What somebody is answered: rows, or the class of the refusal."""
    with as_role(connection, edit.role):
        try:
            with connection.transaction():
                cursor = connection.execute(edit.statement)
                return sorted(cursor.fetchall()) if cursor.description else cursor.rowcount
        except psycopg.Error as error:
            return f"{error.sqlstate}: {str(error).splitlines()[0]}"


def _outcomes(connection: Connection, edits: Sequence[Edit]) -> list[object]:
    """What the legacy CRM answers; it is as before afterwards."""
    stood = connection.execute(
        "select name, last_value, is_called from crm_migration.sequence_values('public')"
    ).fetchall()
    with connection.transaction(force_rollback=True):
        connection.execute("set constraints all immediate")
        found = [_outcome(connection, edit) for edit in edits]
    for name, last_value, is_called in stood:
        # what is taken from a sequence stays taken, and the last key of all can be taken once
        connection.execute(
            "select setval(%s::regclass, %s, %s)",
            [sql.Identifier("public", name).as_string(None), last_value, is_called],
        )
    return found


def _outcomes_are(
    connection: Connection, edits: Sequence[Edit], expected: Sequence[object], statistic: Statistic
) -> None:
    for edit, wanted in zip(edits, expected, strict=True):
        found = _outcome(connection, edit)
        same = found == wanted or (isinstance(wanted, str) and isinstance(found, str) and wanted[:2] == found[:2])
        assert same, (edit, "before the cutover:", wanted, "after it:", found)
        statistic.edits["refused" if isinstance(found, str) else "done"] += 1


def _work(connection: Connection, edits: Sequence[Edit], statistic: Statistic) -> bool:
    """People's work through the new names; whether a company or a contact was deleted softly."""
    soft = False
    for edit in edits:
        found = _outcome(connection, edit)
        refused = isinstance(found, str)
        assert not refused or str(found).startswith(REFUSALS), (edit, found)
        statistic.edits["refused" if refused else "done"] += 1
        soft |= edit.soft and found == 1
    return soft


def _seen(
    connection: Connection, columns: Mapping[str, Sequence[str]], roles: Sequence[str] = ROLES
) -> Mapping[tuple[str, str], object]:
    """What each role sees of each relation: rows as text, or how it is refused."""
    found: dict[tuple[str, str], object] = {}
    for role in roles:
        with as_role(connection, role):
            for relation, names in columns.items():
                listed = sql.SQL(", ").join(map(sql.Identifier, names))
                query = sql.SQL("select row({})::text from {}").format(listed, sql.SQL(relation))
                try:
                    found[role, relation] = sorted(row[0] for row in connection.execute(query))
                except psycopg.Error as error:
                    found[role, relation] = error.sqlstate
    return found


def _dump(server: EmbeddedServer, name: str) -> Counter[str]:
    done = subprocess.run(
        [
            *(str(server.binaries / "pg_dump"), "--dbname", server.dsn(name), "--inserts", "--restrict-key", "same"),
            *("--exclude-schema", "crm_*", "--exclude-schema", "auth"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return Counter(line for line in done.stdout.split("\n") if line.strip() and not line.startswith("--"))


def _is_row(line: str) -> bool:
    return not line.startswith(("CREATE", "ALTER", "GRANT", "REVOKE", "COMMENT", "    ADD"))
