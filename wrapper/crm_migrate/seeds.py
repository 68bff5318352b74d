"""The analyst's mapping files: whether they are sound, and whether the companies and stages they name exist."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from crm_migrate import database, paths, seed_companies
from crm_migrate.database import Connection
from crm_migrate.seed_files import FILES, MOST_PROBLEMS, STAGES, Line, SeedFile, SeedProblem

__all__ = ["SeedProblem", "check", "fingerprint", "named_companies"]

_QUERIES = paths.SQL / "seeds"
_RULES = _QUERIES / "rules"
_ASKED = sql.SQL("select position, kind, value from mapping_references")
# stages that a sentence lists
_MANY = 5
# of very many findings as many as a file tells one by one
_FIRST = """
    select *
    from (
        select
            found.*,
            count(*) over (partition by file) as in_file,
            row_number() over (partition by file order by line) as place
        from ({}) as found
    ) as numbered
    where place <= {}
    order by file, line
"""
# code and sentence by what a query of `sql/seeds/rules` calls its finding; the fields are the columns of that query
_SAID: Mapping[str, tuple[str, str]] = {
    "twice": (
        "duplicate",
        "{named} “{value}” is on line {other} already; case and outer blanks make no difference.",
    ),
    "unknown_company": ("unknown_company", "No company has the {kind} “{value}”."),
    "ambiguous_company": (
        "ambiguous_company",
        "{matches} companies have the {kind} “{value}”: {ids}. Give the id in {id_column}.",
    ),
    "unknown_stage": ("unknown_stage_shown", "“{value}” is no stage of this installation. {source}: {known}."),
    "role_twice": ("duplicate", "Line {other} says already that company {company} is a {value}."),
    "roles_conflict": (
        "conflicting_roles",
        "Line {other} says that company {company} is a {other_role}; it cannot be a {value} as well.",
    ),
    "missing_role": (
        "missing_role",
        "Company {company} (“{value}”) needs a line in company_roles.csv with the role {other_role}.",
    ),
    "ends_early": ("bad_value", "The agreement ends before it starts."),
    "same_company": ("same_company", "Company {company} cannot be principal and distributor of one agreement."),
    "agreement_twice": ("duplicate", "Line {other} holds an active agreement of the same two companies."),
}


def check(connection: Connection, seeds_dir: Path) -> list[SeedProblem]:
    """Every problem of the mapping files, by file and line.

    Nothing is written but temporary tables that are gone afterwards: the lines are held against each other there, so
    that no more than one of them is ever in memory.
    """
    files = {name: SeedFile(seeds_dir, name) for name in FILES}
    with _lines_of(connection, files):
        _apply(connection, files, "companies")
        _apply(connection, files, "values_twice")
        _check_way_back(connection, files)
        _apply(connection, files, "roles")
        # where a line of the roles is wrong, its company would seem to lack its role as well
        if not files["company_roles.csv"].count:
            _apply(connection, files, "roles_missing")
        _apply(connection, files, "agreements")
    order = list(FILES)
    problems = (problem for seed in files.values() for problem in seed.problems)
    return sorted(problems, key=lambda problem: (order.index(problem.file), problem.is_more, problem.line or 0))


def named_companies(connection: Connection, seeds_dir: Path) -> list[int]:
    """The companies that the mapping files name, in order."""
    with _lines_of(connection, {name: SeedFile(seeds_dir, name) for name in seed_companies.NAMINGS}):
        query = "select distinct company from mapping_references where company is not null order by company"
        return [company for (company,) in connection.execute(query)]


def fingerprint(seeds_dir: Path) -> str:
    """Changes when a mapping file is added, removed, renamed or changed."""
    total = hashlib.sha256()
    for path in sorted(seeds_dir.glob("*.csv")):
        with path.open("rb") as file:
            total.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


@contextmanager
def _lines_of(connection: Connection, files: Mapping[str, SeedFile]) -> Iterator[None]:
    """Have the sound lines and what they refer to in temporary tables; the others become problems of their files."""
    with connection.transaction():
        connection.execute((_QUERIES / "lines.sql").read_bytes())
        with connection.cursor() as cursor, cursor.copy("copy mapping_lines from stdin") as copy:
            for seed in files.values():
                for line in seed.lines():
                    copy.write_row(_row(line, seed))
        connection.execute("analyze mapping_lines")
        connection.execute((_QUERIES / "references.sql").read_bytes())
        connection.execute("analyze mapping_references")
        meant = sql.SQL((_QUERIES / "meant.sql").read_text(encoding="utf-8"))
        connection.execute(meant.format(named_companies=seed_companies.query(_ASKED)))
        yield


def _row(line: Line, seed: SeedFile) -> tuple[str, int, str, str]:
    asked = seed_companies.references(line)
    for reference, naming in zip(asked, seed_companies.NAMINGS.get(line.file, ()), strict=True):
        if reference is None:
            columns = " or ".join(column for column, _ in naming)
            seed.complain([line.problem("bad_value", naming[0][0], f"{columns} must be given.")])
    return line.file, line.number, json.dumps(line.cells, ensure_ascii=False), json.dumps(asked)


def _apply(
    connection: Connection,
    files: Mapping[str, SeedFile],
    rule: str,
    parameters: Mapping[str, sql.Composable] | None = None,
    **told: str,
) -> None:
    """Add what one query finds to the problems of the files.

    Args:
        parameters: of the query.
        told: what the sentences say besides the facts that it finds.
    """
    query = sql.SQL((_RULES / f"{rule}.sql").read_text(encoding="utf-8")).format(**(parameters or {}))
    for fact in database.rows(connection, sql.SQL(_FIRST).format(query, sql.Literal(MOST_PROBLEMS))):
        seed = files[fact["file"]]
        code, sentence = _SAID[fact["rule"]]
        message = sentence.format_map({**told, **fact})
        seed.complain([SeedProblem(seed.name, fact["line"], fact["named"], fact["value"], message, f"seeds.{code}")])
        if fact["place"] == MOST_PROBLEMS:
            seed.count += fact["in_file"] - MOST_PROBLEMS


def _check_way_back(connection: Connection, files: Mapping[str, SeedFile]) -> None:
    way_back = files["stage_way_back.csv"]
    known, source = _stages_of_installation(connection)
    _apply(connection, files, "stages_shown", {"stages": sql.Literal(known)}, source=source, known=_listed(known))
    if way_back.is_readable:
        query = "select cells ->> 'stage' from mapping_lines where file = %s group by 1"
        told = {stage for (stage,) in connection.execute(query, [way_back.name])}
        for stage in STAGES:
            if stage not in told:
                way_back.problem("missing_stage", f"There is no sound line for stage {stage}.", column="stage")


def _stages_of_installation(connection: Connection) -> tuple[list[str], str]:
    if database.exists(connection, "public.configuration"):
        configured = {str(stage) for (stage,) in connection.execute((_QUERIES / "configured_stages.sql").read_bytes())}
        if configured:
            return sorted(configured), "The configuration has"
    used = connection.execute((_QUERIES / "used_stages.sql").read_bytes())
    return sorted(str(stage) for (stage,) in used), "stage_mapping.csv and the deals have"


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - _MANY} more" if len(values) > _MANY else ""
    return ", ".join(values[:_MANY]) + more
