"""Which legacy database is this: its generation, and what the installation added to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from crm_migrate import database, paths
from crm_migrate.database import Connection
from crm_migrate.errors import NOTHING_CHANGED, MigrationError, NoGo, UsageError, WrongState


class Generation(StrEnum):
    """The two shapes of the legacy schema that are in production."""

    G2025 = "2025"
    G2026 = "2026"


class LegacyError(MigrationError):
    """The database is not a legacy CRM that can be migrated."""


class EmptyDatabase(LegacyError, UsageError):
    """There is no table at all."""

    code = "CRM-410"


class NotAtomicCrm(LegacyError, UsageError):
    """The tables are those of some other application."""

    code = "CRM-411"


class UnknownGeneration(LegacyError, NoGo):
    """An Atomic CRM, but of a shape that no rule of the migration is written for."""

    code = "CRM-412"

    def __init__(self, nearest: Generation, differences: tuple[str, ...]) -> None:
        super().__init__(
            f"The legacy schema is of no known generation; nearest is {nearest}.",
            why="; ".join(differences) + ".",
            next="Bring the legacy schema to that generation with the application's own migrations, then try again.",
        )
        self.nearest = nearest
        self.differences = differences


class AlreadyMigrated(LegacyError, WrongState):
    """The cutover has been here before."""

    code = "CRM-413"


@dataclass(frozen=True)
class Column:
    """A column as the catalog has it; the type is written without its schema."""

    name: str
    type: str
    not_null: bool
    generated: bool


@dataclass(frozen=True)
class LegacySchema:
    """The legacy database as it was found. Names are unquoted; `table.name` where they belong to a table."""

    generation: Generation
    deal_notes_table: str
    contact_notes_table: str
    columns: Mapping[str, tuple[Column, ...]]
    """All columns of the legacy tables, in their order."""
    extra_columns: Mapping[str, tuple[Column, ...]]
    """Columns that the installation added, per legacy table."""
    extra_tables: tuple[str, ...]
    extra_views: tuple[str, ...]
    extra_triggers: tuple[str, ...]
    extra_policies: tuple[str, ...]
    """Policies on legacy tables that say more than that whoever is logged in may."""
    foreign_keys_to_deals: tuple[str, ...]
    """Keys of other tables than the deal notes."""
    missing: tuple[str, ...]
    """Stock objects that are not there and not needed."""

    def table(self, entity: str) -> str:
        """The table's name in this generation: `deal_notes` is `dealNotes` in the older one."""
        return {"deal_notes": self.deal_notes_table, "contact_notes": self.contact_notes_table}.get(entity, entity)

    def as_json(self) -> dict[str, Any]:
        """For a run's summary; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `as_json` wrote, also after it went through jsonb."""
        values = dict(document)
        for name in ("columns", "extra_columns"):
            values[name] = {table: tuple(Column(**column) for column in of) for table, of in document[name].items()}
        for name in (
            "extra_tables",
            "extra_views",
            "extra_triggers",
            "extra_policies",
            "foreign_keys_to_deals",
            "missing",
        ):
            values[name] = tuple(document[name])
        return cls(**values | {"generation": Generation(document["generation"])})


_TIME = "timestamp with time zone"
# per table: the columns of each type
_STOCK: Mapping[str, Mapping[str, str]] = {
    "sales": {
        "bigint": "id",
        "text": "first_name last_name email",
        "boolean": "administrator disabled",
        "uuid": "user_id",
        "jsonb": "avatar",
    },
    "companies": {
        "bigint": "id sales_id",
        "text": "name sector linkedin_url website phone_number address zipcode city country description revenue"
        " tax_identifier",
        "smallint": "size",
        _TIME: "created_at",
        "json": "context_links",
        "jsonb": "logo",
    },
    "contacts": {
        "bigint": "id company_id sales_id",
        "text": "first_name last_name gender title background status linkedin_url",
        "boolean": "has_newsletter",
        _TIME: "first_seen last_seen",
        "bigint[]": "tags",
        "jsonb": "avatar email_jsonb phone_jsonb",
    },
    "deals": {
        "bigint": "id company_id amount sales_id",
        "text": "name category stage description",
        "smallint": "index",
        _TIME: "created_at updated_at archived_at",
        "bigint[]": "contact_ids",
    },
    "deal_notes": {"bigint": "id deal_id sales_id", "text": "type text", _TIME: "date", "jsonb[]": "attachments"},
    "contact_notes": {
        "bigint": "id contact_id sales_id",
        "text": "text status",
        _TIME: "date",
        "jsonb[]": "attachments",
    },
    "tasks": {"bigint": "id contact_id sales_id", "text": "type text", _TIME: "due_date done_date"},
    "tags": {"bigint": "id", "text": "name color"},
}
# the application stored both as either, and the migration keeps what it finds
_INTERCHANGEABLE = {"citext": "text", "character varying": "text"}
_SUMMARIES = ("companies_summary", "contacts_summary", "init_state")
_VIEWS = {Generation.G2025: _SUMMARIES, Generation.G2026: (*_SUMMARIES, "activity_log")}
_OPTIONAL_TABLES: dict[Generation, tuple[str, ...]] = {
    Generation.G2025: (),
    Generation.G2026: ("configuration", "favicons_excluded_domains"),
}
_TRIGGERS: dict[Generation, tuple[str, ...]] = {
    Generation.G2025: (),
    Generation.G2026: (
        "companies.company_saved",
        "companies.set_company_sales_id_trigger",
        "contact_notes.on_contact_notes_attachments_updated_delete_note_attachments",
        "contact_notes.on_contact_notes_deleted_delete_note_attachments",
        "contact_notes.set_contact_notes_sales_id_trigger",
        "contacts.10_lowercase_contact_emails",
        "contacts.20_contact_saved",
        "contacts.set_contact_sales_id_trigger",
        "deal_notes.on_deal_notes_attachments_updated_delete_note_attachments",
        "deal_notes.on_deal_notes_deleted_delete_note_attachments",
        "deal_notes.set_deal_notes_sales_id_trigger",
        "deals.set_deal_sales_id_trigger",
        "tasks.set_task_sales_id_trigger",
    ),
}
# one of them is nobody's fault; half of them make a CRM that somebody changed
_ENOUGH_TABLES = 4


def stock_tables(generation: Generation) -> dict[str, dict[str, str]]:
    """The needed tables of a generation, with the type of each column."""
    tables = {
        table: {column: kind for kind, columns in by_type.items() for column in columns.split()}
        for table, by_type in _STOCK.items()
    }
    if generation is Generation.G2025:
        tables["companies"]["stateAbbr"] = "text"
        tables["deals"]["expected_closing_date"] = _TIME
        tables["dealNotes"] = tables.pop("deal_notes")
        tables["contactNotes"] = tables.pop("contact_notes")
    else:
        tables["companies"]["state_abbr"] = "text"
        tables["deals"]["expected_closing_date"] = "date"
    return tables


def detect(connection: Connection) -> LegacySchema:
    """Say which generation this is. Nothing is written, no row is read.

    Raises:
        AlreadyMigrated: the archive of a cutover exists.
        EmptyDatabase: there is no table in `public`.
        NotAtomicCrm: the tables belong to another application.
        UnknownGeneration: an Atomic CRM that differs from both generations; lists how from the nearer one.
    """
    if _catalog(connection, "migrated")[0]["migrated"]:
        raise AlreadyMigrated(
            "This database has been migrated already.",
            why="public.opportunities has taken the place of the table public.deals.",
            next="crm-migrate status",
        )
    found: dict[str, tuple[Column, ...]] = {}
    for row in _catalog(connection, "columns"):
        name = row.pop("relation")
        found[name] = (*found.get(name, ()), Column(**row | {"type": _bare(row["type"])}))
    if not found:
        raise EmptyDatabase(
            f"The database {connection.info.dbname} has no table in the schema public.",
            state=NOTHING_CHANGED,
            next="Check --dsn: is this the CRM's database?",
        )
    differences = {generation: _differences(stock_tables(generation), found) for generation in Generation}
    nearest = min(Generation, key=lambda generation: len(differences[generation]))
    if not differences[nearest]:
        return _describe(connection, nearest, found)
    if sum(table in found for table in stock_tables(nearest)) < _ENOUGH_TABLES:
        raise NotAtomicCrm(
            f"The database {connection.info.dbname} does not hold an Atomic CRM.",
            why=f"Of its tables ({_some(found)}) too few are the CRM's.",
            next="Check --dsn: is this the CRM's database?",
        )
    raise UnknownGeneration(nearest, tuple(differences[nearest]))


def _catalog(connection: Connection, name: str) -> list[dict[str, Any]]:
    query = (paths.SQL / "legacy" / "catalog" / f"{name}.sql").read_text(encoding="utf-8")
    return database.rows(connection, query)


def _bare(type_name: str) -> str:
    """`extensions.citext` is citext wherever it was installed."""
    return type_name if type_name.startswith('"') else type_name.rsplit(".", 1)[-1]


def _family(type_name: str) -> str:
    bare = type_name.split("(", 1)[0]
    return _INTERCHANGEABLE.get(bare, bare)


def _differences(stock: Mapping[str, Mapping[str, str]], found: Mapping[str, tuple[Column, ...]]) -> list[str]:
    differences = []
    for table, columns in stock.items():
        if table not in found:
            differences.append(f"table {table} is missing")
            continue
        types = {column.name: column.type for column in found[table]}
        for name, wanted in columns.items():
            if name not in types:
                differences.append(f"column {table}.{name} is missing")
            elif _family(types[name]) != _family(wanted):
                differences.append(f"column {table}.{name} is {types[name]}, not {wanted}")
    return differences


def _describe(connection: Connection, generation: Generation, found: Mapping[str, tuple[Column, ...]]) -> LegacySchema:
    stock = stock_tables(generation)
    is_2025 = generation is Generation.G2025
    deal_notes = "dealNotes" if is_2025 else "deal_notes"
    relations = {row["name"]: row["kind"] for row in _catalog(connection, "relations")}
    triggers = [f"{row['relation']}.{row['name']}" for row in _catalog(connection, "triggers")]
    policies = [
        f"{row['relation']}.{row['name']}" for row in _catalog(connection, "policies") if row["relation"] in stock
    ]
    keys = [
        f"{row['relation']}.{row['name']}"
        for row in _catalog(connection, "foreign_keys_to_deals")
        if row["relation"] != deal_notes
    ]
    optional = (*_OPTIONAL_TABLES[generation], *_VIEWS[generation])
    own = {column: set(columns) for column, columns in stock.items()}
    return LegacySchema(
        generation=generation,
        deal_notes_table=deal_notes,
        contact_notes_table="contactNotes" if is_2025 else "contact_notes",
        columns={table: found[table] for table in stock},
        extra_columns={
            table: extra
            for table in stock
            if (extra := tuple(column for column in found[table] if column.name not in own[table]))
        },
        extra_tables=_without((name for name, kind in relations.items() if kind == "table"), (*stock, *optional)),
        extra_views=_without((name for name, kind in relations.items() if kind == "view"), optional),
        extra_triggers=_without(triggers, _TRIGGERS[generation]),
        extra_policies=tuple(policies),
        foreign_keys_to_deals=tuple(keys),
        missing=(
            *(f"{'view' if name in _VIEWS[generation] else 'table'} {name}" for name in _without(optional, relations)),
            *(f"trigger {name}" for name in _without(_TRIGGERS[generation], triggers)),
        ),
    )


def _without(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    stock = set(known)
    return tuple(name for name in names if name not in stock)


def _some(names: Iterable[str], limit: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:limit]) + (", …" if len(listed) > limit else "")
