"""The checks of the gates, as the files in `soda/` have them: read as strictly as they will be counted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from crm_migrate import database, paths
from crm_migrate.errors import Exit, MigrationError
from crm_migrate.settings import Settings

Gate = Literal["source", "target", "published"]
SEVERITIES = ("blocker", "warning", "info")
ENTITIES = ("companies", "contacts", "deals", "notes", "tasks")

_PREFIXES = {"source": "SRC", "target": "TGT", "published": "PUB"}
_NAME = re.compile(r"(?P<id>(?P<gate>[A-Z]{3})-(?P<entity>[A-Z]+)-[0-9]{3}) (?P<sentence>\S.*)")
_CODE = re.compile(r"[a-z]+\.[a-z0-9_]+")
# libyaml reads them ten times as fast, where it is there
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ChecksUnusable(MigrationError):
    """The files of a gate are missing, empty or wrong: nothing could be said about the data."""

    code, exit_code = "CRM-330", Exit.NO_GO


@dataclass(frozen=True)
class GateCheck:
    """One check of a file: what it is called, what it means, and the query that names the rows that fail."""

    id: str
    sentence: str
    code: str
    entity: str
    severity: str
    why: str
    query: str
    file: str


def read(gate: Gate, folder: Path = paths.SODA) -> tuple[GateCheck, ...]:
    """Read the checks of a gate, as strictly as they will be counted.

    Raises:
        ChecksUnusable: no files, an empty file, no checks, an id or a code twice, an attribute missing.
    """
    files = sorted((folder / gate).glob("*.yml"))
    if not files:
        raise _unusable(folder / gate, "there is no file of checks")
    checks = tuple(check for file in files for check in _read_file(gate, file))
    for part in ("id", "code"):
        values = [getattr(check, part) for check in checks]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise _unusable(folder / gate, f"the {part} {', '.join(twice)} is there more than once")
    return checks


def _read_file(gate: Gate, file: Path) -> Iterator[GateCheck]:
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  # a safe one
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unusable(file, f"it cannot be read: {error}") from error
    if not isinstance(document, Mapping) or not document:
        raise _unusable(file, "it is empty")
    for heading, entries in document.items():
        entity = str(heading).removeprefix("checks for ")
        if entity not in ENTITIES or entity != file.stem:
            raise _unusable(file, f"its heading is {heading!r}, not 'checks for {file.stem}'")
        if not isinstance(entries, list) or not entries:
            raise _unusable(file, "it has no checks")
        for entry in entries:
            yield _read_check(gate, entity, entry, file)


def _read_check(gate: Gate, entity: str, entry: Any, file: Path) -> GateCheck:
    body = entry.get("failed rows") if isinstance(entry, Mapping) and len(entry) == 1 else None
    if not isinstance(body, Mapping):
        raise _unusable(file, f"only 'failed rows' checks can name their rows, not {str(entry)[:60]!r}")
    name, attributes, query = body.get("name"), body.get("attributes"), body.get("fail query")
    extra = set(body) - {"name", "attributes", "fail query"}
    if extra:
        raise _unusable(file, f"{name} has a key that is not known: {', '.join(sorted(map(str, extra)))}")
    matched = _NAME.fullmatch(str(name))
    if not matched or matched["gate"] != _PREFIXES[gate] or matched["entity"].lower() != entity:
        raise _unusable(file, f"the name {name!r} is not like '{_PREFIXES[gate]}-{entity.upper()}-001 sentence'")
    if not isinstance(attributes, Mapping):
        raise _unusable(file, f"{matched['id']} has no attributes")
    missing = {"code", "entity", "severity", "why"} - {key for key, value in attributes.items() if value}
    if missing:
        raise _unusable(file, f"{matched['id']} has no {', '.join(sorted(missing))}")
    if attributes["severity"] not in SEVERITIES or attributes["entity"] != entity:
        raise _unusable(file, f"{matched['id']} has an unknown severity or another entity than its file")
    if not _CODE.fullmatch(str(attributes["code"])) or not str(attributes["code"]).startswith(f"{entity}."):
        raise _unusable(file, f"{matched['id']} has the code {attributes['code']!r}, which is not like '{entity}.word'")
    if not isinstance(query, str) or not query.strip():
        raise _unusable(file, f"{matched['id']} has no fail query")
    return GateCheck(
        id=matched["id"],
        sentence=matched["sentence"],
        code=str(attributes["code"]),
        entity=entity,
        severity=str(attributes["severity"]),
        why=str(attributes["why"]),
        query=query.strip().rstrip(";"),
        file=file.name,
    )


def _unusable(file: Path, why: str) -> ChecksUnusable:
    return ChecksUnusable(
        f"The checks in {file} cannot be used: {why}.",
        why="What is not checked cannot be a GO.",
        next="Correct the file, or install the program again.",
    )


def query_of(settings: Settings, check: GateCheck) -> str:
    """The query that names the rows that fail, in this installation's names."""
    return database.renamed(check.query, settings.rename)
