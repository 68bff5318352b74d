"""Names and texts that somebody wrote to break a migration, and a journey of the program through all of them."""

from __future__ import annotations

import csv
import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from crm_migrate import database as db
from crm_migrate import demo_data, paths
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings

Connection = psycopg.Connection[Any]

# of this process alone: the whole machine is searched for it
MARKER = f"m4rk{os.getpid()}er"
PASSWORD = f"{MARKER} \"q\\u'%40 ü"
ROLE = 'Ann "q"; drop role anon; --%s'
DATABASE = 'Crm "q"; drop--%s {{ 7 * 7 }} \'\\ [red]\x1b[2J\nx'

SQL = "Robert'); drop table public.companies; --"
HTML = '<script>alert("x")</script><img src=x onerror=alert(1)>'
MARKUP = "[red]not markup[/red] :smile: {{ 7 * 7 }} {% raw %} %s %(x)s {0} $1 $$"
TERMINAL = "\x1b[2J\x1b]0;owned\x07\x9b2J\x7f\u202egnp.exe"
JSON = '{"a": ["\\\\", "\\""], "b": null}'
LINES = 'new\nline\ttab "quote" \\ back; --'
TEXTS = (SQL, HTML, MARKUP, TERMINAL, JSON, LINES)
# what a terminal would obey; the program's own colours are none of it
COMMANDS = ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\x7f", "\u202e")
TABLE = 'x"; [red]drop[/red] table public.tags; --%s\x1b[2J'
SCHEMA = 'Own "s"; --%'
COLUMN = 'Col "c"; --%(x)s {{ y }}'


def fill(connection: Connection) -> None:
    """Rows and objects of an installation whose people name things so."""
    ids = {}
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        for number, text in enumerate(TEXTS):
            company = connection.execute(
                "insert into public.companies (name, sector, created_at) values (%s, %s, now()) returning id",
                [text, text],
            ).fetchone()
            assert company is not None
            ids[text] = company[0]
            contact = connection.execute(
                "insert into public.contacts (first_name, last_name, company_id) values (%s, %s, %s) returning id",
                [text, text, company[0]],
            ).fetchone()
            assert contact is not None
            deal = connection.execute(
                "insert into public.deals (name, stage, category, description, company_id, contact_ids, created_at,"
                ' updated_at, "index") values (%s, %s, %s, %s, %s, %s, now(), now(), 0) returning id',
                [text, text, text, text, company[0], [contact[0]]],
            ).fetchone()
            assert deal is not None
            connection.execute(
                "insert into public.deal_notes (deal_id, type, text, date) values (%s, %s, %s, now())",
                [deal[0], text, text],
            )
            connection.execute("insert into public.tags (name, color) values (%s, %s)", [text, f"#{number}"])
    role, table, schema, column = map(sql.Identifier, (ROLE, TABLE, SCHEMA, COLUMN))
    for statement in (
        "alter table public.deals add column {column} text default 'it''s; %s'",
        "create table public.{table} (id bigint primary key, deal_id bigint references public.deals, {column} text)",
        "insert into public.{table} select id, id, name from public.deals limit 3",
        "create policy {table} on public.deals as restrictive for update to {role} using ({column} <> 'it''s')",
        "grant select, update on public.deals to {role} with grant option",
        "grant select ({column}) on public.deals to anon",
        "create index {table_index} on public.deals ({column})",
        "create schema {schema}",
        "create view {schema}.{table} as select id, {column}, stage from public.deals",
        "comment on table public.deals is 'it''s \"quoted\"; %s'",
        "create function public.{table}(int) returns bigint language sql as 'select count(*) from public.deals'",
    ):
        connection.execute(
            sql.SQL(statement).format(
                role=role, table=table, schema=schema, column=column, table_index=sql.Identifier(TABLE + " i")
            )
        )


def write_seeds(connection: Connection, folder: Path) -> None:
    """Mapping files that speak of them; the last two stages are left unmapped."""
    demo_data.demo_seeds(connection, folder)
    lines: dict[str, Sequence[Mapping[str, Any]]] = {
        "stage_mapping.csv": [
            {"legacy_stage": text, "stage": "qualified", "status": "active", "probability": 25} for text in TEXTS[:4]
        ],
        "company_roles.csv": [
            {"company_name": SQL, "role": "principal", "commission_percent": 5},
            {"company_name": HTML, "role": "distributor"},
            {"company_name": TERMINAL, "role": "principal"},
        ],
        "category_principals.csv": [{"category": HTML, "principal_name": SQL}],
        "principal_distributor_agreements.csv": [
            {"principal_name": SQL, "distributor_name": HTML, "status": "active", "notes": MARKUP}
        ],
    }
    for name, added in lines.items():
        path = folder / name
        columns = path.read_text(encoding="utf-8").splitlines()[0].split(",")
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, columns, restval="").writerows(added)


@dataclass
class Journey:
    """What the program left behind on its way there and back."""

    admin: Connection
    server: EmbeddedServer
    settings: Settings
    home: Path
    said: dict[str, str] = field(default_factory=dict)
    """By command: standard output and error."""
    codes: dict[str, int] = field(default_factory=dict)
    command_lines: set[str] = field(default_factory=set)
    """Of every process of the machine that ran meanwhile."""
    environments: dict[str, set[str]] = field(default_factory=dict)
    """Names of the variables that hold the marker, by the program's name."""
    documents: dict[str, list[str]] = field(default_factory=dict)
    """Texts of the run records, by table and column."""
    differences: Sequence[Any] = field(default_factory=list)
    """Between the database before and after."""

    def run(self, name: str, *arguments: str, prelude: str = "", **environ: str) -> str:
        """A command of the program, as an operator types it in a shell with an open umask."""
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(paths.PROJECT / "wrapper"),
            "DATABASE_URL": self.settings.dsn,
            "CRM_MIGRATE_WORK_DIR": str(self.settings.work_dir),
            "CRM_MIGRATE_BACKUP_DIR": str(self.settings.backup_dir),
            "CRM_MIGRATE_LOG_FILE": str(self.settings.log_file),
            "CRM_MIGRATE_SEEDS_DIR": str(self.settings.seeds_dir),
            "CRM_MIGRATE_BATCH_SIZE": "60",
            "CRM_MIGRATE_FALLBACK_STAGE": "nurturing",
            "CRM_MIGRATE_REHEARSAL_MAX_SECONDS": "60",
            "FORCE_COLOR": "1",
            # more files to look into
            "DBT_WRITE_JSON": "true",
            "COLUMNS": "200",
        }
        program = ["-c", f"{prelude}\nfrom crm_migrate.cli import main; main()"] if prelude else ["-m", "crm_migrate"]
        done = subprocess.run(
            [sys.executable, *program, *arguments],
            env={**own, **environ},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            umask=0,
            timeout=600,
            check=False,
        )
        self.codes[name] = done.returncode
        self.said[name] = (done.stdout + done.stderr).decode(errors="surrogateescape")
        return self.said[name]

    def remember_records(self) -> None:
        """Keep every text of the control schema: what comes later may replace it."""
        for table, column in self.admin.execute(
            """
            select attrelid::regclass::text, quote_ident(attname)
            from pg_catalog.pg_attribute
            inner join pg_catalog.pg_class on pg_class.oid = attrelid
            where relnamespace in ('crm_migration'::regnamespace, to_regnamespace('crm_compat')) and attnum > 0
                and relkind in ('r', 'v') and not attisdropped
            """
        ).fetchall():
            found = self.admin.execute(f"select {column}::text from {table} where {column} is not null")
            self.documents.setdefault(f"{table}.{column}", []).extend(row[0] for row in found)


@contextmanager
def watched(journey: Journey) -> Iterator[None]:
    """Within the block the command lines and environments of all processes are looked at, again and again."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    variables = (process / "environ").read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                journey.command_lines.add(line)
                held = {variable.partition("=")[0] for variable in variables if MARKER in variable}
                if held:
                    journey.environments.setdefault(Path(line.split(" ")[0]).name, set()).update(held)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@contextmanager
def journey(folder: Path) -> Iterator[Journey]:
    """A server that asks for a password and logs every statement, and on it a CRM where every name is hostile."""
    home = folder / "home"
    (home / "tmp").mkdir(parents=True)
    with EmbeddedServer(tcp=True, settings={"log_statement": "all", "log_line_prefix": "%a %u %d "}) as server:
        (server.data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8"
        )
        with psycopg.connect(server.dsn(), autocommit=True) as root:
            root.execute("select pg_reload_conf()")
            root.execute("set log_statement = none")
            root.execute(
                sql.SQL("create role {} superuser login password {}").format(
                    sql.Identifier(ROLE), sql.Literal(PASSWORD)
                )
            )
            root.execute(sql.SQL("create database {} template template0").format(sql.Identifier(DATABASE)))
        with db.connect(Settings(dsn=server.dsn(DATABASE))) as admin:
            demo_data.create_schema(admin, "2026")
            demo_data.load(admin, "2026", contacts=100)
            fill(admin)
            url = "postgresql://{}:{}@127.0.0.1:{}/{}".format(
                *(quote(part, safe="") for part in (ROLE, PASSWORD)), server.port, quote(DATABASE, safe="")
            )
            work = folder / "work"
            settings = Settings(
                dsn=url,
                work_dir=work,
                backup_dir=work / "backups",
                log_file=work / "migration.log",
                seeds_dir=folder / "seeds",
            )
            write_seeds(admin, settings.seeds_dir)
            yield Journey(admin, server, settings, home)


def texts_of(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder, unpacked where it is compressed."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            yield path, gzip.decompress(content) if path.suffix == ".gz" else content
