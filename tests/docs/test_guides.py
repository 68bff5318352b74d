"""What the guides name exists: commands with their flags, codes, settings, files; and their links lead somewhere."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import crm_migrate
from crm_migrate import cli, findings, gate_checks, paths
from crm_migrate.errors import MigrationError
from crm_migrate.settings import PREFIX, Settings

GUIDES = [paths.PROJECT / "README.md", *sorted(paths.DOCS.glob("*.md"))]
# a code of its own that the analyst's guide adds
ADDED = {"deals.too_large"}
SETTINGS = {field.name for field in dataclasses.fields(Settings)}


def text_of(guide: Path) -> str:
    return guide.read_text(encoding="utf-8")


def inline(text: str) -> list[str]:
    """Words between backticks, without the blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


@functools.cache
def program() -> Any:
    """The commands as click has them; typer may bring a click of its own."""
    for module in pkgutil.iter_modules(cli.__path__):
        # they register their commands
        importlib.import_module(f"{cli.__name__}.{module.name}")
    return typer.main.get_command(cli.app)


def commands_in(text: str) -> Iterator[list[str]]:
    names = {name for name in program().commands if name not in ("docs", "lock")}
    for shown in inline(text):
        words = shown.split(" ")
        if words[0] == "crm-migrate" and len(words) > 1:
            yield words[1:]
        elif words[0] in names and any(word.startswith("--") for word in words):
            yield words
    for block in re.findall(r"^```(?:console|sh|text)\n(.*?)^```", text, re.S | re.M):
        for line in block.splitlines():
            matched = re.match(r"(?:\$ )?crm-migrate (.*)", line)
            if matched:
                yield shlex.split(matched[1], comments=True)


def unknown_words(words: list[str]) -> list[str]:
    """What of a command line the program does not know."""
    at, left = program(), list(words)
    while hasattr(at, "commands") and left and not left[0].startswith("-"):
        if left[0] not in at.commands:
            return [left[0]]
        at = at.commands[left.pop(0)]
    known = {name for parameter in at.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    return [word for word in left if word.startswith("--") and word.split("=")[0] not in known]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_command_and_flag_exists(guide: Path) -> None:
    wrong = {" ".join(words): unknown for words in commands_in(text_of(guide)) if (unknown := unknown_words(words))}
    assert wrong == {}


def test_a_command_that_does_not_exist_is_found() -> None:
    said = "`crm-migrate aply --now` `dry-run --fast` `crm-migrate compat forget`\n"
    said += "```console\n$ crm-migrate status --all\n```\n"
    assert [unknown_words(words) for words in commands_in(said)] == [["aply"], ["--fast"], ["forget"], ["--all"]]


def error_codes() -> set[str]:
    for module in pkgutil.walk_packages(crm_migrate.__path__, "crm_migrate."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = set(), [MigrationError]
    while left:
        kind = left.pop()
        found.add(kind.code)
        left += kind.__subclasses__()
    return found


def test_every_code_exists() -> None:
    errors = error_codes()
    checks = {check.code for gate in ("source", "target", "published") for check in gate_checks.read(gate)}  # type: ignore[arg-type]
    assert findings.warning_codes() < checks
    for guide in GUIDES:
        text = text_of(guide)
        assert set(re.findall(r"\bCRM-\d{3}\b", text)) <= errors, guide.name
        shown = "|".join(gate_checks.ENTITIES)
        named = {word for word in inline(text) if re.fullmatch(rf"(?:{shown})\.[a-z_]+", word)}
        named |= set(re.findall(r"--accept-warning ([a-z_.]+)", text))
        columns = {f"{table}.{name}" for table, name in (("contacts", "company_id"), ("deals", "contact_ids"))}
        assert named - columns - ADDED <= checks, guide.name


def test_every_setting_exists() -> None:
    named = {"README.md": 0, "status-page.md": 0}
    for guide in GUIDES:
        text = text_of(guide)
        found = {name.lower() for name in re.findall(rf"\b{PREFIX}([A-Z_]+)\b", text)}
        for block in re.findall(r"^```toml\n(.*?)^```", text, re.S | re.M):
            found |= set(tomllib.loads(block))
        found |= set(re.findall(r"setting\s`([a-z_]+)`", text))
        assert found <= SETTINGS | {"build_schema", "dbt_threads"}, guide.name
        named[guide.name] = len(found)
    assert named["README.md"] > 5


def test_every_file_that_is_named_exists() -> None:
    folders = [paths.SEEDS, paths.PROJECT, paths.DOCS]
    for guide in GUIDES:
        for word in inline(text_of(guide)):
            if re.fullmatch(r"[\w/]+\.csv|(?:dbt_project|seeds|soda|sql|wrapper|tests)/[\w/.]*", word):
                # MODEL stands for any
                exists = any((folder / word.replace("MODEL", "opportunities")).exists() for folder in folders)
                assert exists or word == "requests.csv", f"{guide.name}: {word}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_link_leads_somewhere(guide: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text_of(guide)):
        place, _, anchor = link.partition("#")
        target = (guide.parent / place).resolve() if place else guide
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(target), re.M)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, link


def test_what_is_promised_for_how_long_is_what_is_set() -> None:
    usual = Settings()
    faq, changing, runbook = (text_of(paths.DOCS / f"{name}.md") for name in ("faq", "whats-changing", "runbook"))
    assert f"For {usual.rollback_hours:g} hours everything can be brought back; for {usual.archive_days} days" in faq
    assert usual.rollback_hours == 48
    assert "within two days" in changing
    assert f"T + {usual.archive_days} days" in runbook
    assert f"at most {usual.dry_run_max_age_hours:g} hours old" in runbook
    assert usual.compat_days == 31
    assert "For a month" in faq
    assert f"above {usual.threshold_percent:g} %" in faq
    assert usual.sample_size == 100
    assert "the hundred samples" in runbook
