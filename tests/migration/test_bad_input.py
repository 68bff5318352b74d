"""Everything an administrator may get wrong: a clear error, its exit code, the next step, and nothing changed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from crm_migrate import access, control, doctor, fault_points, fingerprint, paths
from crm_migrate.errors import NOTHING_CHANGED, Exit
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from pooler import transaction_pooler
from running import program, unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def generation(connection: Connection, settings: Settings) -> tuple[doctor.Examination, str]:
    found = doctor.examine(connection, settings)
    return found, next(check.message for check in found.checks if check.id == "generation" and not check.ok)


def test_an_empty_database(database: Connection, make_settings: MakeSettings) -> None:
    found, message = generation(database, make_settings(database))
    assert "no table" in message
    assert found.generation is None
    assert found.exit_code == Exit.NO_GO


def test_the_database_of_another_application(database: Connection, make_settings: MakeSettings) -> None:
    database.execute("create table public.pets (id bigint primary key)")
    _, message = generation(database, make_settings(database))
    assert "does not hold an Atomic CRM" in message


@pytest.mark.parametrize(
    "statement", ["alter table public.deals drop column stage cascade", "drop table tasks cascade"]
)
def test_a_crm_that_somebody_changed(legacy_2026: Connection, make_settings: MakeSettings, statement: str) -> None:
    legacy_2026.execute("set search_path = public")
    legacy_2026.execute(statement)
    legacy_2026.execute("set search_path = ''")
    _, message = generation(legacy_2026, make_settings(legacy_2026))
    assert "missing" in message


def test_a_migrated_database(migrated_2026: Connection, make_settings: MakeSettings) -> None:
    _, message = generation(migrated_2026, make_settings(migrated_2026))
    assert "migrated already" in message


# -- through the program, as an administrator meets it ------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """How a command of the program ended."""

    exit_code: int
    error: dict[str, str]
    document: dict[str, Any]
    said: str


def refused(settings: Settings, *arguments: str, prelude: str = "", **environ: str) -> Refusal:
    """Run a command that must not succeed, with `--json`; checks what holds for every failure."""
    run = program(settings, *arguments, "--json", prelude=prelude, **environ)
    stdout, said = run.communicate(timeout=120)
    assert run.returncode != 0, stdout
    document = json.loads(stdout)
    assert document["ok"] is False
    assert document["exit_code"] == run.returncode
    assert "Traceback" not in said
    error = document.get("error", {})
    if error:
        assert set(error) == {"code", "what", "why", "state", "next"}
        assert error["code"] != "CRM-001", error
        assert all(error[part] for part in ("what", "state", "next")), error
    return Refusal(run.returncode, error, document, said)


@contextmanager
def unchanged(connection: Connection, settings: Settings) -> Iterator[None]:
    """Within the block the CRM, its access and the databases of the server stay as they are."""
    control.install(connection, settings)
    before, allowed, there = fingerprint.take(connection), access.capture(connection), databases(connection)
    yield
    assert fingerprint.compare(before, fingerprint.take(connection)) == []
    assert access.capture(connection) == allowed
    assert databases(connection) == there


def databases(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute("select datname::text from pg_catalog.pg_database")}


def relations(connection: Connection) -> set[str]:
    query = (
        "select oid::regclass::text from pg_catalog.pg_class union select nspname::text from pg_catalog.pg_namespace"
    )
    return {row[0] for row in connection.execute(query)}


@pytest.fixture(scope="module")
def guarded() -> Iterator[EmbeddedServer]:
    """A server that asks for a password on its loopback address."""
    with EmbeddedServer(tcp=True) as server:
        (server.data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8"
        )
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute("create role ann login password 'the right one'; select pg_reload_conf()")
        yield server


def test_wrong_password(guarded: EmbeddedServer, tmp_path: Path) -> None:
    dsn = make_conninfo(guarded.tcp_dsn(), user="ann", password="m4rker")
    settings = Settings(dsn=dsn, work_dir=tmp_path, backup_dir=tmp_path, log_file=tmp_path / "log")
    for command in ("doctor", "dry-run", "apply"):
        found = refused(settings, command)
        assert found.exit_code == Exit.USAGE
        assert found.error["code"] == "CRM-020"
        assert "password authentication failed" in found.error["why"]
        assert "m4rker" not in json.dumps(found.document) + found.said
        assert found.error["state"] == NOTHING_CHANGED
        assert "DATABASE_URL" in found.error["next"]
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or "m4rker" not in file.read_text(encoding="utf-8")


def test_no_server(tmp_path: Path) -> None:
    settings = Settings(dsn="postgresql://ann:m4rker@127.0.0.1:1/crm", log_file=tmp_path / "log")
    found = refused(settings, "dry-run")
    assert (found.exit_code, found.error["code"]) == (Exit.USAGE, "CRM-020")
    assert "refused" in found.error["why"]


def test_no_such_database(postgres: EmbeddedServer, tmp_path: Path) -> None:
    found = refused(Settings(dsn=postgres.dsn("nowhere"), log_file=tmp_path / "log"), "dry-run")
    assert (found.exit_code, found.error["code"]) == (Exit.USAGE, "CRM-020")
    assert "nowhere" in found.error["why"]


def test_server_too_old(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    with unchanged(legacy_2026, settings):
        too_old = "from crm_migrate import doctor; doctor.FIRST_SUPPORTED = 990000"
        found = refused(settings, "dry-run", prelude=too_old)
        assert (found.exit_code, found.error["code"]) == (Exit.USAGE, "CRM-012")
        assert "15 is the oldest" in found.error["what"]
        assert "Upgrade" in found.error["next"]
        found = refused(settings, "doctor", prelude=too_old)
        assert found.exit_code == Exit.NO_GO


@pytest.mark.parametrize("command", ["dry-run", "apply"])
def test_missing_privilege(legacy_2026: Connection, mapped: MakeSettings, command: str) -> None:
    legacy_2026.execute("create role reader login in role authenticated")
    settings = mapped(legacy_2026, dsn=make_conninfo(legacy_2026.info.dsn, user="reader"))
    before = relations(legacy_2026)
    try:
        found = refused(settings, command, *confirmed(legacy_2026, command))
        assert (found.exit_code, found.error["code"]) == (Exit.USAGE, "CRM-012")
        assert "reader may not alter" in found.error["what"]
        assert "owner" in found.error["next"]
        assert relations(legacy_2026) == before
        # also where somebody else has run the program
        control.install(legacy_2026, settings)
        found = refused(settings, command, *confirmed(legacy_2026, command))
        assert found.exit_code == Exit.USAGE
        assert refused(settings, "status").error["code"] == "CRM-021"
    finally:
        legacy_2026.execute("drop role reader")


def confirmed(connection: Connection, command: str) -> list[str]:
    return ["--confirm-database", connection.info.dbname] if command == "apply" else []


def test_no_room_for_the_backup(tried_2026: Connection, mapped: MakeSettings, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = (
        shutil.which("mount") is not None
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, check=False
        ).returncode
    )
    # where nothing may be mounted, the program is told of a small disk
    told = "" if mounted else "import shutil; shutil.disk_usage = lambda path: type('U', (), {'free': 2**20})()"
    try:
        settings = mapped(tried_2026, backup_dir=small)
        with unchanged(tried_2026, settings):
            for command in ("dry-run", "apply"):
                found = refused(settings, command, *confirmed(tried_2026, command), prelude=told)
                assert (found.exit_code, found.error["code"]) == (Exit.USAGE, "CRM-012")
                assert "free for the backup" in found.error["what"]
                assert "Make room" in found.error["next"]
        assert unlocked(tried_2026)
    finally:
        if mounted:
            subprocess.run(["umount", str(small)], check=True)


def test_no_pg_dump(legacy_2026: Connection, mapped: MakeSettings, tmp_path: Path) -> None:
    settings = mapped(legacy_2026)
    without = (
        "from pathlib import Path; from crm_migrate import tools;"
        " tools.DEBIAN = Path('/nowhere'); tools.embedded_folder = lambda: None"
    )
    with unchanged(legacy_2026, settings):
        found = refused(settings, "dry-run", prelude=without, PATH=str(tmp_path))
        assert (found.exit_code, found.error["code"]) == (Exit.USAGE, "CRM-012")
        assert "pg_dump is not on this machine" in found.error["what"]
        assert "postgresql-client" in found.error["next"]
        found = refused(settings, "backup", "create", prelude=without, PATH=str(tmp_path))
        assert (found.exit_code, found.error["code"]) == (Exit.USAGE, "CRM-035")


def test_view_that_nobody_can_rebuild(legacy_2026: Connection, mapped: MakeSettings) -> None:
    # the primary key of a table lets a query select what it does not group by; a view has none
    legacy_2026.execute("create view public.per_deal as select deals.*, count(*) from public.deals group by deals.id")
    settings = mapped(legacy_2026)
    with unchanged(legacy_2026, settings):
        found = refused(settings, "dry-run")
    assert found.exit_code == Exit.NO_GO
    assert found.document["verdict"] == "NO-GO"
    assert found.document["cutover_rehearsal"]["ok"] is False
    (blocker,) = found.document["cutover_rehearsal"]["blockers"]
    assert blocker["code"] == "view.not_carried"
    assert "per_deal" in blocker["message"]
    assert blocker["hint"]


@pytest.mark.fault(number=13)
@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        ("stage_mapping.csv", "demo-held,qualifed,active,25", "qualifed"),
        ("company_roles.csv", ",No Such Company Ltd,,principal,5", "No Such Company Ltd"),
        ("company_roles.csv", ",Two Of A Kind,,principal,5", "2 companies have the name"),
    ],
    ids=["typo", "unknown company", "ambiguous company"],
)
def test_wrong_line_in_a_mapping_file(
    legacy_2026: Connection, mapped: MakeSettings, file: str, line: str, named: str
) -> None:
    legacy_2026.execute("insert into public.companies (name) values ('Two Of A Kind'), ('Two Of A Kind')")
    settings = mapped(legacy_2026)
    path = settings.seeds_dir / file
    number = len(path.read_text(encoding="utf-8").splitlines()) + 1
    with path.open("a", encoding="utf-8") as opened:
        opened.write(line + "\n")
    with unchanged(legacy_2026, settings):
        found = refused(settings, "dry-run", "--quick")
    assert (found.exit_code, found.error["code"]) == (Exit.NO_GO, "CRM-310")
    assert f"{file}:{number}: " in found.error["what"]
    assert named in found.error["what"]
    assert "Correct" in found.error["next"]


def test_no_mapping_files(legacy_2026: Connection, mapped: MakeSettings, tmp_path: Path) -> None:
    settings = mapped(legacy_2026, seeds_dir=tmp_path / "nowhere")
    with unchanged(legacy_2026, settings):
        found = refused(settings, "dry-run", "--quick")
    assert found.exit_code in (Exit.NO_GO, Exit.USAGE)
    assert "stage_mapping.csv" in found.error["what"]


@pytest.mark.fault(number=13)
def test_stage_without_mapping(legacy_2026: Connection, mapped: MakeSettings) -> None:
    legacy_2026.execute("update public.deals set stage = 'on ice' where id % 10 = 0")
    settings = mapped(legacy_2026)
    with unchanged(legacy_2026, settings):
        found = refused(settings, "dry-run", "--quick")
    assert found.exit_code == Exit.NO_GO
    (finding,) = [each for each in found.document["findings"] if each["id"] == "deals.unmapped_stage"]
    assert finding["severity"] == "warning"
    assert finding["rows"] > 0
    assert finding["sample_keys"]
    assert "stage_mapping.csv" in finding["message"]
    assert "--accept-warning deals.unmapped_stage" in finding["hint"]


def test_interrupted_earlier_run(tried_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(tried_2026)
    name = tried_2026.info.dbname
    killed = program(settings, "apply", "--confirm-database", name, **{fault_points.KILL_AT: "apply.lock.done"})
    said = killed.communicate(timeout=100)[1]
    assert killed.returncode == -signal.SIGKILL, said
    assert not unlocked(tried_2026)
    found = refused(settings, "dry-run")
    assert (found.exit_code, found.error["code"]) == (Exit.WRONG_STATE, "CRM-104")
    assert "crm-migrate unlock" in found.error["next"]
    assert "crm-migrate apply" in found.error["next"]
    found = refused(settings, "rollback", "--confirm-database", name)
    assert found.exit_code == Exit.WRONG_STATE
    assert "crm-migrate unlock" in found.error["why"] + found.error["next"]
    unlock = program(settings, "unlock", "--confirm-database", name)
    assert unlock.wait(timeout=60) == 0
    assert unlocked(tried_2026)


def test_already_migrated(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026, seeds_dir=paths.SEEDS)
    with unchanged(migrated_2026, settings):
        for command, code in (("dry-run", "CRM-413"), ("apply", "CRM-401")):
            found = refused(settings, command, *confirmed(migrated_2026, command))
            assert (found.exit_code, found.error["code"]) == (Exit.WRONG_STATE, code)
            assert "migrated" in found.error["what"]
        assert refused(settings, "dry-run", "--on-copy").exit_code == Exit.WRONG_STATE


@pytest.mark.parametrize(
    ("statement", "code"), [("select", "CRM-410"), ("create table public.pets (id bigint)", "CRM-411")]
)
def test_database_without_a_crm(
    database: Connection, make_settings: MakeSettings, statement: LiteralString, code: str
) -> None:
    database.execute(statement)
    settings = make_settings(database)
    before = relations(database)
    for command in ("dry-run", "apply", "lock", "dry-run --on-copy"):
        words = command.split()
        extra = [] if words[0] == "dry-run" else ["--confirm-database", database.info.dbname]
        found = refused(settings, *words, *extra)
        assert (found.exit_code, found.error["code"]) == (Exit.USAGE, code), command
        assert relations(database) == before, f"{command} changed the database"
    for command in ("verify", "rollback", "unlock"):
        extra = [] if command == "verify" else ["--confirm-database", database.info.dbname]
        found = refused(settings, command, *extra)
        assert found.exit_code == Exit.WRONG_STATE, command
        assert relations(database) == before, f"{command} changed the database"


def test_transaction_pooler(legacy_2026: Connection, mapped: MakeSettings, postgres: EmbeddedServer) -> None:
    with transaction_pooler("127.0.0.1", postgres.port) as port:
        dsn = make_conninfo("", host="127.0.0.1", port=port, user="postgres", dbname=legacy_2026.info.dbname)
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as pooled:
            backends = {pooled.execute("select pg_backend_pid()").fetchone() for _ in range(4)}
            assert len(backends) == 2, "the pooler does not pool"
        settings = mapped(legacy_2026, dsn=dsn)
        before = relations(legacy_2026)
        for command in ("dry-run", "apply", "lock"):
            extra = [] if command == "dry-run" else ["--confirm-database", legacy_2026.info.dbname]
            found = refused(settings, command, *extra)
            assert (found.exit_code, found.error["code"]) == (Exit.USAGE, "CRM-012"), command
            assert "transaction pooler" in found.error["what"]
            assert "--dsn" in found.error["next"]
            assert relations(legacy_2026) == before, f"{command} changed the database"
        found = refused(settings, "doctor")
        assert found.exit_code == Exit.NO_GO
        (check,) = [each for each in found.document["checks"] if each["id"] == "pooler"]
        assert check["ok"] is False
