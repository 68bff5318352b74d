"""docs/scale.md: what it tells a scheduler of exit codes, documents and going on is what the program does."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import yaml

from crm_migrate import fault_points, ledger, paths
from crm_migrate.errors import Exit
from crm_migrate.settings import Settings
from running import environment, program, unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

TEXT = (paths.DOCS / "scale.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.S | re.M)
    assert len(found) == 1
    return str(found[0])


def keys_of(command: str) -> set[str]:
    """The keys that the page promises for a command, or for all of them."""
    listed = TEXT[TEXT.index("- **JSON**") : TEXT.index("- **Resumability**")]
    before = {"all": r"with (.*?), and then", "error": r"or `error` with (.*?)\.\n"}
    pattern = before.get(command, rf"((?:`\w+`(?:, | and )?)+)\s+\(`{command}`\)")
    found = re.search(pattern, listed, re.S)
    assert found is not None, command
    return set(re.findall(r"`(\w+)`", found[1]))


def test_what_is_tried_again_is_what_goes_on_with_the_same_command() -> None:
    told = {int(code): action for code, action in re.findall(r"^\| (\d+) \|.*?\| ([^|]+) \|$", TEXT, re.M)}
    assert told.keys() == {int(code) for code in Exit}
    again = {code for code, action in told.items() if action == "again"}
    assert again == {Exit.RESUMABLE, Exit.INTERRUPTED}

    case = re.search(r"case \$code in ([\d| ]+)\)", block("sh"))
    assert case is not None
    assert {int(code) for code in case[1].split("|")} == again

    (rule,) = yaml.safe_load(block("yaml"))["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailIndex"
    assert set(rule["onExitCodes"]["values"]) == {int(code) for code in Exit} - again - {Exit.OK}


def test_a_stopped_tenant_goes_on_and_a_finished_one_is_left_alone(
    tried_2026: Connection, mapped: MakeSettings, tmp_path: Path
) -> None:
    settings = mapped(tried_2026)
    name = tried_2026.info.dbname
    tried = ledger.latest(tried_2026, "dry-run")
    assert tried is not None
    assert keys_of("dry-run") <= tried.summary.keys()

    # the scheduler stops the first attempt in the middle
    stop = {fault_points.KILL_AT: "apply.lock.done", fault_points.KILL_WITH: "SIGTERM"}
    fleet = _fleet(tmp_path, "migrate", settings, name, **stop)
    assert fleet == (0, ["60"]), "stopped once, then done"
    document = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert (document["ok"], document["exit_code"], document["database"]) == (True, 0, name)
    assert keys_of("all") | keys_of("apply") <= document.keys()
    assert Path(document["backup"]["path"]).is_relative_to(tmp_path / name / "backups")
    assert unlocked(tried_2026)

    status = json.loads(program(settings, "status", "--json").communicate()[0])
    assert keys_of("all") | keys_of("status") <= status.keys()

    # again for a tenant that is done: the wrong state, and no second attempt
    assert _fleet(tmp_path, "migrate", settings, name) == (Exit.WRONG_STATE, [])
    document = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert keys_of("all") <= document.keys()
    assert keys_of("error") == document["error"].keys()
    assert document["exit_code"] == Exit.WRONG_STATE


def _fleet(folder: Path, function: str, settings: Settings, name: str, **environ: str) -> tuple[int, list[str]]:
    """Run the page's function for a tenant: how it ended, and for how long it waited each time."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    waits = folder / "waits"
    waits.write_text("")
    for command, line in (
        ("crm-migrate", f'exec "{sys.executable}" -m crm_migrate "$@"'),
        ("sleep", f'echo "$1" >> "{waits}"'),
    ):
        (programs / command).write_text(f"#!/bin/sh\n{line}\n")
        (programs / command).chmod(stat.S_IRWXU)
    ended = subprocess.run(
        ["/bin/sh", "-c", f'{block("sh")}\n{function} "$1" "$2"', "sh", settings.dsn, name],
        env={
            **os.environ,
            **environment(settings),
            **environ,
            "FLEET": str(folder),
            "PATH": f"{programs}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
    )
    return ended.returncode, waits.read_text().split()
