"""The models as dbt compiles them for this database: their queries, and what each of them is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crm_migrate import dbt_process
from crm_migrate.settings import Settings

_KEPT = ("table", "batched")


@dataclass(frozen=True)
class Model:
    """A model that is kept as a table.

    Attributes:
        kind: `table`, or `batched` when the ledger has its rows.
        stage: `stage_1` or `stage_1_5`, the part of the build that makes it.
        query: its compiled SQL.
        text: fingerprint of its SQL, and of that of the views in it, as the analyst wrote them.
        models: the kept models that it reads, also through views.
        sources: the legacy tables that it reads, also through views.
        key: the columns that tell its rows apart, as far as dbt knows.
    """

    name: str
    kind: str
    stage: str
    query: str
    text: str
    models: frozenset[str]
    sources: frozenset[str]
    key: tuple[str, ...]


def read(settings: Settings, *, schema: str = dbt_process.BUILD_SCHEMA) -> tuple[Model, ...]:
    """Every kept model, parents first.

    Raises:
        TransformFailed: the project does not compile.
    """
    with dbt_process.opened(settings, schema) as dbt:
        results = dbt.run("compile", "--select", "resource_type:model")
        nodes: Mapping[str, Any] = {**dbt.manifest.nodes, **dbt.manifest.sources}
        queries = {item.node.unique_id: str(item.node.compiled_code) for item in results}
    wanted = {key: node for key, node in nodes.items() if key in queries and _kind(node) in _KEPT}
    found = {key: _model(node, queries[key], nodes) for key, node in wanted.items()}
    return tuple(_parents_first({model.name: model for model in found.values()}))


def sources(settings: Settings, *, schema: str = dbt_process.BUILD_SCHEMA) -> list[str]:
    """The legacy tables that have a part in any kept model, in either spelling."""
    with dbt_process.opened(settings, schema) as dbt:
        nodes: Mapping[str, Any] = {**dbt.manifest.nodes, **dbt.manifest.sources}
        kept = [node for node in nodes.values() if str(node.resource_type) == "model" and _kind(node) in _KEPT]
        return sorted({source for node in kept for source in _model(node, "", nodes).sources})


def _kind(node: Any) -> str:
    return str(getattr(getattr(node, "config", None), "materialized", ""))


def _model(node: Any, query: str, nodes: Mapping[str, Any]) -> Model:
    models: set[str] = set()
    sources: set[str] = set()
    texts = [str(node.raw_code)]
    seen: set[str] = set()
    waiting = list(node.depends_on.nodes)
    while waiting:
        key = waiting.pop()
        if key in seen or key not in nodes:
            continue
        seen.add(key)
        parent = nodes[key]
        if str(parent.resource_type) == "source":
            sources.add(str(parent.identifier))
        elif _kind(parent) in _KEPT:
            models.add(str(parent.name))
        elif str(parent.resource_type) == "model":
            texts.append(str(parent.raw_code))
            waiting += parent.depends_on.nodes
    text = hashlib.sha256("\0".join([texts[0], *sorted(texts[1:])]).encode()).hexdigest()[:16]
    return Model(
        name=str(node.name),
        kind=_kind(node),
        stage="stage_1_5" if "stage_1_5" in node.fqn else "stage_1",
        query=query,
        text=text,
        models=frozenset(models),
        sources=frozenset(sources),
        key=_key(node),
    )


def _key(node: Any) -> tuple[str, ...]:
    own = node.config.get("unique_key")
    if own:
        return (own,) if isinstance(own, str) else tuple(own)
    unique = [index["columns"] for index in node.config.get("indexes") or [] if index.get("unique")]
    return tuple(unique[0]) if unique else ()


def _parents_first(models: Mapping[str, Model]) -> list[Model]:
    ordered: list[Model] = []
    done: set[str] = set()
    while len(ordered) < len(models):
        free = [model for name, model in sorted(models.items()) if name not in done and model.models <= done]
        ordered += free
        done |= {model.name for model in free}
    return ordered
