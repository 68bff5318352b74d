"""A made-up B2B trade with principals and distributors, in the shape of this installation, for the demo provider."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from crm_migrate.kit.catalog import Catalog, Column, Relation
from crm_migrate.kit.fixtures import WHOLE, Fixtures, Row

_START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_PRINCIPALS = ("Torrefazione Aurora", "Alpine Dairy Union", "Harvest Grain Mills")
_DISTRIBUTORS = ("Northern Food Service", "Lakeside Wholesale", "Old Harbour Trading", "Valley Gastro Supply")
_CUSTOMERS = (
    *("Hotel Bellevue", "Bistro Linden", "Campus Kitchens", "Riverside Spa", "Museum Café", "Station Bakery"),
    *("Mountain Lodge", "City Hospital"),
)
_PEOPLE = (
    *("Ada Berg", "Ben Costa", "Carla Dahl", "Dario Egli", "Elif Frei", "Finn Gallo", "Greta Huber", "Hugo Imhof"),
    *("Ines Jansen", "Jonas Keller", "Kira Lang", "Luca Meier", "Mila Nagy", "Noah Olsen", "Olga Pires", "Paul Quist"),
)
_GOODS = ("Espresso range", "Aged cheese", "Rye flour", "Summer menu", "Breakfast line", "Gift boxes")
_STAGES = (
    *(("lead", 10), ("qualified", 25), ("needs_analysis", 40), ("proposal", 60), ("negotiation", 80)),
    *(("closed_won", 100), ("closed_lost", 0), ("nurturing", 15)),
)
_INTERACTIONS = ("call", "email", "meeting", "demo", "site_visit", "trade_show")


def showcase(catalog: Catalog) -> Fixtures:
    """The rows by resource, the same every time; each has every column of its table."""
    companies, contacts = _companies(), _contacts()
    opportunities = _opportunities()
    made: dict[str, list[Row]] = {
        "sales": _sales(),
        "tags": [
            {"id": 1, "name": "key account", "color": "#eddcd2"},
            {"id": 2, "name": "trade fair", "color": "#d8e2dc"},
        ],
        "companies": companies,
        "contacts": contacts,
        "opportunities": opportunities,
        "opportunity_participants": _numbered(_participants(opportunities)),
        "products": _numbered(_products()),
        "opportunity_products": _numbered(_lines(opportunities)),
        "opportunity_notes": _numbered(_notes(opportunities, "opportunity_id")),
        "contact_organizations": _numbered(_links(contacts)),
        "contact_preferred_principals": _numbered(_preferred()),
        "contact_notes": _numbered(_notes(contacts, "contact_id")),
        "tasks": _numbered(_tasks(contacts)),
        "activities": _numbered(_activities(opportunities, contacts)),
        "principal_distributor_relationships": _numbered(_relationships()),
    }
    made["interaction_participants"] = _numbered(_attendees(made["activities"]))
    found: Fixtures = {}
    for name in WHOLE:
        older = {"contact_notes": "contactNotes"}.get(name, name)
        relation = catalog.relations.get(catalog.name(name)) or catalog.relations.get(older)
        if relation is not None:
            found[relation.name] = [_whole(row, relation) for row in made[name]]
    return found


def _whole(row: Row, relation: Relation) -> Row:
    return {column.name: row.get(column.name, _empty(column)) for column in relation.columns}


def _empty(column: Column) -> Any:
    """What a column of the installation holds that the showcase knows nothing of."""
    if not column.not_null:
        return None
    if column.is_array:
        return []
    if column.element in ("json", "jsonb"):
        return {}
    if column.element == "bool":
        return False
    if column.element.startswith(("int", "float", "numeric")):
        return 0
    return _at(0) if column.element.startswith(("timestamp", "date")) else ""


def _at(days: int) -> str:
    return (_START + timedelta(days=days)).isoformat()


def _day(days: int) -> str:
    return (_START + timedelta(days=days)).date().isoformat()


def _numbered(rows: Iterator[Row]) -> list[Row]:
    """Rows that the migration's tables count and date themselves."""
    common = {"created_at": _at(0), "updated_at": _at(0)}
    return [{"id": number, **common, **row} for number, row in enumerate(rows, start=1)]


def _sales() -> list[Row]:
    return [
        {
            "id": number,
            "first_name": name.split()[0],
            "last_name": name.split()[1],
            "email": f"{name.split()[0].lower()}@example.com",
            "administrator": number == 1,
            "user_id": f"00000000-0000-4000-8000-{number:012d}",
            "disabled": False,
        }
        for number, name in enumerate(("Sara Amin", "Tom Brandt"), start=1)
    ]


def _companies() -> list[Row]:
    kinds = [
        *((name, "principal") for name in _PRINCIPALS),
        *((name, "distributor") for name in _DISTRIBUTORS),
        *((name, "customer") for name in _CUSTOMERS),
    ]
    return [
        {
            "id": number,
            "created_at": _at(number),
            "name": name,
            "sector": "food",
            "size": 50,
            "website": f"https://company{number}.example.com",
            "city": "Springfield",
            "sales_id": 1 + number % 2,
            "organization_type": kind,
            "is_principal": kind == "principal",
            "is_distributor": kind == "distributor",
            "priority": "ABCD"[number % 4],
        }
        for number, (name, kind) in enumerate(kinds, start=1)
    ]


def _principal(number: int) -> int:
    return 1 + number % len(_PRINCIPALS)


def _distributor(number: int) -> int:
    return 1 + len(_PRINCIPALS) + number % len(_DISTRIBUTORS)


def _customer(number: int) -> int:
    return 1 + len(_PRINCIPALS) + len(_DISTRIBUTORS) + number % len(_CUSTOMERS)


def _contacts() -> list[Row]:
    return [
        {
            "id": number,
            "first_name": name.split()[0],
            "last_name": name.split()[1],
            "title": "Buyer",
            "company_id": _customer(number),
            "email_jsonb": [{"email": f"person{number}@example.com", "type": "Work"}],
            "phone_jsonb": [],
            "status": "warm",
            "tags": [1 + number % 2],
            "has_newsletter": number % 2 == 0,
            "first_seen": _at(number),
            "last_seen": _at(number + 30),
            "sales_id": 1 + number % 2,
            "purchase_influence": "High" if number % 3 == 0 else "Unknown",
        }
        for number, name in enumerate(_PEOPLE, start=1)
    ]


def _opportunities() -> list[Row]:
    rows = []
    for number in range(1, 25):
        stage, probability = _STAGES[number % len(_STAGES)]
        # some are sold directly
        distributor = _distributor(number) if number % 3 else None
        percent = 8.0 + number % 5 if distributor else None
        amount = 5000 + number * 1250
        rows.append(
            {
                "id": number,
                "name": f"{_GOODS[number % len(_GOODS)]} for {_CUSTOMERS[number % len(_CUSTOMERS)]}",
                "category": "food",
                "stage": stage,
                "status": "nurturing" if stage == "nurturing" else "active",
                "priority": "medium",
                "probability": probability,
                "amount": amount,
                "estimated_close_date": _day(60 + number),
                "actual_close_date": _day(40 + number) if stage.startswith("closed") else None,
                "customer_organization_id": _customer(number),
                "principal_organization_id": _principal(number),
                "distributor_organization_id": distributor,
                "contact_ids": [1 + number % len(_PEOPLE)],
                "sales_id": 1 + number % 2,
                "index": number,
                "commission_percent": percent,
                "commission_amount": None if percent is None else amount * percent / 100,
                "stage_manual": False,
                "status_manual": False,
                "created_at": _at(number),
                "updated_at": _at(number + 40),
            }
        )
    return rows


def _participants(opportunities: list[Row]) -> Iterator[Row]:
    for row in opportunities:
        for role in ("customer", "principal", "distributor"):
            if row[f"{role}_organization_id"] is not None:
                yield {
                    "opportunity_id": row["id"],
                    "organization_id": row[f"{role}_organization_id"],
                    "role": role,
                    "is_primary": True,
                    "origin": "manual",
                }


def _products() -> Iterator[Row]:
    for number, name in enumerate(_GOODS):
        yield {
            "principal_organization_id": _principal(number),
            "name": name,
            "sku": f"SKU-{number + 1:03d}",
            "category": "food",
            "unit_price": 20.0 + number,
            "is_active": True,
        }


def _lines(opportunities: list[Row]) -> Iterator[Row]:
    for row in opportunities[::2]:
        # the second product of a principal is three further on
        product = 1 + (row["principal_organization_id"] - 1) % len(_GOODS)
        price, discount = 19.0 + product, 5.0
        yield {
            "opportunity_id": row["id"],
            "product_id": product,
            "product_name": _GOODS[product - 1],
            "quantity": 10.0,
            "unit_price": price,
            "discount_percent": discount,
            "extended_price": 10 * price,
            "final_price": 10 * price * (1 - discount / 100),
        }


def _notes(rows: list[Row], column: str) -> Iterator[Row]:
    for row in rows[::3]:
        yield {
            column: row["id"],
            "text": "Asked for samples.",
            "date": _at(row["id"] + 5),
            "sales_id": 1,
            "status": "warm",
        }


def _links(contacts: list[Row]) -> Iterator[Row]:
    for row in contacts:
        yield {**_link(row["id"], row["company_id"]), "is_primary_organization": True, "origin": "employer"}
        if row["id"] % 4 == 0:
            yield {**_link(row["id"], _distributor(row["id"])), "origin": "manual", "role": "influencer"}


def _link(contact: int, organization: int) -> Row:
    return {
        "contact_id": contact,
        "organization_id": organization,
        "is_primary_organization": False,
        "is_primary_contact": False,
        "is_primary_decision_maker": False,
        "purchase_influence": "Unknown",
    }


def _preferred() -> Iterator[Row]:
    for contact in (3, 6, 9):
        yield {"contact_id": contact, "principal_organization_id": _principal(contact), "advocacy_strength": contact}


def _tasks(contacts: list[Row]) -> Iterator[Row]:
    for row in contacts[::4]:
        due = row["id"] + 20
        yield {
            "contact_id": row["id"],
            "type": "call",
            "text": "Call back",
            "due_date": _at(due),
            "sales_id": row["sales_id"],
        }


def _activities(opportunities: list[Row], contacts: list[Row]) -> Iterator[Row]:
    for row in opportunities:
        yield {
            "activity_type": "interaction",
            "interaction_type": _INTERACTIONS[row["id"] % len(_INTERACTIONS)],
            "opportunity_id": row["id"],
            "contact_id": row["contact_ids"][0],
            "organization_id": row["customer_organization_id"],
            "subject": f"About {row['name']}",
            "activity_date": _at(row["id"] + 10),
            "follow_up_required": False,
            "sales_id": row["sales_id"],
        }
    for task, row in enumerate(contacts[::4], start=1):
        yield {
            "activity_type": "engagement",
            "interaction_type": "call",
            "contact_id": row["id"],
            "organization_id": row["company_id"],
            "legacy_task_id": task,
            "description": "Call back",
            "follow_up_required": True,
            "follow_up_date": _at(row["id"] + 20),
            "sales_id": row["sales_id"],
        }


def _attendees(activities: list[Row]) -> Iterator[Row]:
    for row in activities[:6]:
        yield {"activity_id": row["id"], "contact_id": row["contact_id"], "role": "host"}


def _relationships() -> Iterator[Row]:
    pairs = sorted({(_principal(number), _distributor(number)) for number in range(1, 25) if number % 3})
    for number, (principal, distributor) in enumerate(pairs):
        yield {
            "principal_organization_id": principal,
            "distributor_organization_id": distributor,
            "status": "active",
            "start_date": _day(-300),
            "commission_percent": 8.0 + number % 5,
            "origin": "agreement",
            "evidence": 2,
        }
