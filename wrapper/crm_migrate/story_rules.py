"""The rules of one record's story: what the models say of each value, and the lines of the mapping files behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Any

from crm_migrate import model_docs, paths, seed_companies
from crm_migrate.database import Connection
from crm_migrate.seed_files import Line, SeedFile

_MATCHING = paths.SQL / "explain" / "matching_lines.sql"
_ROLES = "company_roles.csv"
_AGREEMENTS = "principal_distributor_agreements.csv"
# per entity: the model that decides, and its columns that are worth a sentence
_TOLD: Mapping[str, Sequence[tuple[str, Sequence[str]]]] = {
    "deals": (
        ("opportunities", ("stage", "status", "probability", "actual_close_date")),
        (
            "int_deals__organizations",
            ("customer_organization_id", "principal_organization_id", "distributor_organization_id"),
        ),
        ("int_deals__organizations", ("commission_percent",)),
    ),
    "companies": (("int_companies__roles", ("organization_type", "is_principal", "is_distributor")),),
    "tasks": (
        ("activities", ("activity_type", "interaction_type", "activity_date", "follow_up_date", "organization_id")),
    ),
}

Values = Mapping[str, Any]


@dataclass(frozen=True)
class MappingLine:
    """A line of a mapping file that speaks of the record.

    `agrees` is False where the record says something else today: somebody changed it, or the file was changed since.
    """

    file: str
    line: int
    cells: Mapping[str, str]
    agrees: bool

    @property
    def where(self) -> str:
        """File and line, as editors understand it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Rule:
    """Why a value is what it is: the rule in the model's own words, and the lines that it read."""

    table: str
    key: str
    column: str
    value: Any
    model: str
    text: str
    lines: tuple[MappingLine, ...] = ()


class MappingFiles:
    """The mapping files as they are now.

    Their lines are read whenever they are asked for: no more than a portion of them is ever in memory.
    """

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        # a story asks for the same companies again, and a file may have very many lines
        self._told: dict[tuple[str, tuple[int, ...]], list[Line]] = {}

    def naming(self, file: str, column: str, wanted: str | None) -> Iterator[Line]:
        """Lines whose cell is this value, compared as the models compare them."""
        sound = self._lines(file)
        while lines := list(islice(sound, seed_companies.AT_ONCE)):
            parameters = {"values": [line[column] for line in lines], "wanted": wanted}
            for (position,) in self._connection.execute(_MATCHING.read_bytes(), parameters).fetchall():
                yield lines[position - 1]

    def of_company(self, company: int | None, *roles: str) -> Iterator[Line]:
        """Lines that give a company one of these roles; any role where none is named."""
        for line in self._of(_ROLES, company):
            if not roles or line["role"] in roles:
                yield line

    def agreements(self, principal: int | None, distributor: int | None) -> Sequence[Line]:
        """Agreements of these two companies."""
        return self._of(_AGREEMENTS, principal, distributor)

    def _of(self, file: str, *named: int | None) -> Sequence[Line]:
        """The lines that name these companies, in the order of the file's namings."""
        companies = tuple(company for company in named if company is not None)
        if len(companies) < len(named):
            return ()
        if (file, companies) not in self._told:
            lines = self._lines(file)
            for place, company in enumerate(companies):
                lines = seed_companies.naming(self._connection, lines, place, company)
            self._told[file, companies] = list(lines)
        return self._told[file, companies]

    def _lines(self, file: str) -> Iterator[Line]:
        return SeedFile(self._folder, file).lines()


def of_deal(files: MappingFiles, legacy: Values, became: Values) -> list[Rule]:
    """Stage, organizations and commission of an opportunity."""
    stage_lines = list(files.naming("stage_mapping.csv", "legacy_stage", legacy.get("stage")))
    principal, distributor = became.get("principal_organization_id"), became.get("distributor_organization_id")
    category = legacy.get("category")
    of_category = list(files.naming("category_principals.csv", "category", category)) if category else []
    lines: Mapping[str, Sequence[Line]] = {
        **dict.fromkeys(("stage", "status", "probability"), stage_lines),
        "principal_organization_id": of_category or list(files.of_company(principal, "principal")),
        "distributor_organization_id": list(files.of_company(distributor, "distributor")),
        "commission_percent": list(_commissions(files, principal, distributor)),
    }
    return _rules("deals", "opportunities", became, lines)


def of_company(files: MappingFiles, became: Values, company: int, table: str) -> list[Rule]:
    """What a company is."""
    lines = list(files.of_company(company))
    return _rules(
        "companies", table, became, dict.fromkeys(("organization_type", "is_principal", "is_distributor"), lines)
    )


def of_task(files: MappingFiles, legacy: Values, became: Values) -> list[Rule]:
    """What kind of activity a task is."""
    kind = legacy.get("type")
    lines = list(files.naming("activity_type_mapping.csv", "task_type", kind)) if kind else []
    return _rules("tasks", "activities", became, dict.fromkeys(("activity_type", "interaction_type"), lines))


def of_relationship(files: MappingFiles, became: Values) -> list[Rule]:
    """Why two companies work together, and for which commission."""
    principal, distributor = became["principal_organization_id"], became["distributor_organization_id"]
    agreements = list(files.agreements(principal, distributor)) if became.get("origin") == "agreement" else []
    table = "principal_distributor_relationships"
    return [
        rule_of_origin(table, became, agreements),
        _rule(table, became, table, "commission_percent", list(_commissions(files, principal, distributor))),
    ]


def rule_of_origin(table: str, became: Values, lines: Sequence[Line] = ()) -> Rule:
    """Which rule made a row, by its column `origin`."""
    return _rule(table, became, table, "origin", lines)


def _commissions(files: MappingFiles, principal: int | None, distributor: int | None) -> Iterator[Line]:
    for line in (
        *files.agreements(principal, distributor),
        *files.of_company(distributor, "distributor"),
        *files.of_company(principal, "principal"),
    ):
        if line["commission_percent"]:
            yield line


def _rules(entity: str, table: str, became: Values, lines: Mapping[str, Sequence[Line]]) -> list[Rule]:
    return [
        _rule(table, became, model, column, lines.get(column, ()))
        for model, columns in _TOLD[entity]
        for column in columns
        if became.get(column) is not None or lines.get(column)
    ]


def _rule(table: str, became: Values, model: str, column: str, lines: Sequence[Line]) -> Rule:
    value = became.get(column)
    key = str(became.get("id", became.get("company_id", "")))
    # of several that give a commission the first holds; the others are shown because they were read
    told = tuple(
        MappingLine(line.file, line.number, line.cells, _agrees(line, column, value) or number > 0)
        for number, line in enumerate(lines)
    )
    return Rule(table, key, column, value, model, model_docs.of_column(model, column), told)


def _agrees(line: Line, column: str, value: Any) -> bool:
    if column not in line.cells:
        return True
    said, now = line[column].strip(), "" if value is None else str(value)
    try:
        return said == now or Decimal(said) == Decimal(now)
    except InvalidOperation:
        return False
