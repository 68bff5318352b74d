"""The analyst's mapping files: whether they are sound, and whether the companies and stages they name exist."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from crm_migrate import database, paths
from crm_migrate.database import Connection
from crm_migrate.seed_files import FILES, STAGES, Line, SeedFile, SeedProblem, read

__all__ = ["SeedProblem", "check", "fingerprint"]

_QUERIES = paths.SQL / "seeds"
_BOTH_SIDES = {"principal", "distributor"}
_MANY = 5
# lines that the database is asked about: each time it reads all companies, and the program holds what it answers
_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class _Reference:
    """What a line says to name a company."""

    line: Line
    naming: Naming
    column: str
    kind: str

    @property
    def value(self) -> str:
        return self.line[self.column]


# which company a line names, by the line and the first of the columns that may name it
Companies = Mapping[tuple[Line, str], int]
Naming = tuple[tuple[str, str], ...]

_COMPANY: Naming = (("company_id", "id"), ("company_name", "name"), ("website_domain", "domain"))
_PRINCIPAL: Naming = (("principal_company_id", "id"), ("principal_name", "name"))
_DISTRIBUTOR: Naming = (("distributor_company_id", "id"), ("distributor_name", "name"))


def check(connection: Connection, seeds_dir: Path) -> list[SeedProblem]:
    """Every problem of the mapping files, by file and line. Nothing is written.

    The lines are read one by one; the database is asked about many of them at once.
    """
    files = {name: read(seeds_dir, name) for name in FILES}
    roles = files["company_roles.csv"]
    categories = files["category_principals.csv"]
    agreements = files["principal_distributor_agreements.csv"]

    _check_unique(files["stage_mapping.csv"], "legacy_stage")
    _check_unique(files["activity_type_mapping.csv"], "task_type")
    _check_unique(categories, "category")
    _check_way_back(connection, files["stage_way_back.csv"], files["stage_mapping.csv"])

    companies = companies_of(connection, files)
    known_roles = _check_roles(roles, companies)
    # where a line of the roles is wrong, its company would seem to lack its role as well
    if not roles.problems:
        _require_role(categories, _PRINCIPAL, "principal", companies, known_roles)
        _require_role(agreements, _PRINCIPAL, "principal", companies, known_roles)
        _require_role(agreements, _DISTRIBUTOR, "distributor", companies, known_roles)
    _check_agreements(agreements, companies)

    order = list(FILES)
    problems = (problem for seed in files.values() for problem in seed.problems)
    return sorted(problems, key=lambda problem: (order.index(problem.file), problem.line or 0))


def companies_of(connection: Connection, files: Mapping[str, SeedFile]) -> Companies:
    """Which company each line names, by the line and the first of the columns that may name it.

    A line that names none or several is left out and becomes a problem of its file.
    """
    agreements = files["principal_distributor_agreements.csv"]
    named = [
        (files["company_roles.csv"], _COMPANY),
        (files["category_principals.csv"], _PRINCIPAL),
        (agreements, _PRINCIPAL),
        (agreements, _DISTRIBUTOR),
    ]
    return _find_companies(connection, named)


def fingerprint(seeds_dir: Path) -> str:
    """Changes when a mapping file is added, removed, renamed or changed."""
    total = hashlib.sha256()
    for path in sorted(seeds_dir.glob("*.csv")):
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _check_unique(seed: SeedFile, column: str) -> None:
    """No value twice, compared as the migration compares them: trimmed and in lower case."""
    first_lines: dict[str, int] = {}
    for line in seed.lines:
        first = first_lines.setdefault(line[column].strip(" ").lower(), line.number)
        if first != line.number:
            message = f"{column} “{line[column]}” is on line {first} already; case and outer blanks make no difference."
            seed.problems.append(line.problem("duplicate", column, message))


def _check_way_back(connection: Connection, way_back: SeedFile, mapping: SeedFile) -> None:
    known, source = _stages_of_installation(connection, mapping)
    for line in way_back.lines:
        shown = line["shown_as_legacy_stage"]
        if shown not in known:
            message = f"“{shown}” is no stage of this installation. {source}: {_listed(sorted(known))}."
            way_back.problems.append(line.problem("unknown_stage_shown", "shown_as_legacy_stage", message))

    lines_of: dict[str, list[Line]] = defaultdict(list)
    for line in way_back.lines:
        lines_of[line["stage"]].append(line)
    for stage, lines in lines_of.items():
        for line in lines[1:]:
            message = f"stage {stage} is on line {lines[0].number} already."
            way_back.problems.append(line.problem("duplicate", "stage", message))
    if way_back.is_readable:
        for stage in STAGES:
            if stage not in lines_of:
                way_back.problem("missing_stage", f"There is no sound line for stage {stage}.", column="stage")


def _stages_of_installation(connection: Connection, mapping: SeedFile) -> tuple[set[str], str]:
    if database.exists(connection, "public.configuration"):
        query = (_QUERIES / "configured_stages.sql").read_bytes()
        configured = {str(stage) for (stage,) in connection.execute(query)}
        if configured:
            return configured, "The configuration has"
    present = {str(stage) for (stage,) in connection.execute("select distinct stage from public.deals")}
    return present | {line["legacy_stage"] for line in mapping.lines}, "stage_mapping.csv and the deals have"


def _references(seed: SeedFile, naming: Naming) -> Iterator[_Reference]:
    """How each line names its company: by the first of the columns that is filled."""
    for line in seed.lines:
        filled = next(((column, kind) for column, kind in naming if line[column]), None)
        if filled is None:
            columns = " or ".join(column for column, _ in naming)
            seed.problems.append(line.problem("bad_value", naming[0][0], f"{columns} must be given."))
        else:
            yield _Reference(line, naming, *filled)


def _find_companies(connection: Connection, named: Sequence[tuple[SeedFile, Naming]]) -> Companies:
    """Ask for the companies of many lines at once, and complain of lines that name none or several."""
    query = (_QUERIES / "named_companies.sql").read_bytes()
    companies: dict[tuple[Line, str], int] = {}
    waiting = ((seed, reference) for seed, naming in named for reference in _references(seed, naming))
    while owners := list(islice(waiting, _AT_ONCE)):
        parameters = {
            "kinds": [reference.kind for _, reference in owners],
            "values": [reference.value for _, reference in owners],
        }
        found: dict[int, list[int]] = dict(connection.execute(query, parameters).fetchall())
        for position, (seed, reference) in enumerate(owners, start=1):
            ids = found.get(position, [])
            if len(ids) == 1:
                companies[reference.line, reference.naming[0][0]] = ids[0]
            else:
                seed.problems.append(_not_one(reference, ids))
    return companies


def _not_one(reference: _Reference, ids: list[int]) -> SeedProblem:
    line, column, value = reference.line, reference.column, reference.value
    if not ids:
        return line.problem("unknown_company", column, f"No company has the {reference.kind} “{value}”.")
    message = (
        f"{len(ids)} companies have the {reference.kind} “{value}”: {_listed([str(key) for key in ids])}. "
        f"Give the id in {reference.naming[0][0]}."
    )
    return line.problem("ambiguous_company", column, message)


def _check_roles(roles: SeedFile, companies: Companies) -> Mapping[int, set[str]]:
    """The roles of each company; principal and distributor go together, any other role stands alone."""
    lines_of: dict[int, dict[str, Line]] = defaultdict(dict)
    for line in roles.lines:
        company = companies.get((line, _COMPANY[0][0]))
        if company is None:
            continue
        earlier, role = lines_of[company], line["role"]
        if role in earlier:
            message = f"Line {earlier[role].number} says already that company {company} is a {role}."
            roles.problems.append(line.problem("duplicate", "role", message))
        elif earlier and not {role, *earlier} <= _BOTH_SIDES:
            other, at = next((known, at) for known, at in earlier.items() if not {role, known} <= _BOTH_SIDES)
            message = f"Line {at.number} says that company {company} is a {other}; it cannot be a {role} as well."
            roles.problems.append(line.problem("conflicting_roles", "role", message))
        else:
            earlier[role] = line
    return {company: set(lines) for company, lines in lines_of.items()}


def _require_role(
    seed: SeedFile, naming: Naming, role: str, companies: Companies, known_roles: Mapping[int, set[str]]
) -> None:
    for line in seed.lines:
        company = companies.get((line, naming[0][0]))
        if company is not None and role not in known_roles.get(company, set()):
            column = next(column for column, _ in naming if line[column])
            message = f"Company {company} (“{line[column]}”) needs a line in company_roles.csv with the role {role}."
            seed.problems.append(line.problem("missing_role", column, message))


def _check_agreements(agreements: SeedFile, companies: Companies) -> None:
    in_force: dict[tuple[int, int], Line] = {}
    for line in agreements.lines:
        # dates of this form sort like the days that they name
        if line["start_date"] and line["end_date"] and line["end_date"].strip() < line["start_date"].strip():
            agreements.problems.append(line.problem("bad_value", "end_date", "The agreement ends before it starts."))
        principal = companies.get((line, _PRINCIPAL[0][0]))
        distributor = companies.get((line, _DISTRIBUTOR[0][0]))
        if principal is None or distributor is None:
            continue
        if principal == distributor:
            message = f"Company {principal} cannot be principal and distributor of one agreement."
            agreements.problems.append(line.problem("same_company", None, message))
        elif line["status"] == "active":
            first = in_force.setdefault((principal, distributor), line)
            if first is not line:
                message = f"Line {first.number} holds an active agreement of the same two companies."
                agreements.problems.append(line.problem("duplicate", "status", message))


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - _MANY} more" if len(values) > _MANY else ""
    return ", ".join(values[:_MANY]) + more
