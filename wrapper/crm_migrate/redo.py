"""Bringing a build that was kept up to date: only what the changed legacy rows have a part in is made anew.

Each model has a rule in `sql/redo`: made anew as a whole and compared, or only the rows that a query names. A query is
right for one text of its model; when an analyst has changed the model since, all of its rows are made anew.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from crm_migrate import database, fault_points, parallel, paths
from crm_migrate.compiled import Model
from crm_migrate.database import Connection
from crm_migrate.dbt_process import BUILD_SCHEMA
from crm_migrate.settings import Settings
from crm_migrate.turns import Turns

FOLDER = paths.SQL / "redo"
LEDGER = "crm_migration"
_HEAD = re.compile(r"-- (whole|by|numbers|names|holds for): (.+)")
# what the macro batch_filter leaves in a compiled query
_MARK = re.compile(r"\(true /\* range of the batch: (.*?) \*/\)")


@dataclass(frozen=True)
class Rule:
    """How a model is brought up to date.

    Attributes:
        whole: columns by which all rows are compared; else only rows are made anew.
        by: the column whose values `stale` gives.
        numbers: a column that numbers the rows.
        names: what makes two rows the same although they may be numbered differently.
        holds_for: the text of the model that `stale` was written for.
        stale: a query that gives `key`; {name} is what changed of a legacy table, or was redone of a model.
    """

    whole: tuple[str, ...] = ()
    by: str = ""
    numbers: str | None = None
    names: tuple[str, ...] = ()
    holds_for: str = ""
    stale: str = ""


def read_rule(model: str, folder: Path = FOLDER) -> Rule | None:
    """The rule of a model; None where there is none."""
    path = folder / f"{model}.sql"
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    head = {name: value.strip() for name, value in _HEAD.findall(text)}
    return Rule(
        whole=_listed(head.get("whole", "")),
        by=head.get("by", ""),
        numbers=head.get("numbers"),
        names=_listed(head.get("names", "")),
        holds_for=head.get("holds for", ""),
        stale="\n".join(line for line in text.splitlines() if not line.startswith("--")).strip(),
    )


def rule_for(model: Model, folder: Path = FOLDER) -> Rule | None:
    """The rule that is right for the model as it is now: its own, or all of it; None where neither is possible."""
    own = read_rule(model.name, folder)
    if own is not None and (own.whole or own.holds_for == model.text):
        return own
    return Rule(whole=model.key) if model.key else None


def impossible(models: Sequence[Model], folder: Path = FOLDER) -> list[str]:
    """The models that cannot be brought up to date: without a rule and without a key."""
    return [model.name for model in models if rule_for(model, folder) is None]


def sources(models: Sequence[Model]) -> list[str]:
    """The legacy tables that have a part in any model."""
    return sorted({source for model in models for source in model.sources})


def run(
    settings: Settings,
    run_id: str,
    models: Sequence[Model],
    changes: Mapping[str, str],
    *,
    stage: str,
) -> dict[str, float]:
    """Bring the models of a stage up to date, each in one transaction, two at a time, the longest chain first.

    Args:
        models: all of them, parents first; those of earlier stages are up to date.
        changes: by legacy table, the table that has the keys of its changed rows.

    Returns:
        Seconds by model.
    """
    asked = {model.name: model for model in models if model.stage == stage}
    turns = Turns({name: model.models for name, model in asked.items()})

    def one(connection: Connection) -> tuple[str, float]:
        with turns.take() as name:
            return name, redo(connection, run_id, asked[name], changes)

    return dict(
        parallel.run(
            settings,
            [one] * len(asked),
            session={"search_path": f"{BUILD_SCHEMA}, public, extensions"},
            application="crm-migrate redo",
        )
    )


def redo(connection: Connection, run_id: str, model: Model, changes: Mapping[str, str]) -> float:
    """Bring one model up to date, unless that was done; returns the seconds that it took."""
    rule = rule_for(model)
    if rule is None:
        raise ValueError(f"{model.name} has neither a rule nor a key")
    began = time.monotonic()
    with connection.transaction():
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"crm-migrate redo {run_id}/{model.name}"]
        )
        if database.exists(connection, _redone(model.name)):
            return 0.0
        connection.execute(_statement(connection, run_id, model, rule, changes))
        fault_points.reached(f"redo {model.name}")
    return time.monotonic() - began


def _statement(
    connection: Connection, run_id: str, model: Model, rule: Rule, changes: Mapping[str, str]
) -> sql.Composed:
    places = {name: sql.SQL(changes[name]) for name in sorted(model.sources) if name in changes}
    places |= {name: sql.SQL(_redone(name)) for name in sorted(model.models)}
    present = sql.Identifier(BUILD_SCHEMA, model.name)
    ledger = sql.Identifier(LEDGER)
    unknown = [name for name in sorted(model.sources) if name not in changes and _is_legacy(connection, name)]
    if not unknown and not any(_has_rows(connection, place) for place in places.values()):
        return sql.SQL("create table {} as select * from {} limit 0").format(sql.SQL(_redone(model.name)), present)
    if model.kind == "batched":
        stale = _stale(rule, places) if rule.stale else _every_key(connection, run_id, model)
        return sql.SQL("select {}.redo_keys({}, {}, {})").format(
            ledger, run_id, model.name, stale.as_string(connection)
        )
    if rule.whole:
        return sql.SQL("select {}.redo_whole({}, {}, {}, {})").format(
            ledger, BUILD_SCHEMA, model.name, list(rule.whole), model.query
        )
    return sql.SQL("select {}.redo_rows({}, {}, {}, {}, {}, {}, {})").format(
        ledger,
        BUILD_SCHEMA,
        model.name,
        rule.by,
        _stale(rule, places).as_string(connection),
        restricted(model.query, rule.by),
        rule.numbers,
        list(rule.names),
    )


def restricted(query: str, by: str) -> str:
    """The query for the keys of the array $1 only: where the model marks the place, else from outside."""
    if _MARK.search(query):
        return _MARK.sub(r"(\1 = any ($1))", query)
    column = sql.Identifier(by).as_string(None)
    return f"select * from (\n{query}\n) as unfiltered where unfiltered.{column} = any ($1)"


def _stale(rule: Rule, places: Mapping[str, sql.SQL]) -> sql.Composed:
    return sql.SQL(rule.stale).format(**places)


def _every_key(connection: Connection, run_id: str, model: Model) -> sql.Composed:
    source, key = connection.execute(
        "select source_relation, source_key from crm_migration.model_loads where run_id = %s and model = %s",
        [run_id, model.name],
    ).fetchone() or ("", "")
    return sql.SQL("select {} as key from {} union all select {} from {}").format(
        sql.Identifier(key),
        sql.SQL(source),
        sql.Identifier(*model.key),
        sql.Identifier(BUILD_SCHEMA, model.name),
    )


def _has_rows(connection: Connection, place: sql.SQL) -> bool:
    return bool(database.scalar(connection, sql.SQL("select exists (select from {})").format(place)))


def _is_legacy(connection: Connection, table: str) -> bool:
    return database.exists(connection, sql.Identifier("public", table).as_string(None))


def _redone(model: str) -> str:
    return sql.Identifier(BUILD_SCHEMA, f"redone__{model}").as_string(None)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
