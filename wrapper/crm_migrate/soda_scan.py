"""Soda, in this process: it asks each check, is told what the database answered, and says what it makes of it."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crm_migrate.redaction import redacted

# enough for Soda to see that there are some; all of them are fetched by nobody
ROWS = 100
# its logs and its way to connect are globals
_lock = threading.Lock()


@dataclass(frozen=True)
class Question:
    """One check as Soda is to see it: its entity, its whole name, and the query that names the rows that fail."""

    entity: str
    name: str
    query: str


# the first keys that a query named, `ROWS` at most, or the error that it ended with
Answer = Sequence[str] | Exception


def get_ready() -> None:
    """Import Soda, which takes a second or more: for whoever wants the first scan to be as quick as the others."""
    with _lock:
        _import_soda()


def scan(
    name: str, questions: Sequence[Question], answers: Mapping[str, Answer]
) -> tuple[list[dict[str, Any]], str, bool]:
    """Let Soda evaluate the questions.

    Args:
        answers: by the query of a question. Soda reads them as the rows of its own cursor; what it asks besides is an
            error.

    Returns:
        Soda's result of each check, what it said of errors, and whether there were any.
    """
    with _lock:
        scan_class, data_source = _import_soda()
        asked = scan_class()
        asked.set_data_source_name("crm")
        asked.set_scan_definition_name(name)
        # Soda never sees the connection string
        asked.add_configuration_yaml_str("data_source crm:\n  type: postgres\n  host: see crm-migrate\n")
        asked.add_sodacl_yaml_str(_text(questions), file_name=f"{name}.yml")
        by_text = {_limited(question.query): answers[question.query] for question in questions}

        def connect(self: Any) -> _Connection:
            made = self.connection = _Connection(by_text)
            return made

        original = data_source.connect
        data_source.connect = connect
        try:
            asked.execute()
        finally:
            data_source.connect = original
        results = asked.get_scan_results()
        failed = asked.has_error_logs()
        lines = [line for line in asked.get_error_logs_text().splitlines() if line.strip()] if failed else []
    return list(results["checks"]), redacted(" ".join(lines[:10])), bool(results["hasErrors"] or failed)


def _text(questions: Sequence[Question]) -> str:
    by_entity: dict[str, list[dict[str, Any]]] = {}
    for question in questions:
        check = {"name": question.name, "fail query": _limited(question.query)}
        by_entity.setdefault(f"checks for {question.entity}", []).append({"failed rows": check})
    # JSON is YAML, and has one way only to write a text
    return json.dumps(by_entity, indent=1)


def _limited(query: str) -> str:
    return f"select row_key from (\n{query}\n) as failing limit {ROWS}"


class _Connection:
    """What Soda takes for its connection."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    def cursor(self) -> _Cursor:
        return _Cursor(self._answers)

    def commit(self) -> None:
        """Nothing was begun."""

    rollback = close = commit


class _Cursor:
    """The rows that the database has answered with already."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers
        self._rows: Iterator[tuple[str]] = iter(())
        self.description: Sequence[tuple[str, str]] = ()

    def execute(self, query: str) -> None:
        if query not in self._answers:
            raise LookupError("Soda asked what no check asks.")
        answer = self._answers[query]
        if isinstance(answer, Exception):
            raise answer
        self._rows, self.description = ((key,) for key in answer), (("row_key", "text"),)

    def fetchone(self) -> tuple[str] | None:
        return next(self._rows, None)

    def fetchmany(self, size: int) -> list[tuple[str]]:
        return [row for row, _ in zip(self._rows, range(size), strict=False)]

    def fetchall(self) -> list[tuple[str]]:
        return list(self._rows)

    def close(self) -> None:
        """There is nothing to close."""


def _import_soda() -> tuple[Any, Any]:
    """Import Soda so that it neither calls out, nor writes into the home folder, nor reads somebody's `.env`."""
    if "soda.scan" not in sys.modules:
        with contextlib.suppress(ImportError):
            # its import provides distutils, which Python has no more since 3.12
            importlib.import_module("setuptools")
        from soda.common.config_helper import ConfigHelper

        with tempfile.TemporaryDirectory(prefix="crm-migrate-soda-") as folder:
            config = Path(folder) / "config.yml"
            config.write_text("send_anonymous_usage_stats: false\nuser_cookie_id: none\n", encoding="utf-8")
            ConfigHelper.get_instance(str(config))
            from soda.common import env_helper

            env_helper.load_dotenv = lambda *args, **kwargs: False
            importlib.import_module("soda.scan")
    from soda.data_sources.postgres_data_source import PostgresDataSource
    from soda.scan import Scan

    return Scan, PostgresDataSource
