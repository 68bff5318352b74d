"""Which nodes of the dbt project the program's builds leave out, and why. An analyst's `dbt build` leaves out none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# of a node, for one build; selectors.yml names it
TAG = "left_out_by_the_program"
_VIEW = "view"


def mark(manifest: Any, *, moving: bool = False, within_run: bool = False) -> None:
    """Tag what the next build leaves out, and nothing else.

    Args:
        moving: people work meanwhile, so that two models may have read two states: the tests that compare them would
            fail for no fault of theirs.
        within_run: the same run has built mappings and staging and asked their tests, and it will ask the gates.
    """
    names = set(enforced_tests(manifest))
    if moving:
        names |= set(comparing_tests(manifest))
    if within_run:
        names |= set(source_nodes(manifest))
        names |= set(tests_of_the_gates(manifest))
    for key, node in manifest.nodes.items():
        tags = [tag for tag in node.tags if tag != TAG]
        node.tags = [*tags, TAG] if key in names else tags


def comparing_tests(manifest: Any) -> Iterator[str]:
    """The data tests that compare a table that was built with something read at another time."""
    kinds = {key: str(node.config.materialized) for key, node in manifest.nodes.items()}
    for key, node in _tests(manifest):
        parents = {parent: kinds.get(parent, _VIEW) for parent in node.depends_on.nodes if kinds.get(parent) != "seed"}
        if len(parents) > 1 and {*parents.values()} != {_VIEW}:
            yield key


def source_nodes(manifest: Any) -> Iterator[str]:
    """Seeds, staging models, and the tests that ask nothing else."""
    own = {
        key
        for key, node in manifest.nodes.items()
        if str(node.resource_type) == "seed"
        or (str(node.resource_type) == "model" and node.original_file_path.startswith("models/staging/"))
    }
    yield from own
    for key, node in _tests(manifest):
        if node.depends_on.nodes and own.issuperset(node.depends_on.nodes):
            yield key


def tests_of_the_gates(manifest: Any) -> dict[str, str]:
    """The data tests that say which check of the source or target gate asks the same, with its id."""
    return {key: str(node.config.meta["asked_by"]) for key, node in _tests(manifest) if "asked_by" in node.config.meta}


def enforced_tests(manifest: Any) -> Iterator[str]:
    """The data tests that PostgreSQL has answered already: the table that they ask could not have been built otherwise.

    `not_null` and `unique` of one column, where the contract of a batched table, or a unique index that dbt builds with
    a table, says the same. A test that asks for more than its column is asked.
    """
    for key, node in _tests(manifest):
        model = manifest.nodes.get(getattr(node, "attached_node", None) or "")
        asked = getattr(node, "test_metadata", None)
        if model is None or asked is None or asked.namespace or set(asked.kwargs) != {"column_name", "model"}:
            continue
        enforced = {"not_null": _filled, "unique": _unique}.get(asked.name)
        if enforced is not None and node.column_name in enforced(model):
            yield key


def _filled(model: Any) -> set[str]:
    return {name for kind, name in _constraints(model) if kind in ("not_null", "primary_key")}


def _unique(model: Any) -> set[str]:
    found = {name for kind, name in _constraints(model) if kind in ("unique", "primary_key")}
    if str(model.config.materialized) == "table":
        indexes = model.config.get("indexes") or []
        found |= {index["columns"][0] for index in indexes if index.get("unique") and len(index["columns"]) == 1}
    return found


def _constraints(model: Any) -> Iterator[tuple[str, str]]:
    """Kind and column of each constraint of one column that the model's table is made with."""
    if str(model.config.materialized) != "batched" or not model.config.contract.enforced:
        return
    for column in model.columns.values():
        for constraint in column.constraints:
            yield constraint.type.value, column.name
    for constraint in model.constraints:
        if len(constraint.columns) == 1:
            yield constraint.type.value, constraint.columns[0]


def _tests(manifest: Any) -> Iterator[tuple[str, Any]]:
    for key, node in manifest.nodes.items():
        if str(node.resource_type) == "test":
            yield key, node
