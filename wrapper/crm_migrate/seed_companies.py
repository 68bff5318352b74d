"""The companies that lines of mapping files name: by id, by exact name or by the host of their website."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from crm_migrate import paths
from crm_migrate.database import Connection
from crm_migrate.seed_files import Line, SeedFile, SeedProblem

# each time the database reads all companies, and the program holds the lines and what it answers
AT_ONCE = 25_000
# ids that a sentence lists
_MANY = 5
_QUERY = paths.SQL / "seeds" / "named_companies.sql"

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

# the companies of a line, in the order of its file's namings; None where it names none or several
Companies = list[int | None]
Portion = Sequence[tuple[Line, Companies]]


@dataclass(frozen=True, slots=True)
class _Reference:
    """What a line says to name a company, and the place where the answer belongs."""

    line: Line
    answers: Companies
    place: int
    column: str
    kind: str


def portions(connection: Connection, seed: SeedFile) -> Iterator[Portion]:
    """The sound lines of a file with their companies, `AT_ONCE` at most; who is not found becomes a problem."""
    lines = seed.lines()
    while portion := [(line, _nobody(seed)) for line in islice(lines, AT_ONCE)]:
        _find(connection, seed, list(_references(seed, portion)))
        yield portion


def listed(values: Sequence[str]) -> str:
    """Some of them, and how many more there are."""
    more = f" and {len(values) - _MANY} more" if len(values) > _MANY else ""
    return ", ".join(values[:_MANY]) + more


def _nobody(seed: SeedFile) -> Companies:
    return [None for _ in NAMINGS.get(seed.name, ())]


def _references(seed: SeedFile, portion: Portion) -> Iterator[_Reference]:
    for line, answers in portion:
        for place, naming in enumerate(NAMINGS.get(seed.name, ())):
            filled = next(((column, kind) for column, kind in naming if line[column]), None)
            if filled is None:
                columns = " or ".join(column for column, _ in naming)
                seed.complain([line.problem("bad_value", naming[0][0], f"{columns} must be given.")])
            else:
                yield _Reference(line, answers, place, *filled)


def _find(connection: Connection, seed: SeedFile, references: Sequence[_Reference]) -> None:
    if not references:
        return
    parameters = {
        "kinds": [reference.kind for reference in references],
        "values": [reference.line[reference.column] for reference in references],
    }
    found: dict[int, list[int]] = dict(connection.execute(_QUERY.read_bytes(), parameters).fetchall())
    for position, reference in enumerate(references, start=1):
        ids = found.get(position, [])
        if len(ids) == 1:
            reference.answers[reference.place] = ids[0]
        else:
            seed.complain(_not_one(reference, ids))


def _not_one(reference: _Reference, ids: Sequence[int]) -> Iterable[SeedProblem]:
    line, column, kind = reference.line, reference.column, reference.kind
    if not ids:
        yield line.problem("unknown_company", column, f"No company has the {kind} “{line[column]}”.")
        return
    id_column = NAMINGS[line.file][reference.place][0][0]
    message = (
        f"{len(ids)} companies have the {kind} “{line[column]}”: {listed([str(key) for key in ids])}. "
        f"Give the id in {id_column}."
    )
    yield line.problem("ambiguous_company", column, message)
