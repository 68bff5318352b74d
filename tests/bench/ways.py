"""The transformation in several ways, one after the other over the same legacy data, compared row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from bench import content, limit, materialized, program, progress, safety, script
from bench.figures import Figures
from bench.program import Measured
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

PROGRAM, BARE, DBT, SCRIPT = "program", "bare", "dbt", "script"


class RowsDiffer(AssertionError):
    """Two ways do not end in the same rows: there is nothing to compare."""


def run(
    connection: Connection, settings: Settings, run_id: str, parts: Collection[str], *, script_too: bool = True
) -> Figures:
    """One round. The program and the bare limit always; the others as the parts ask for them.

    Args:
        connection: to the legacy CRM.
        settings: of the program.
        run_id: name of the round.
        parts: `alternatives` and `safety` add ways.
        script_too: the script takes its time; a size may do without it.

    Raises:
        RowsDiffer: nothing was measured that can be compared.
    """
    measured: dict[str, Measured] = {}

    def measure(way: str, do: Callable[[], Measured], *, only: Sequence[str] = ()) -> None:
        connection.execute("checkpoint")
        began = time.perf_counter()
        measured[way] = do()
        progress.done(way, began)
        if way != PROGRAM:
            began = time.perf_counter()
            _refuse(way, content.differing(connection, program.models(settings), only=only))
            progress.done("the same rows", began)

    measure(PROGRAM, lambda: program.run(connection, settings, run_id))
    models = program.models(settings)
    measure(BARE, lambda: limit.run(connection, settings, models))
    figures: Figures = {}
    if "safety" in parts:
        began = time.perf_counter()
        figures["safety"] = safety.run(connection, run_id, {str(model["name"]): model for model in models})
        progress.done("safety", began)
        _refuse("safety", content.differing(connection, models, only=safety.TABLES))
    if "alternatives" in parts:
        measure(DBT, lambda: materialized.run(connection, settings, run_id))
        if script_too:
            measure(SCRIPT, lambda: script.run(connection, settings, models), only=script.TABLES)
    return {"ways": {way: _figures(one) for way, one in measured.items()}, **figures}


def _figures(measured: Measured) -> Figures:
    return {"whole": measured.whole, "start": measured.start, "seconds": dict(measured.seconds)}


def _refuse(way: str, differing: Mapping[str, int]) -> None:
    if differing:
        told = ", ".join(f"{rows} rows of {name}" for name, rows in differing.items())
        raise RowsDiffer(f"{way} ends in other rows than the program: {told}")
