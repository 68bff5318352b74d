"""What the models say about themselves: the descriptions beside each model, as dbt reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from crm_migrate import paths

_MODELS = paths.DBT_PROJECT / "models"
_BLOCK = re.compile(r"\{% docs (\w+) %\}\s*(.*?)\s*\{% enddocs %\}", re.DOTALL)
_REFERENCE = re.compile(r"\{\{\s*doc\('(\w+)'\)\s*\}\}")


def of_model(model: str) -> str:
    """The description of a model, on one line."""
    return _text(_model(model).get("description", ""))


def of_column(model: str, column: str) -> str:
    """The description of a column of a model, on one line; empty where the model has no such column."""
    columns = {item["name"]: item for item in _model(model).get("columns", ())}
    return _text(columns.get(column, {}).get("description", ""))


def legacy_names(model: str) -> Mapping[str, str]:
    """Which legacy column each column of a model comes from, where the names differ."""
    carried = _model(model).get("config", {}).get("carry_from", {})
    return dict(carried.get("legacy_names", {}))


def _text(description: str) -> str:
    whole = _REFERENCE.sub(lambda found: _blocks()[found.group(1)], description)
    return " ".join(whole.split())


@cache
def _model(name: str) -> Mapping[str, Any]:
    (file,) = _MODELS.rglob(f"{name}.yml")
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    return next(item for item in document["models"] if item["name"] == name)


@cache
def _blocks() -> Mapping[str, str]:
    return {
        name: text
        for file in sorted(_MODELS.rglob("*.md"))
        for name, text in _BLOCK.findall(file.read_text(encoding="utf-8"))
    }
