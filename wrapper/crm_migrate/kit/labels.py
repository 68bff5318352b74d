"""The words of the new shape: what was called how, and a label for every value of the enums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crm_migrate.kit.catalog import Catalog

# what people read, old → new; longer phrases first, so that a search and replace in this order is safe
_WORDS: Mapping[str, str] = {
    "Deal pipeline": "Opportunity pipeline",
    "Deals pipeline": "Opportunity pipeline",
    "Deal stages": "Opportunity stages",
    "Deal stage": "Opportunity stage",
    "Deal categories": "Opportunity categories",
    "Deal category": "Opportunity category",
    "Deal notes": "Opportunity notes",
    "Deal note": "Opportunity note",
    "Upcoming deal revenue": "Upcoming opportunity revenue",
    "Archived deals": "Archived opportunities",
    "New deal": "New opportunity",
    "Create deal": "Create opportunity",
    "Edit deal": "Edit opportunity",
    "Delete deal": "Delete opportunity",
    "Deals": "Opportunities",
    "Deal": "Opportunity",
    "deals": "opportunities",
    "deal": "opportunity",
    "Expected closing date": "Estimated close date",
    "Budget": "Amount",
}
_RESOURCES: Mapping[str, tuple[str, str]] = {
    "opportunities": ("Opportunity", "Opportunities"),
    "opportunity_notes": ("Opportunity note", "Opportunity notes"),
    "opportunity_participants": ("Participant", "Participants"),
    "opportunity_products": ("Product line", "Product lines"),
    "contact_organizations": ("Associated organization", "Associated organizations"),
    "contact_preferred_principals": ("Preferred principal", "Preferred principals"),
    "activities": ("Activity", "Activities"),
    "interaction_participants": ("Attendee", "Attendees"),
    "products": ("Product", "Products"),
    "principal_distributor_relationships": ("Distribution agreement", "Distribution agreements"),
    "companies": ("Organization", "Organizations"),
    "contacts": ("Contact", "Contacts"),
}
_SHORT = {"check_in": "Check-in", "follow_up": "Follow-up"}


def document(catalog: Catalog) -> dict[str, Any]:
    """The dictionary as JSON."""
    return {
        "words": dict(_WORDS),
        "resources": {
            catalog.name(name): {"one": one, "many": many}
            for name, (one, many) in _RESOURCES.items()
            if catalog.name(name) in catalog.relations
        },
        "fields": {
            catalog.name(name): {column.name: _label(column.name) for column in catalog.table(name).columns}
            for name in _RESOURCES
            if catalog.name(name) in catalog.relations
        },
        "values": {
            name: {value: _SHORT.get(value) or _label(value) for value in values}
            for (schema, name), values in catalog.enums.items()
            if schema == "public"
        },
    }


def _label(name: str) -> str:
    """`customer_organization_id` is read “Customer organization”."""
    words = name.removesuffix("_id").replace("_", " ").strip()
    return (words[:1].upper() + words[1:]) or name
