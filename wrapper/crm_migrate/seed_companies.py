"""The companies that lines of mapping files name: by id, by exact name or by the host of their website."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypedDict

from psycopg import sql

from crm_migrate import paths
from crm_migrate.database import Connection
from crm_migrate.seed_files import Line

# lines that are in memory at the same time
AT_ONCE = 25_000
_QUERY = paths.SQL / "seeds" / "named_companies.sql"
_ALL = sql.SQL("public.companies")
_ONE = sql.SQL("(select * from public.companies where id = %(company)s)")
_OF_ARRAYS = sql.SQL(
    "select entry.position, entry.kind, entry.value"
    " from unnest(%(kinds)s::text[], %(values)s::text[]) with ordinality as entry (kind, value, position)"
)

# the columns that may name a company, and how each does it; the first that is filled decides
Naming = tuple[tuple[str, str], ...]
_COMPANY: Naming = (("company_id", "id"), ("company_name", "name"), ("website_domain", "domain"))
_PRINCIPAL: Naming = (("principal_company_id", "id"), ("principal_name", "name"))
_DISTRIBUTOR: Naming = (("distributor_company_id", "id"), ("distributor_name", "name"))
NAMINGS: Mapping[str, tuple[Naming, ...]] = {
    "company_roles.csv": (_COMPANY,),
    "category_principals.csv": (_PRINCIPAL,),
    "principal_distributor_agreements.csv": (_PRINCIPAL, _DISTRIBUTOR),
}


class Reference(TypedDict):
    """The cell of a line that names a company: its column, how it does it, and the column that would hold the id."""

    column: str
    kind: str
    id_column: str


def references(line: Line) -> list[Reference | None]:
    """How the line names each company of its file; None where all columns that may do it are blank."""
    return [_reference(line, naming) for naming in NAMINGS.get(line.file, ())]


def query(wanted: sql.Composable, companies: sql.Composable = _ALL) -> sql.Composed:
    """The ids (`company_ids`) of those of these companies whom references name, by their `position`.

    Args:
        wanted: a query of `position`, `kind` and `value`.
        companies: a relation.
    """
    return sql.SQL(_QUERY.read_text(encoding="utf-8")).format(wanted=wanted, companies=companies)


def naming(connection: Connection, lines: Iterable[Line], place: int, company: int) -> Iterator[Line]:
    """Of these lines those that name this company and no other.

    Args:
        place: which of the companies of the file, from 0.
    """
    left = iter(lines)
    while portion := list(islice(left, AT_ONCE)):
        # all companies are read only for lines that mean this one, which others may be called as well
        meant = _meaning(connection, portion, place, company, _ONE)
        yield from _meaning(connection, meant, place, company, _ALL)


def _meaning(
    connection: Connection, lines: Sequence[Line], place: int, company: int, companies: sql.Composable
) -> list[Line]:
    asked = [(line, reference) for line in lines if (reference := references(line)[place])]
    if not asked:
        return []
    parameters = {
        "kinds": [reference["kind"] for _, reference in asked],
        "values": [line[reference["column"]] for line, reference in asked],
        "company": company,
    }
    found = connection.execute(query(_OF_ARRAYS, companies), parameters).fetchall()
    return [asked[position - 1][0] for position, ids in sorted(found) if ids == [company]]


def _reference(line: Line, naming: Naming) -> Reference | None:
    for column, kind in naming:
        if line[column]:
            return {"column": column, "kind": kind, "id_column": naming[0][0]}
    return None
