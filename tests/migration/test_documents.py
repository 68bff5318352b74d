"""What scripts read: each command's `--json` document holds at least its agreed keys, also when the command fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crm_migrate import database as db
from crm_migrate.errors import Exit
from crm_migrate.settings import Settings
from people import as_role
from running import program, unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

HEAD = {"schema", "ok", "exit_code", "run_id", "database", "generated_at"}
ENTITIES = {"companies", "contacts", "deals", "notes", "tasks"}


def document(settings: Settings, command: str, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The one document that a command prints, with what holds for all of them."""
    run = program(settings, *command.split(), *arguments, "--json")
    stdout, said = run.communicate(timeout=200)
    assert run.returncode == code, said + stdout
    found = json.loads(stdout)
    assert isinstance(found, dict)
    assert found.keys() >= HEAD
    assert list(found)[: len(HEAD)] == ["schema", "ok", "exit_code", "run_id", "database", "generated_at"]
    assert found["schema"] == f"crm-migrate/{command}/1"
    assert found["ok"] is (code == 0)
    assert found["exit_code"] == code
    assert "Traceback" not in said
    return found


def holds(found: dict[str, Any], *names: str) -> dict[str, Any]:
    assert found.keys() >= set(names), f"missing: {sorted(set(names) - found.keys())}"
    return found


def test_documents_of_a_migration_and_its_rollback(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    name = legacy_2026.info.dbname
    confirmed = ("--confirm-database", name)

    found = holds(document(settings, "doctor"), "checks", "generation", "server_version")
    assert found["generation"] == "2026"
    assert found["database"] == name
    for check in found["checks"]:
        assert set(check) == {"id", "ok", "severity", "message", "hint"}
    _status(document(settings, "status"), "never run")

    found = document(settings, "dry-run")
    _dry_run(found)
    assert found["verdict"] == "GO"
    assert found["run_id"]
    assert holds(found["estimate"], "downtime_seconds", "downtime_seconds_with_buffer", "disk_bytes", "memory_bytes")
    assert found["new_entities"].keys() >= {
        "opportunities",
        "opportunity_participants",
        "contact_organizations",
        "principal_distributor_relationships",
        "activities",
    }
    assert _status(document(settings, "status"), "dry run passed")["next_command"] == "crm-migrate apply"

    found = holds(
        document(settings, "apply", *confirmed),
        "steps",
        "downtime_seconds",
        "rejected_rows",
        "backup",
        "rollback_until",
    )
    for step in found["steps"]:
        holds(step, "name", "state", "seconds", "rows")
    assert found["downtime_seconds"] > 0
    assert set(found["backup"]) == {"path", "bytes", "restore_tested"}
    assert Path(found["backup"]["path"]).is_dir()
    assert found["put_back"] == {"rows": {}, "unfit": []}
    found = _status(document(settings, "status"), "completed")
    assert found["rollback_until"] < found["archive_until"]
    assert found["batches"]["done"] == found["batches"]["total"] > 0

    found = holds(document(settings, "verify"), "oracles", "samples")
    for oracle in found["oracles"]:
        holds(oracle, "id", "ok", "checked_rows", "differences", "changed_since", "message")
        assert oracle["ok"] in (True, None)
    holds(found["samples"], "requested", "compared", "different")

    found = holds(document(settings, "archive status"), "state", "archive_until", "days_left", "here", "tables")
    assert (found["state"], found["here"]) == ("kept", True)
    for table in found["tables"]:
        assert holds(table, "name", "rows", "sealed_rows", "bytes", "ok", "problem")["ok"] is True
    found = holds(document(settings, "archive export"), "path", "rows", "bytes", "read_back", "tables")
    assert Path(found["path"], "manifest.json").is_file()
    found = document(settings, "archive purge", *confirmed, code=Exit.WINDOW)
    assert found["error"]["code"] == "CRM-610"

    found = holds(document(settings, "rollback", *confirmed), "carried_over", "exported", "exported_rows")
    for counts in found["carried_over"].values():
        assert set(counts) >= {"inserted", "updated", "deleted"}
    _status(document(settings, "status"), "completed")

    legacy_2026.execute("update crm_migration.runs set archive_until = clock_timestamp() where kind = 'apply'")
    found = document(settings, "archive purge", *confirmed)
    holds(found, "apply_run_id", "purged_at", "tables", "rows", "seconds")
    assert document(settings, "archive status")["state"] == "purged"
    assert document(settings, "archive purge", *confirmed, code=Exit.WRONG_STATE)["error"]["code"] == "CRM-431"


def _dry_run(found: dict[str, Any]) -> None:
    holds(found, "verdict", "entities", "findings", "new_entities", "estimate", "cutover_rehearsal", "checks")
    assert set(found["entities"]) == ENTITIES
    for entity in found["entities"].values():
        assert set(entity) >= {"rows", "warned", "rejected", "percent"}
    for finding in found["findings"]:
        holds(finding, "id", "severity", "entity", "rows", "sample_keys", "message", "hint")
    holds(found["cutover_rehearsal"], "ok", "seconds", "blockers")
    assert set(found["checks"]) == {"expected", "evaluated", "errored"}


def _status(found: dict[str, Any], state: str) -> dict[str, Any]:
    holds(found, "state", "steps", "batches", "resources", "rollback_until", "archive_until", "next_command")
    assert found["state"] == state
    assert set(found["batches"]) >= {"done", "total", "rows_per_second", "eta_seconds"}
    assert set(found["resources"]) == {
        "cpu_percent",
        "memory_bytes",
        "disk_read_bytes",
        "disk_write_bytes",
        "disk_free_bytes",
    }
    for step in found["steps"]:
        holds(step, "name", "state", "seconds", "rows")
    return found


def test_document_of_a_no_go(legacy_2026: Connection, mapped: MakeSettings) -> None:
    legacy_2026.execute("update public.deals set stage = 'on ice' where id % 10 = 0")
    found = document(mapped(legacy_2026), "dry-run", "--quick", code=Exit.NO_GO)
    _dry_run(found)
    assert found["verdict"] == "NO-GO"
    assert found["reasons"]


def test_documents_of_lock_and_unlock(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    confirmed = ("--confirm-database", legacy_2026.info.dbname)
    found = holds(document(settings, "lock", *confirmed), "locked", "layers")
    assert found["locked"] is True
    assert "fence" in found["layers"]
    assert document(settings, "status")["next_command"] == "crm-migrate unlock"
    found = document(settings, "lock", *confirmed, code=Exit.WRONG_STATE)
    assert found["error"]["code"] == "CRM-104"
    assert found["error"]["next"].startswith("crm-migrate unlock")
    assert document(settings, "unlock", *confirmed)["locked"] is False
    assert unlocked(legacy_2026)
    assert document(settings, "unlock", *confirmed, code=Exit.WRONG_STATE)["error"]["what"]


def test_backup_is_made_checked_listed_and_restored_for_people_to_work(
    legacy: Connection, mapped: MakeSettings
) -> None:
    settings = mapped(legacy)
    # made while locked: what is restored must be unlocked all the same
    confirmed = ("--confirm-database", legacy.info.dbname)
    document(settings, "lock", *confirmed)
    made = holds(document(settings, "backup create"), "path", "bytes", "restore_tested")
    document(settings, "unlock", *confirmed)
    assert made["bytes"] > 0
    assert made["restore_tested"] is None
    assert document(settings, "backup verify", made["path"])["restore_tested"] is True
    (listed,) = document(settings, "backup list")["backups"]
    assert listed["path"] == made["path"]

    name = f"{legacy.info.dbname}_restored"
    legacy.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    try:
        there = mapped(legacy, dsn=make_conninfo(settings.dsn, dbname=name))
        refused = document(there, "backup restore", made["path"], code=Exit.USAGE)
        assert f"--confirm-database {name}" in refused["error"]["next"]
        document(there, "backup restore", made["path"], "--confirm-database", name)
        with db.connect(there) as restored:
            assert unlocked(restored)
            assert _deals(restored) == _deals(legacy)
            with as_role(restored) as person:
                person.execute("insert into public.companies (name) values ('made after the restore')")
                written = person.execute("update public.deals set description = 'seen' where id = 1 returning id")
                assert written.fetchone() == (1,)
        again = document(there, "backup restore", made["path"], "--confirm-database", name, code=Exit.WRONG_STATE)
        assert "not empty" in again["error"]["what"]
    finally:
        legacy.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _deals(connection: Connection) -> Any:
    return connection.execute(
        "select count(*), md5(string_agg(deals::text, '' order by id)) from public.deals"
    ).fetchone()


def test_document_of_an_altered_backup(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    made = document(settings, "backup create")
    largest = max((Path(made["path"]) / "dump").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    found = document(settings, "backup verify", made["path"], code=Exit.UNEXPECTED)
    assert found["error"]["code"] != "CRM-001"
    assert largest.name in found["error"]["what"] + found["error"]["why"]
    found = document(settings, "backup verify", str(settings.work_dir / "nowhere"), code=Exit.USAGE)
    assert "nowhere" in found["error"]["what"]


def test_document_of_the_settings(legacy_2026: Connection, mapped: MakeSettings) -> None:
    found = document(mapped(legacy_2026), "config")
    for entry in holds(found, "settings")["settings"]:
        assert set(entry) == {"name", "value", "origin", "help"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["dry-run", "--no-such-flag"],
        ["backup", "verify"],
        ["archive", "purge", "--now"],
        ["demo", "--contacts", "many"],
        ["status", "--config", "no.toml"],
    ],
)
def test_a_wrong_flag_is_a_document_too(tmp_path: Path, arguments: list[str]) -> None:
    run = program(Settings(work_dir=tmp_path, log_file=tmp_path / "log"), *arguments, "--json")
    stdout, said = run.communicate(timeout=60)
    assert run.returncode == Exit.USAGE, said
    found = json.loads(stdout)
    assert found.keys() >= HEAD
    grouped = arguments[0] in ("archive", "backup")
    assert found["schema"] == f"crm-migrate/{' '.join(arguments[: 2 if grouped else 1])}/1"
    assert found["error"]["code"].startswith("CRM-01")
    assert found["error"]["what"]


def test_both_generations_tell_their_name(legacy: Connection, mapped: MakeSettings) -> None:
    wanted = "2025" if db.exists(legacy, 'public."dealNotes"') else "2026"
    assert document(mapped(legacy), "doctor")["generation"] == wanted
