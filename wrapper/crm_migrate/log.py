"""The log: `migration.log` as JSON lines, readable by its owner only, without secrets."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

from crm_migrate.controls import written_out_in_json
from crm_migrate.errors import ConfigurationError
from crm_migrate.redaction import redacted_data
from crm_migrate.settings import Settings

logger = logging.getLogger("crm_migrate")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "data", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        # before it becomes JSON, which writes quotes and backslashes otherwise
        return written_out_in_json(json.dumps(redacted_data(entry), ensure_ascii=False))


class _PrivateFile(logging.FileHandler):
    def _open(self):  # type: ignore[no-untyped-def]  # TextIOWrapper, as the parent says
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the parent's name
        """A full disk under the log must not stop a migration."""


def open_log(settings: Settings, command: str) -> None:
    """Send the program's events to the log file from here on.

    Raises:
        ConfigurationError: the file cannot be opened.
    """
    path: Path = settings.log_file
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = _PrivateFile(path)
    except OSError as error:
        raise ConfigurationError(
            f"The log file {path} cannot be written.", why=error.strerror or "", next="Set log_file or work_dir."
        ) from error
    handler.setFormatter(_JsonLines())
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    event("command", command=command, settings=settings.public())


def event(name: str, **data: object) -> None:
    """Write one event with its data."""
    logger.info(name, extra={"data": data})
