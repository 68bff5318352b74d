"""The models' documentation with their lineage, as one page: made by dbt, kept where reports and web pages find it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import quote

from crm_migrate import dbt_process
from crm_migrate.settings import Settings

_FILE = "lineage.html"


def place(settings: Settings) -> Path:
    """Where it is kept, once it is written."""
    return settings.work_dir / _FILE


def write(settings: Settings, target: Path | None = None, *, schema: str = dbt_process.BUILD_SCHEMA) -> Path:
    """Write it anew.

    Args:
        target: another file than that of the work folder.

    Raises:
        TransformFailed: dbt cannot read the project, or not the catalog.
    """
    target = target or place(settings)
    with dbt_process.opened(settings, schema) as dbt:
        dbt.invoke("docs", "generate", "--static", "--write-json")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dbt.target / "static_index.html", target)
    return target


def link_from(settings: Settings, folder: Path) -> str | None:
    """The address of the kept page as seen from a folder; None while there is none."""
    kept = place(settings)
    return quote(Path(os.path.relpath(kept, folder.absolute())).as_posix()) if kept.exists() else None
