"""The rules of the migration once more, in Python, for the script that is compared; it must end in the same rows."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

Row = dict[str, Any]

_CLOSED = ("closed_won", "closed_lost")
_AGREEMENTS_IN_ORDER = ("active", "pending", "terminated")
_FALLBACK_PROBABILITY = 10
_LATEST = "9999-12-31"


@dataclass(frozen=True)
class Rules:
    """Everything that is looked up."""

    stages: Mapping[str, tuple[str, str, int]]
    fallback: tuple[str, str, int]
    activity_types: Mapping[str, tuple[str, str | None]]
    principals: Mapping[int, Decimal | None]
    distributors: Mapping[int, Decimal | None]
    principal_of_category: Mapping[str, int]
    agreed: Mapping[tuple[int, int], Decimal | None]
    founded: Mapping[int, Any]
    default_commission: Decimal

    @classmethod
    def read(cls, connection: Connection, settings: Settings) -> Rules:
        """From the mapping files and the companies."""

        def lines(name: str) -> list[dict[str, str | None]]:
            with (settings.seeds_dir / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                return [{key: value or None for key, value in line.items()} for line in csv.DictReader(file)]

        companies = database.rows(
            connection, "select id, name, website::text as website, created_at from public.companies"
        )
        known = _identified(companies)
        given: dict[str, dict[int, Decimal | None]] = {"principal": {}, "distributor": {}}
        for line in lines("company_roles"):
            company = _company(known, line["company_id"], line["company_name"], line["website_domain"])
            if company is not None and line["role"] in given:
                role = given[line["role"] or ""]
                role[company] = _highest(role.get(company), _number(line["commission_percent"]))
        categories: dict[str, int] = {}
        for line in lines("category_principals"):
            company = _company(known, line["principal_company_id"], line["principal_name"])
            if line["category"] and company in given["principal"]:
                key = _key(line["category"])
                categories[key] = min(categories.get(key, company), company)
        stages = {
            _key(line["legacy_stage"]): (line["stage"] or "", line["status"] or "", int(line["probability"] or 0))
            for line in lines("stage_mapping")
        }
        likely = [probability for stage, _, probability in stages.values() if stage == settings.fallback_stage]
        return cls(
            stages=stages,
            fallback=(settings.fallback_stage, "active", min(likely, default=_FALLBACK_PROBABILITY)),
            activity_types={
                _key(line["task_type"]): (line["activity_type"] or "", line["interaction_type"])
                for line in lines("activity_type_mapping")
                if line["task_type"]
            },
            principals=given["principal"],
            distributors=given["distributor"],
            principal_of_category=categories,
            agreed=_agreed(lines("principal_distributor_agreements"), known, given),
            founded={company["id"]: company["created_at"] for company in companies},
            default_commission=Decimal(str(settings.default_commission_percent)),
        )

    def opportunity(self, deal: Row) -> Row:
        """What a deal becomes."""
        stage, status, probability = self.stages.get(_key(deal["stage"]), self.fallback)
        customer = deal["company_id"]
        principal = None if deal["category"] is None else self.principal_of_category.get(_key(deal["category"]))
        if principal is None and customer in self.principals:
            principal = customer
        distributor = customer if customer in self.distributors else None
        return {
            "id": deal["id"],
            "name": deal["name"],
            "description": deal["description"],
            "category": deal["category"],
            "stage": stage,
            "legacy_stage": deal["stage"],
            "status": status,
            "probability": probability,
            "amount": deal["amount"],
            "estimated_close_date": deal["closing"],
            "actual_close_date": deal["touched_on"] if stage in _CLOSED else None,
            "customer_organization_id": customer,
            "principal_organization_id": principal,
            "distributor_organization_id": distributor,
            "contact_ids": deal["contact_ids"],
            "sales_id": deal["sales_id"],
            "index": deal["index"],
            "commission_percent": self._commission(principal, distributor),
            "created_at": deal["created_at"],
            "updated_at": deal["updated_at"],
            "archived_at": deal["archived_at"],
        }

    def _commission(self, principal: int | None, distributor: int | None) -> Decimal | None:
        offers = [
            self.agreed.get((principal, distributor)) if principal is not None and distributor is not None else None,
            None if distributor is None else self.distributors.get(distributor),
            None if principal is None else self.principals.get(principal),
            None if distributor is None else self.default_commission,
        ]
        return next((offer for offer in offers if offer is not None), None)

    def participant(self, number: int, deal: Row, organization: int, role: str) -> Row:
        """One organization of a deal in one role."""
        return {
            "id": number,
            "opportunity_id": deal["id"],
            "organization_id": organization,
            "role": role,
            "is_primary": True,
            "origin": "deal",
            "created_at": deal["created_at"],
            "updated_at": deal["created_at"],
        }

    def links(self, contact: Row, meetings: Sequence[Row]) -> Iterator[Row]:
        """The organizations of a contact, its employer's and those that it met in deals."""
        employer = contact["company_id"]
        found: dict[int, tuple[bool, str, Any]] = {}
        if employer is not None:
            seen = contact["first_seen"]
            found[employer] = (True, "employer", self.founded[employer] if seen is None else seen)
        others = [meeting for meeting in meetings if meeting["company_id"] != employer]
        first: dict[int, Any] = defaultdict(lambda: None)
        for meeting in others:
            before = first[meeting["company_id"]]
            first[meeting["company_id"]] = (
                meeting["created_at"] if before is None else min(before, meeting["created_at"])
            )
        latest = max(others, key=lambda meeting: (meeting["updated_at"], meeting["id"]), default=None)
        for company, since in first.items():
            is_primary = employer is None and latest is not None and latest["company_id"] == company
            found[company] = (is_primary, "deal", since)
        for company, (is_primary, origin, since) in sorted(found.items()):
            yield {
                "contact_id": contact["id"],
                "organization_id": company,
                "is_primary_organization": is_primary,
                "purchase_influence": "Unknown",
                "origin": origin,
                "created_at": since,
                "updated_at": since,
            }

    def activity(self, task: Row) -> Row:
        """What a task becomes."""
        kind, way = self.activity_types.get(_key(task["type"]), ("engagement", None))
        is_open = task["done"] is None
        created = next(
            moment
            for moment in (task["due"], task["done"], task["first_seen"], "1970-01-01 00:00:00+00")
            if moment is not None
        )
        return {
            "id": task["id"],
            "activity_type": kind,
            "interaction_type": way,
            "contact_id": task["contact_id"],
            "organization_id": task["company_id"],
            "legacy_task_id": task["id"],
            "description": task["text"],
            "activity_date": task["done"],
            "follow_up_required": is_open,
            "follow_up_date": task["due"] if is_open else None,
            "sales_id": task["sales_id"],
            "created_at": created,
            "updated_at": created,
        }


def _key(text: str | None) -> str:
    return (text or "").strip(" ").lower()


def _number(text: str | None) -> Decimal | None:
    return Decimal(text) if text else None


def _highest(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _identified(companies: Sequence[Row]) -> dict[tuple[str, str], int]:
    """What one company alone has: its number, its name, its domain."""
    owners: dict[tuple[str, str], list[int]] = defaultdict(list)
    for company in companies:
        owners["id", str(company["id"])].append(company["id"])
        owners["name", company["name"]].append(company["id"])
        domain = _domain(company["website"])
        if domain:
            owners["domain", domain].append(company["id"])
    return {key: found[0] for key, found in owners.items() if len(found) == 1}


def _company(
    known: Mapping[tuple[str, str], int], number: str | None, name: str | None, domain: str | None = None
) -> int | None:
    """The first that is filled identifies."""
    if number:
        return known.get(("id", number))
    return known.get(("name", name)) if name else known.get(("domain", _domain(domain)))


def _domain(website: str | None) -> str:
    text = re.sub(r"^([a-z][a-z0-9+.-]*:)?//", "", (website or "").strip(" \t\r\n").lower())
    return re.sub(r"^([^@]*@)?(www\.)?|[.]?(:[0-9]*)?$", "", re.sub(r"[/?#].*$", "", text))


def _agreed(
    lines: Sequence[Mapping[str, str | None]],
    known: Mapping[tuple[str, str], int],
    given: Mapping[str, Mapping[int, Any]],
) -> dict[tuple[int, int], Decimal | None]:
    """The commission of each pair's agreement in force; the latest start goes first, an open end before a past one."""
    pairs: dict[tuple[int, int], list[tuple[Any, ...]]] = defaultdict(list)
    for line in lines:
        principal = _company(known, line["principal_company_id"], line["principal_name"])
        distributor = _company(known, line["distributor_company_id"], line["distributor_name"])
        if principal is None or distributor is None or principal == distributor:
            continue
        if principal in given["principal"] and distributor in given["distributor"]:
            commission = _number(line["commission_percent"])
            rank = (
                -_AGREEMENTS_IN_ORDER.index(line["status"] or "active"),
                line["start_date"] or "",
                line["end_date"] or _LATEST,
                Decimal(-1000) if commission is None else -commission,
            )
            pairs[principal, distributor].append((rank, commission))
    return {pair: max(found, key=lambda agreement: agreement[0])[1] for pair, found in pairs.items()}
