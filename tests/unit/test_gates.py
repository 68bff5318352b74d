"""The files of the gates: complete, and refused when they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from crm_migrate import findings, gate_checks
from crm_migrate.errors import Exit, UsageError

GATES: tuple[gate_checks.Gate, ...] = ("source", "target", "published")
GOOD: dict[str, Any] = {
    "name": "SRC-DEALS-001 something is so",
    "attributes": {"code": "deals.odd", "entity": "deals", "severity": "warning", "why": "it matters"},
    "fail query": "select '1' as row_key",
}
WANTED = {
    "warning": {
        "deals.unmapped_stage",
        "deals.dangling_contact",
        "deals.duplicate_contact",
        "deals.null_contact",
        "deals.dates_out_of_order",
        "deals.close_date_far_away",
        "deals.negative_amount",
        "deals.blank_name",
        "companies.blank_name",
        "contacts.blank_name",
        "contacts.unreadable_email",
        "tasks.dangling_sales",
        "tasks.unmapped_type",
    },
    "info": {
        "deals.without_company",
        "deals.without_contact",
        "companies.duplicate_name",
        "companies.without_contact",
        "contacts.without_company",
        "contacts.primary_from_deal",
        "notes.without_text",
    },
    "blocker": {"deals.round_trip", "deals.fate"},
}


def write(folder: Path, *checks: Any, entity: str = "deals", text: str | None = None) -> Path:
    target = folder / "source" / f"{entity}.yml"
    target.parent.mkdir(parents=True, exist_ok=True)
    document = {f"checks for {entity}": [{"failed rows": check} for check in checks]}
    target.write_text(yaml.safe_dump(document) if text is None else text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_has_checks_of_every_entity(gate: gate_checks.Gate) -> None:
    assert {check.entity for check in gate_checks.read(gate)} == set(gate_checks.ENTITIES)


def test_ids_and_codes_are_unique_over_all_gates() -> None:
    checks = [check for gate in GATES for check in gate_checks.read(gate)]
    assert len({check.id for check in checks}) == len(checks)


@pytest.mark.parametrize("severity", sorted(WANTED))
def test_the_codes_that_the_documentation_names_exist(severity: str) -> None:
    known = {check.code for gate in GATES for check in gate_checks.read(gate) if check.severity == severity}
    assert WANTED[severity] <= known


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ({**GOOD, "name": "deals are fine"}, "is not like 'SRC-DEALS-001"),
        ({**GOOD, "name": "TGT-DEALS-001 another gate"}, "is not like 'SRC-DEALS-001"),
        ({**GOOD, "attributes": {**GOOD["attributes"], "why": ""}}, "has no why"),
        ({key: value for key, value in GOOD.items() if key != "attributes"}, "has no attributes"),
        ({**GOOD, "attributes": {**GOOD["attributes"], "severity": "bad"}}, "unknown severity"),
        ({**GOOD, "attributes": {**GOOD["attributes"], "entity": "tasks"}}, "another entity"),
        ({**GOOD, "attributes": {**GOOD["attributes"], "code": "tasks.odd"}}, "which is not like 'deals.word'"),
        ({key: value for key, value in GOOD.items() if key != "fail query"}, "has no fail query"),
        ({**GOOD, "warn": "when > 3"}, "a key that is not known"),
        ("row_count > 0", "only 'failed rows'"),
    ],
)
def test_a_check_that_is_not_complete_is_refused(tmp_path: Path, check: Any, says: str) -> None:
    with pytest.raises(gate_checks.ChecksUnusable, match="cannot be used") as refused:
        gate_checks.read("source", write(tmp_path, check))
    assert says in refused.value.what
    assert refused.value.exit_code == Exit.NO_GO


@pytest.mark.parametrize("text", ["", "{}", "checks for deals: []", "checks for deals:", "[1", "checks for pets: [1]"])
def test_a_file_without_checks_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(gate_checks.ChecksUnusable):
        gate_checks.read("source", write(tmp_path, text=text))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(gate_checks.ChecksUnusable, match="no file"):
        gate_checks.read("source", tmp_path)


@pytest.mark.parametrize("part", ["id", "code"])
def test_an_id_or_a_code_twice_is_refused(tmp_path: Path, part: str) -> None:
    other = {**GOOD, "name": "SRC-DEALS-002 something else"}
    if part == "id":
        other = {**GOOD, "attributes": {**GOOD["attributes"], "code": "deals.other"}}
    with pytest.raises(gate_checks.ChecksUnusable, match=f"the {part} .* more than once"):
        gate_checks.read("source", write(tmp_path, GOOD, other))


@pytest.mark.parametrize(
    "accepted", [{"deals.nonsense": "why not"}, {"deals.round_trip": "no"}, {"deals.without_company": "info"}]
)
def test_only_warnings_can_be_accepted(accepted: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="not the code of a warning"):
        findings.require_warnings(accepted)


def test_a_warning_is_accepted_with_a_reason_only() -> None:
    findings.require_warnings({"deals.blank_name": "they are templates"})
    with pytest.raises(UsageError, match="without a reason"):
        findings.require_warnings({"deals.blank_name": "  "})
