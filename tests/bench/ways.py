"""The transformation in several ways, one after the other over the same legacy data, compared row by row."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bench import content, limit, materialized, program, safety, script
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
    connection.execute("checkpoint")
    measured = {PROGRAM: program.run(connection, settings, run_id)}
    models = program.models(settings)
    connection.execute("checkpoint")
    measured[BARE] = limit.run(connection, settings, models)
    _refuse(BARE, content.differing(connection, models))
    figures: Figures = {}
    if "safety" in parts:
        figures["safety"] = safety.run(connection, run_id, {str(model["name"]): model for model in models})
        _refuse("safety", content.differing(connection, models, only=safety.TABLES))
    if "alternatives" in parts:
        connection.execute("checkpoint")
        measured[DBT] = materialized.run(connection, settings, run_id)
        _refuse(DBT, content.differing(connection, models))
        if script_too:
            connection.execute("checkpoint")
            measured[SCRIPT] = script.run(connection, settings, models)
            _refuse(SCRIPT, content.differing(connection, models, only=script.TABLES))
    return {"ways": {way: _figures(one) for way, one in measured.items()}, **figures}


def _figures(measured: Measured) -> Figures:
    return {"whole": measured.whole, "start": measured.start, "seconds": dict(measured.seconds)}


def _refuse(way: str, differing: Mapping[str, int]) -> None:
    if differing:
        told = ", ".join(f"{rows} rows of {name}" for name, rows in differing.items())
        raise RowsDiffer(f"{way} ends in other rows than the program: {told}")
