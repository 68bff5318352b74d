"""The story of one record: what it was, which rules and mapping lines applied, what it became, and who refers to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import sql

from crm_migrate import changed, database, inputs, model_docs, preflight, story_rules
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, UsageError
from crm_migrate.reports import plain
from crm_migrate.settings import Settings
from crm_migrate.story_place import SHOWN, Place, unknown
from crm_migrate.story_rules import MappingFiles, Rule

_MAX_BIGINT = 2**63 - 1
# what people may call an entity, and what it is in the legacy database
ENTITIES: Mapping[str, str] = {
    "deals": "deals",
    "deal": "deals",
    "opportunities": "deals",
    "opportunity": "deals",
    "contacts": "contacts",
    "contact": "contacts",
    "companies": "companies",
    "company": "companies",
    "organizations": "companies",
    "organization": "companies",
    "tasks": "tasks",
    "task": "tasks",
    "activities": "activities",
    "activity": "activities",
    "notes": "notes",
    "note": "notes",
    "deal_notes": "deal_notes",
    "dealNotes": "deal_notes",
    "deal_note": "deal_notes",
    "opportunity_notes": "deal_notes",
    "opportunity_note": "deal_notes",
    "contact_notes": "contact_notes",
    "contactNotes": "contact_notes",
    "contact_note": "contact_notes",
}
_MODEL_OF = {"deals": "opportunities", "companies": "company_classifications", "tasks": "activities"}
_SOURCE_KEY = {"deals": "deal_id", "companies": "company_id", "contacts": "contact_id", "tasks": "task_id"}

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of a new table. `legacy_names` says which legacy column each of its columns has the value of."""

    table: str
    key: str
    values: Values
    legacy_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Warning:
    """What a run found: severity (blocker, warning, info, rejected, excluded), code, sentence."""

    severity: str
    code: str
    message: str


@dataclass(frozen=True)
class Link:
    """A record that refers to this one; `how` says in which role, by which rule, or what is wrong with it."""

    key: str
    label: str
    how: str


@dataclass(frozen=True)
class Links:
    """Records of one table that refer to this one by one column, or to which it refers."""

    table: str
    column: str
    total: int
    shown: tuple[Link, ...]


@dataclass(frozen=True)
class Change:
    """What people did to the record since the migration."""

    operation: str
    changed_at: datetime
    role: str


@dataclass(frozen=True)
class Story:
    """One record's story.

    `state` says what `became` shows: `legacy` nothing yet, `tried` what the last dry run built, `migrated` the live
    tables, `rolled back` nothing any more. `fate` is `migrated`, `rejected`, `excluded`, `deleted`, `added` (made
    since the migration) or `pending`.
    """

    run_id: str | None
    entity: str
    key: str
    title: str
    state: str
    fate: str
    legacy_table: str
    legacy: Values | None
    became: tuple[Row, ...]
    rules: tuple[Rule, ...]
    warnings: tuple[Warning, ...]
    links: tuple[Links, ...]
    changes: tuple[Change, ...]
    names: Mapping[str, str]
    """Names of the organizations that the rows speak of, by id."""
    remarks: tuple[str, ...]

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


def tell(connection: Connection, settings: Settings, entity: str, key: str) -> Story:
    """The story of a record; writes nothing, and sees one state of the database.

    Args:
        entity: a name of `ENTITIES`.
        key: its id; of `notes` also `deal_note:12`, as the findings write it.

    Raises:
        UsageError: no such entity, or an id that is none.
        UnknownRecord: no row has this id.
    """
    named, number = _named(entity, key)
    with connection.transaction():
        # somebody's open transaction has its own rules
        connection.execute("set local statement_timeout = '60s'")
        place = Place(connection, settings)
        if named == "notes":
            named = place.kind_of_note(number)
        if named == "activities":
            return _Teller(place, "tasks", place.task_of_activity(number), activity=number).story()
        return _Teller(place, named, number).story()


def _named(entity: str, key: str) -> tuple[str, int]:
    named = ENTITIES.get(entity.strip())
    if named is None:
        raise UsageError(
            f"There is no entity {entity!r}.",
            next="One of deals, opportunities, contacts, companies, notes, deal_notes, contact_notes, tasks,"
            " activities.",
        )
    text = key.strip()
    prefix, colon, rest = text.partition(":")
    if colon and named == "notes" and ENTITIES.get(prefix, "") in ("deal_notes", "contact_notes"):
        named, text = ENTITIES[prefix], rest.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19 or abs(int(text)) > _MAX_BIGINT:
        raise UsageError(
            f"{key!r} is not an id.", why="Ids are whole numbers.", next=f"crm-migrate explain {entity} 42"
        )
    return named, int(text)


class _Teller:
    """Tells of one record."""

    def __init__(self, place: Place, entity: str, number: int | None, *, activity: int | None = None) -> None:
        self.place = place
        self.entity = entity
        self.number = number
        self._activity = activity
        self._files: MappingFiles | None = None

    def story(self) -> Story:
        place = self.place
        became = list(self._became())
        legacy_table = place.legacy_table(self.entity)
        legacy = place.row(legacy_table, self.number) if legacy_table is not None and self.number is not None else None
        if legacy is None and not became:
            raise unknown(self.entity, self.number or 0)
        main = became[0] if became else None
        warnings = self._warnings()
        title = _title(main.values if main else None) or _title(legacy) or ""
        return Story(
            run_id=place.run.run_id if place.run else None,
            entity=self.entity,
            key=str(self._activity if self.number is None else self.number),
            title=title,
            state=place.state,
            fate=self._fate(legacy, main, warnings),
            legacy_table=place.legacy_name(self.entity),
            legacy=legacy,
            became=tuple(became),
            rules=tuple(self._rules(legacy, became)),
            warnings=warnings,
            links=tuple(self._links()),
            changes=self._changes(),
            names=self._organizations(legacy, became),
            remarks=tuple(self._remarks(legacy_table is None)),
        )

    def _became(self) -> Iterator[Row]:
        place, number = self.place, self.number
        if number is None:
            yield from self._rows_of("activities", self._activity or 0, "id")
        elif self.entity == "deals":
            yield from self._rows_of("opportunities", number, "id", model_docs.legacy_names("opportunities"))
            yield from self._rows_of("opportunity_participants", number, "opportunity_id")
        elif self.entity == "tasks":
            yield from self._rows_of("activities", number, "legacy_task_id")
            if place.is_migrated:
                yield from self._live("tasks")
        elif self.entity == "companies":
            if place.is_migrated:
                yield from self._live("companies")
            else:
                yield from self._rows_of("company_classifications", number, "company_id")
            for side in ("principal", "distributor"):
                yield from self._rows_of("principal_distributor_relationships", number, f"{side}_organization_id")
        elif self.entity == "contacts":
            if place.is_migrated:
                yield from self._live("contacts")
            yield from self._rows_of("contact_organizations", number, "contact_id")
            yield from self._rows_of("contact_preferred_principals", number, "contact_id")
        elif place.is_migrated and self.entity == "deal_notes":
            yield from self._live(preflight.NOTES, {"opportunity_id": "deal_id"})
        elif place.is_migrated:
            yield from self._live(place.legacy_name(self.entity))

    def _live(self, table: str, legacy_names: Mapping[str, str] | None = None) -> Iterator[Row]:
        found = self.place.row(self.place.new(table), self.number or 0)
        if found is not None:
            yield Row(table, str(self.number), found, legacy_names or {})

    def _rows_of(
        self, table: str, number: int, column: str, legacy_names: Mapping[str, str] | None = None
    ) -> Iterator[Row]:
        place = self.place.built(table)
        if place is not None and database.exists(self.place.connection, place.as_string(None)):
            for values in self.place.rows(place, number, column):
                yield Row(table, str(values.get("id", number)), values, legacy_names or {})

    def _fate(self, legacy: Values | None, main: Row | None, warnings: Sequence[Warning]) -> str:
        severities = {warning.severity for warning in warnings}
        if legacy is None and self.place.archived:
            return "added"
        if self.place.state in ("legacy", "rolled back"):
            return "pending"
        if "excluded" in severities:
            return "excluded"
        if main is not None and main.values.get("deleted_at") is not None:
            return "deleted"
        # a task stays as it is; what may be refused is its activity
        is_missing = main is None or (self.entity == "tasks" and main.table != "activities")
        if is_missing and "rejected" in severities:
            return "rejected"
        if is_missing and self.place.state == "migrated":
            return "deleted"
        return "migrated" if self.place.state == "migrated" else "pending"

    def _rules(self, legacy: Values | None, became: Sequence[Row]) -> Iterator[Rule]:
        if not became:
            return
        main = became[0]
        if self.entity == "deals" and legacy is not None and main.table == "opportunities":
            yield from story_rules.of_deal(self._mapping(), legacy, main.values)
        elif self.entity == "companies" and main.table in ("companies", "company_classifications"):
            yield from story_rules.of_company(self._mapping(), main.values, self.number or 0, main.table)
        elif self.entity == "tasks" and legacy is not None and main.table == "activities":
            yield from story_rules.of_task(self._mapping(), legacy, main.values)
        for row in became:
            if row.table == "principal_distributor_relationships":
                yield from story_rules.of_relationship(self._mapping(), row.values)
            elif row.table in ("opportunity_participants", "contact_organizations"):
                yield story_rules.rule_of_origin(row.table, row.values)

    def _mapping(self) -> MappingFiles:
        if self._files is None:
            self._files = MappingFiles(self.place.connection, self.place.settings.seeds_dir)
        return self._files

    def _warnings(self) -> tuple[Warning, ...]:
        run = self.place.run
        if run is None or self.number is None:
            return ()
        key = str(self.number)
        note = {"deal_notes": "deal_note:", "contact_notes": "contact_note:"}.get(self.entity, "")
        parameters = {
            # the source gate ran in the dry run on which the apply rests
            "runs": [run_id for run_id in (run.run_id, run.dry_run_id) if run_id],
            "run": run.run_id,
            "entity": "notes" if note else self.entity,
            "finding_key": note + key,
            "key": key,
            "model": _MODEL_OF.get(self.entity, ""),
            "source_key": _SOURCE_KEY.get(self.entity, ""),
        }
        found = self.place.query("warnings", parameters)
        if database.exists(self.place.connection, "crm_migration.rejected_records") and self.entity in _SOURCE_KEY:
            found += self.place.query("refused", parameters)
        excluded = model_docs.of_model("int_excluded_rows")
        return tuple(
            Warning(row["severity"], row["code"], row["message"] or (excluded if row["severity"] == "excluded" else ""))
            for row in found
        )

    def _links(self) -> Iterator[Links]:
        place, number = self.place, (self._activity or 0) if self.number is None else self.number
        deals = place.new("opportunities") if place.is_migrated else sql.Identifier("public", "deals")
        if self.entity == "deals":
            found = place.links("contacts_of_deal", number, deals=deals, contacts=sql.Identifier("public", "contacts"))
            yield from _links("contacts", "contact_ids", found)
        if self.entity == "contacts":
            found = place.links("deals_of_contact", number, deals=deals)
            yield from _links("opportunities" if place.is_migrated else "deals", "contact_ids", found)
        table = self._live_table()
        for reference in place.query("references", {"table": table.as_string(None)}):
            source = sql.Identifier(reference["schema_name"], reference["table_name"])
            found = place.links("linked", number, table=source, column=sql.Identifier(reference["column_name"]))
            schema = "" if reference["schema_name"] == "public" else reference["schema_name"] + "."
            yield from _links(schema + reference["table_name"], reference["column_name"], found)

    def _live_table(self) -> sql.Identifier:
        name = self.place.legacy_name(self.entity)
        if not self.place.is_migrated:
            return sql.Identifier("public", name)
        if self.number is None:
            return self.place.new("activities")
        return self.place.new({"deals": "opportunities", "deal_notes": preflight.NOTES}.get(self.entity, name))

    def _changes(self) -> tuple[Change, ...]:
        place = self.place
        since = changed.since_release(place.connection, place.run.run_id) if place.is_migrated and place.run else None
        if since is None:
            return ()
        tables = {"deals": ["opportunities"], "deal_notes": [preflight.NOTES], "tasks": ["tasks", "activities"]}
        found = place.query(
            "changes",
            {
                "tables": tables.get(self.entity, [place.legacy_name(self.entity)]),
                "key": str(self.number),
                "since": since,
                "most": SHOWN,
            },
        )
        return tuple(Change(**row) for row in found)

    def _organizations(self, legacy: Values | None, became: Sequence[Row]) -> dict[str, str]:
        wanted = {
            value
            for values in (legacy or {}, *(row.values for row in became))
            for column, value in values.items()
            if column == "company_id" or column.endswith("organization_id")
            if isinstance(value, int)
        }
        found = self.place.connection.execute(
            "select id::text, name from public.companies where id = any(%s)", [sorted(wanted)]
        )
        return dict(found.fetchall())

    def _remarks(self, purged: bool) -> Iterator[str]:
        place = self.place
        if place.is_migrated and purged:
            yield "The archive was purged: what the record was is not known any more."
        if place.state == "rolled back":
            yield "The migration was rolled back; this is the legacy record as it is now."
        elif place.state == "legacy" and place.run is not None:
            yield "The last dry run's build is gone: crm-migrate dry-run --keep-build shows what the record becomes."
        elif place.state == "legacy":
            yield "Nothing was tried yet: crm-migrate dry-run --keep-build shows what the record becomes."
        told = place.run.inputs.get("seeds") if place.run and place.state in ("tried", "migrated") else None
        if told is not None and told != inputs.of_seeds(place.settings):
            yield "The mapping files are not those of this run: their lines may say something else now."


def _links(table: str, column: str, found: Sequence[Mapping[str, Any]]) -> Iterator[Links]:
    if found:
        shown = tuple(Link(str(row["key"]), str(row["label"]), str(row["how"])) for row in found)
        yield Links(table, column, int(found[0]["total"]), shown)


def _title(values: Values | None) -> str:
    if not values:
        return ""
    person = " ".join(str(values[part]) for part in ("first_name", "last_name") if values.get(part))
    named = [values.get(column) for column in ("name", "subject", "text", "description")]
    return next((str(text) for text in (values.get("name"), person, *named) if text), "")
