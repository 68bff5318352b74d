"""All files of the kit, and the folder that they go to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from crm_migrate import database, ledger
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, UsageError, WrongState
from crm_migrate.kit import catalog as catalogs
from crm_migrate.kit import fixtures, labels, redirects, resources, showcase, types
from crm_migrate.kit.fixtures import Part
from crm_migrate.kit.redirects import Status
from crm_migrate.kit.templates import render
from crm_migrate.reports import plain
from crm_migrate.settings import Settings
from crm_migrate.story_place import Place

_MARK = "kit.json"
_SCRIPTS = {
    "migrate:check": "crm-migrate dry-run --report dry-run.html",
    # asks for the database's name before anything is changed
    "migrate:production": "crm-migrate dry-run && crm-migrate apply",
    "migrate:status": "crm-migrate status",
    "migrate:rollback": "crm-migrate rollback",
    "migrate:kit": "crm-migrate kit --out kit",
}


@dataclass(frozen=True)
class KitReport:
    """What was written where, and which redirects it holds."""

    run_id: str | None
    folder: Path
    files: Mapping[str, int]
    redirect_status: int
    switch_at: datetime | None
    sentence: str
    masked: bool

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


def write(connection: Connection, settings: Settings, folder: Path, part: Part) -> KitReport:
    """Generate everything from one state of the migrated database, and write it.

    Args:
        folder: made when it is missing; emptied of nothing, but files of an earlier kit are replaced.

    Raises:
        WrongState: the database is not migrated, or not any more.
        UsageError: the folder holds something that is not a kit, or cannot be written.
    """
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        if not Place(connection, settings).is_migrated:
            raise WrongState(
                "The database is not migrated: there is no new shape to write about.",
                next="crm-migrate status; the kit is made after crm-migrate apply",
            )
        run = ledger.latest(connection, "apply", states=("completed",))
        now = database.scalar(connection, "select clock_timestamp()")
        state = redirects.status(now, run.rollback_until if run else None)
        contents = _contents(connection, settings, part, state)
    _write(folder, contents)
    return KitReport(
        run_id=run.run_id if run else None,
        folder=folder.absolute(),
        files={name: len(text.encode()) for name, text in contents.items()},
        redirect_status=state.code,
        switch_at=None if state.permanent else state.switch_at,
        sentence=state.sentence,
        masked=not part.real_data,
    )


def _contents(connection: Connection, settings: Settings, part: Part, state: Status) -> dict[str, str]:
    catalog = catalogs.read(connection, settings)
    contents = {
        "types.ts": types.render(catalog),
        **redirects.files(state),
        "resources.json": _json(resources.document(catalog)),
        "labels.json": _json(labels.document(catalog)),
        "package.json": _json({"scripts": _SCRIPTS}),
        "banner.ts": render("banner.ts.j2"),
        "fixtures/subset.json": _json(fixtures.subset(connection, catalog, part)),
        "fixtures/showcase.json": _json(showcase.showcase(catalog)),
    }
    contents["README.md"] = render("readme.md.j2", state=state, masked=not part.real_data)
    contents[_MARK] = _json({"made_by": "crm-migrate kit", "redirect_status": state.code, "files": sorted(contents)})
    return contents


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _write(folder: Path, contents: Mapping[str, str]) -> None:
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
            raise UsageError(
                f"The folder {folder} holds something that is not a kit.", next="crm-migrate kit --out another folder"
            )
        for name, text in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"The kit cannot be written to {folder}.", why=error.strerror or str(error), next="--out another folder"
        ) from error
