"""One record for the review: what it is now in the new words, what it was, its story, and who signed it off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from crm_migrate import database, ledger, pairs, story, verification
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.settings import Settings
from crm_migrate.story import Story
from crm_migrate.story_place import unknown
from crm_migrate.verification import SampledRecord
from crm_migrate.web import review_lists


@dataclass(frozen=True)
class Kind:
    """A kind of record: how people call it, and what it is in the archive."""

    path: str
    name: str
    entity: str
    has_story: bool = True
    listed: bool = False


KINDS: Mapping[str, Kind] = {
    kind.path: kind
    for kind in (
        Kind("opportunities", "Opportunity", "deals", listed=True),
        Kind("contacts", "Contact", "contacts", listed=True),
        Kind("organizations", "Organization", "companies", listed=True),
        Kind("activities", "Activity", "activities", listed=True),
        Kind("tasks", "Task", "tasks"),
        Kind("opportunity-notes", "Opportunity note", "deal_notes"),
        Kind("contact-notes", "Contact note", "contact_notes"),
        Kind("people", "Person", "sales", has_story=False),
        Kind("tags", "Tag", "tags", has_story=False),
    )
}
OF_ENTITY: Mapping[str, Kind] = {kind.entity: kind for kind in KINDS.values()}

_LABELS: Mapping[str, Sequence[str]] = {
    "opportunities": (
        "stage",
        "status",
        "probability",
        "priority",
        "amount",
        "commission_percent",
        "commission_amount",
        "estimated_close_date",
        "actual_close_date",
        "customer_organization_id",
        "principal_organization_id",
        "distributor_organization_id",
        "next_action",
        "next_action_date",
    ),
    "companies": ("organization_type", "is_principal", "is_distributor", "segment", "priority", "sector", "city"),
    "contacts": ("title", "role", "department", "purchase_influence", "decision_authority"),
    "activities": (
        "activity_type",
        "interaction_type",
        "subject",
        "description",
        "activity_date",
        "outcome",
        "follow_up_required",
        "follow_up_date",
        "organization_id",
        "contact_id",
        "opportunity_id",
    ),
}
# by place and key
Names = Mapping[tuple[str, str], str]
# where the value of a column leads
_LEADS_TO = {"organization_id": "organizations", "contact_id": "contacts", "opportunity_id": "opportunities"}


@dataclass(frozen=True)
class Review:
    """The migration that is reviewed; `has_archive` until the legacy tables were given up."""

    run_id: str
    legacy: LegacySchema
    has_archive: bool


@dataclass(frozen=True)
class Fact:
    """A field of the new shape; `link` leads to the record that the value names."""

    label: str
    value: str | None
    link: str | None = None


@dataclass(frozen=True)
class Record:
    """A record and all that is shown of it.

    `item` is what is signed off: entity and key. Without `has_archive` nobody knows what it was. `new_words` says of a
    legacy field what took its place, where that is called or reads otherwise.
    """

    kind: Kind
    key: str
    title: str
    item: tuple[str, str]
    has_archive: bool
    facts: Sequence[Fact]
    organizations: Sequence[Mapping[str, Any]]
    relationships: Sequence[Mapping[str, Any]]
    compared: SampledRecord | None
    new_words: Mapping[str, Fact]
    story: Story | None


def reviewed(connection: Connection, settings: Settings) -> Review | None:
    """The migration whose result is live; None when nothing was migrated or it was rolled back."""
    run = ledger.latest(connection, "apply", states=("completed", *ledger.UNFINISHED))
    if run is None or run.cutover_at is None:
        return None
    legacy = LegacySchema.from_json(run.summary["legacy"])
    # a purge that was interrupted leaves some of them
    wanted = [pair.archived for pair in pairs.pairs(settings, legacy)]
    has_archive = all(database.exists(connection, table.as_string(None)) for table in wanted)
    return Review(run.run_id, legacy, has_archive)


def read(connection: Connection, settings: Settings, review: Review, kind: Kind, key: int) -> Record:
    """A record.

    Raises:
        UnknownRecord: there is none, neither before nor after.
    """
    told = story.tell(connection, settings, kind.entity, str(key)) if kind.has_story else None
    entity, number = kind.entity, key
    if told is not None and kind.path == "activities" and told.legacy is not None:
        # an activity that was built is looked at as the task it was
        entity, number = "tasks", int(told.key)
    compared = compare(connection, settings, review, entity, number)
    names = _names(connection, settings, told)
    if told is None and compared is None:
        raise unknown(kind.entity, key)
    return Record(
        kind=kind,
        key=str(key),
        title=(told.title if told else "") or f"{kind.name} {key}",
        item=(entity, str(number)),
        has_archive=review.has_archive,
        facts=_facts(told, names),
        organizations=_of(connection, settings, "organizations_of_contact", key) if kind.path == "contacts" else (),
        relationships=_of(connection, settings, "relationships_of_organization", key)
        if kind.path == "organizations"
        else (),
        compared=compared,
        new_words=_new_words(told, names),
        story=told,
    )


def compare(connection: Connection, settings: Settings, review: Review, entity: str, key: int) -> SampledRecord | None:
    """A legacy row before and after; None where there was none, or nobody knows any more."""
    if not review.has_archive:
        return None
    for pair in pairs.live_pairs(connection, settings, review.legacy):
        if pair.entity == entity:
            people = pairs.changed_keys(connection, review.run_id, pair)
            record = verification.compare(connection, pair, key, people)
            return record if record.before else None
    return None


def _of(connection: Connection, settings: Settings, name: str, key: int) -> list[dict[str, Any]]:
    return review_lists.query(connection, settings, name, key=sql.Literal(key))


def _names(connection: Connection, settings: Settings, told: Story | None) -> Names:
    """What the records are called that a record names."""
    if told is None or not told.became:
        return {}
    values = told.became[0].values
    found = review_lists.query(
        connection,
        settings,
        "names",
        contact=sql.Literal(values.get("contact_id")),
        opportunity=sql.Literal(values.get("opportunity_id")),
    )
    named = {("organizations", key): name for key, name in told.names.items()}
    return named | {(row["place"], row["key"]): row["name"] for row in found}


def _facts(told: Story | None, names: Names) -> list[Fact]:
    if told is None or not told.became:
        return []
    row = told.became[0]
    return [_fact(column, row.values[column], names) for column in _LABELS.get(row.table, ()) if column in row.values]


def _new_words(told: Story | None, names: Names) -> dict[str, Fact]:
    if told is None or not told.became or told.legacy is None:
        return {}
    row = told.became[0]
    # the legacy text is kept beside what it was translated to
    placed = {old: column for column, old in row.legacy_names.items() if old not in row.values}
    placed |= {column: column for column in row.values if column in told.legacy}
    return {
        old: _fact(column, row.values[column], names)
        for old, column in placed.items()
        if old != column or row.values[column] != told.legacy[old]
    }


def _fact(column: str, value: Any, names: Names) -> Fact:
    label = column.removesuffix("_id").removesuffix("_organization").removeprefix("is_").replace("_", " ").capitalize()
    for ending, place in _LEADS_TO.items():
        if column.endswith(ending):
            if value is None:
                return Fact(label, None)
            name = names.get((place, str(value)))
            return Fact(label, name or f"{KINDS[place].name} {value}", f"/review/{place}/{value}")
    return Fact(label, _shown(column, value))


def _shown(column: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column in ("probability", "commission_percent"):
        return f"{value:g} %"
    if column == "amount":
        return f"{value:,}"
    if column == "commission_amount":
        return f"{value:,.2f}"
    text = str(value)
    is_word = column in (
        "stage",
        "status",
        "priority",
        "organization_type",
        "activity_type",
        "interaction_type",
        "role",
    )
    return text.replace("_", " ") if is_word else text
