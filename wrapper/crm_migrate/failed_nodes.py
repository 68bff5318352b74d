"""What dbt says of nodes that did not end well, as errors that name the model or the mapping file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crm_migrate import dbt_process
from crm_migrate.dbt_process import Failure, TransformFailed
from crm_migrate.errors import NoGo

_BAD = frozenset({"error", "fail", "runtime error", "partial success"})
_TESTS = frozenset({"test", "unit_test"})


class MappingRefused(TransformFailed, NoGo):
    """A mapping file does not load, or does not pass its tests."""

    code, exit_code = "CRM-212", NoGo.exit_code


class ChecksFailed(TransformFailed, NoGo):
    """What was built does not pass the models' own tests."""

    code, exit_code = "CRM-213", NoGo.exit_code


def refuse(results: Sequence[Any], what: str) -> None:
    """Raise when one of dbt's results is bad.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    bad = [item for item in results if str(item.status) in _BAD]
    if bad:
        raise error([failure(item.node, str(item.message or f"{item.failures} rows fail")) for item in bad], what)
    skipped = [item.node.name for item in results if str(item.status) == "skipped"]
    if skipped:
        raise TransformFailed(f"{what}: dbt skipped {', '.join(skipped)}.")


def error(failures: Sequence[Failure], what: str) -> TransformFailed:
    """The error for nodes that did not end well, the first of which decides what kind it is."""
    first = failures[0]
    more = f" And {len(failures) - 1} more." if len(failures) > 1 else ""
    why = f"{first}{more}"
    for stopped in [dbt_process.stopped_by(failure.message) for failure in failures]:
        if stopped is not None:
            return stopped(f"{what}.", failures, why=why, next="The same command goes on.")
    if first.kind == "seed" or (first.kind == "test" and first.seeds):
        files = ", ".join(first.seeds) or first.file
        return MappingRefused(
            f"The mapping file {files} cannot be used.", failures, why=why, next=f"Correct {files}, then try again."
        )
    if all(failure.kind in _TESTS for failure in failures):
        return ChecksFailed(f"{what}: a test of the models does not pass.", failures, why=why)
    return TransformFailed(f"{what} in {first.node}.", failures, why=why)


def failure(node: Any, message: str) -> Failure:
    """One node of dbt's that did not end well, and what was said about it."""
    parents = getattr(getattr(node, "depends_on", None), "nodes", None) or []
    kind = str(node.resource_type)
    seeds = [name.rsplit(".", 1)[-1] + ".csv" for name in parents if name.startswith("seed.")]
    # a test that compares a mapping with what was built is not the mapping's own
    only_seeds = kind == "test" and len(seeds) == len(parents)
    return Failure(
        node=node.name,
        kind=kind,
        message=dbt_process.readable(message),
        file=str(getattr(node, "original_file_path", "")),
        seeds=tuple(seeds) if only_seeds else (),
    )
