"""The mapping files as files: what columns they have, and how their lines are read."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

STAGES = ("lead", "qualified", "needs_analysis", "proposal", "negotiation", "closed_won", "closed_lost", "nurturing")
STATUSES = ("active", "on_hold", "nurturing", "stalled", "expired")
ROLES = ("customer", "principal", "distributor", "prospect", "vendor", "partner")
RELATIONSHIP_STATUSES = ("active", "pending", "terminated")
INTERACTIONS = (
    *("call", "email", "meeting", "demo", "proposal", "follow_up", "trade_show", "site_visit"),
    *("contract_review", "check_in", "social"),
)
MAX_BIGINT = 2**63 - 1

Complaint = str | None


@dataclass(frozen=True)
class SeedProblem:
    """Something wrong in a mapping file, and where."""

    file: str
    line: int | None
    column: str | None
    value: str | None
    message: str
    code: str

    @property
    def where(self) -> str:
        """File and line, as editors understand it."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


# there may be hundreds of thousands
@dataclass(frozen=True, eq=False, slots=True)
class Line:
    """One line of a mapping file. Blank cells are empty strings.

    Attributes:
        columns: of the file; its lines share them.
        values: one for each of them.
    """

    file: str
    number: int
    columns: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def cells(self) -> dict[str, str]:
        """The values by column."""
        return dict(zip(self.columns, self.values, strict=True))

    def __getitem__(self, column: str) -> str:
        return self.values[self.columns.index(column)]

    def problem(self, code: str, column: str | None, message: str) -> SeedProblem:
        """A problem of this line, or of one cell of it."""
        value = self[column] if column in self.columns else None
        return SeedProblem(self.file, self.number, column, value, message, f"seeds.{code}")


@dataclass(frozen=True)
class Column:
    """A column of a mapping file; `complain` says what is wrong with a value, if anything is."""

    name: str
    complain: Callable[[str], Complaint] = lambda value: None
    required: bool = False


@dataclass
class SeedFile:
    """A mapping file as it was read: the lines that are sound by themselves, and the problems of the others."""

    name: str
    lines: list[Line] = field(default_factory=list)
    problems: list[SeedProblem] = field(default_factory=list)
    is_readable: bool = False

    def problem(self, code: str, message: str, *, line: int | None = None, column: str | None = None) -> None:
        """Add a problem of the file itself."""
        self.problems.append(SeedProblem(self.name, line, column, None, message, f"seeds.{code}"))


def _one_of(*allowed: str) -> Callable[[str], Complaint]:
    return lambda value: None if value in allowed else f"is not one of {', '.join(allowed)}"


def _percent(value: str) -> Complaint:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return "is not a number such as 12.5"
    if not number.is_finite() or not 0 <= number <= 100:
        return "is not between 0 and 100"
    exponent = number.as_tuple().exponent
    return "has more than two decimals" if isinstance(exponent, int) and exponent < -2 else None


def _whole_percent(value: str) -> Complaint:
    is_whole = value.strip().isascii() and value.strip().isdigit()
    return None if is_whole and int(value) <= 100 else "is not a whole number between 0 and 100"


def _company_id(value: str) -> Complaint:
    digits = value.strip().removeprefix("-")
    is_id = digits.isascii() and digits.isdigit() and len(digits) < 20 and abs(int(value)) <= MAX_BIGINT
    return None if is_id else "is not a company's id"


def _day(value: str) -> Complaint:
    try:
        parsed = date.fromisoformat(value.strip())
    except ValueError:
        return "is not a date such as 2026-03-31"
    return None if parsed.isoformat() == value.strip() else "is not a date such as 2026-03-31"


FILES: dict[str, tuple[Column, ...]] = {
    "stage_mapping.csv": (
        Column("legacy_stage", required=True),
        Column("stage", _one_of(*STAGES), required=True),
        Column("status", _one_of(*STATUSES), required=True),
        Column("probability", _whole_percent, required=True),
    ),
    "stage_way_back.csv": (
        Column("stage", _one_of(*STAGES), required=True),
        Column("shown_as_legacy_stage", required=True),
    ),
    "company_roles.csv": (
        Column("company_id", _company_id),
        Column("company_name"),
        Column("website_domain"),
        Column("role", _one_of(*ROLES), required=True),
        Column("commission_percent", _percent),
    ),
    "category_principals.csv": (
        Column("category", required=True),
        Column("principal_company_id", _company_id),
        Column("principal_name"),
    ),
    "principal_distributor_agreements.csv": (
        Column("principal_company_id", _company_id),
        Column("principal_name"),
        Column("distributor_company_id", _company_id),
        Column("distributor_name"),
        Column("status", _one_of(*RELATIONSHIP_STATUSES), required=True),
        Column("start_date", _day),
        Column("end_date", _day),
        Column("commission_percent", _percent),
        Column("notes"),
    ),
    "activity_type_mapping.csv": (
        Column("task_type", required=True),
        # a task has no opportunity, and an interaction needs one
        Column("activity_type", _one_of("engagement"), required=True),
        Column("interaction_type", _one_of(*INTERACTIONS)),
    ),
}


def read(folder: Path, name: str) -> SeedFile:
    """Read a mapping file; each line comes back either sound by itself or as problems."""
    seed = SeedFile(name)
    text = _text(folder / name, seed)
    if text is None:
        return seed
    records = _records(text, seed)
    first = next(records, None)
    if first is None or not _has_columns(first[1], seed):
        return seed
    header = tuple(first[1])
    seed.is_readable = True
    for number, cells in records:
        if all(_is_blank(cell) for cell in cells):
            seed.problem("blank_line", "The line is blank. Remove it.", line=number)
        elif len(cells) != len(header):
            message = (
                f"The line has {len(cells)} cells, the first line names {len(header)} columns. Is a comma unquoted?"
            )
            seed.problem("column_count", message, line=number)
        else:
            _keep(Line(name, number, header, tuple("" if _is_blank(cell) else cell for cell in cells)), seed)
    return seed


def _text(path: Path, seed: SeedFile) -> str | None:
    try:
        raw = path.read_bytes()
    except OSError as error:
        seed.problem("unreadable", f"The file cannot be read: {error.strerror or error}.")
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        seed.problem("not_utf8", "The file is not UTF-8. Save it as “CSV UTF-8”.", line=line)
        return None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        seed.problem("unreadable", "The file holds a NUL character. Save it as “CSV UTF-8”.", line=line)
        return None
    if not text.strip():
        seed.problem("missing_column", "The file is empty. Its first line must name the columns.")
        return None
    return text


def _records(text: str, seed: SeedFile) -> Iterator[tuple[int, list[str]]]:
    """The records with the number of the line on which each starts: a quoted cell may go over several."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            seed.problem("unreadable", f"The line cannot be read as CSV: {error}.", line=start)
            return
        yield start, cells


def _has_columns(header: list[str], seed: SeedFile) -> bool:
    missing = [column.name for column in FILES[seed.name] if column.name not in header]
    hint = " Separate columns by commas, not semicolons." if len(header) == 1 and ";" in header[0] else ""
    for name in missing:
        seed.problem("missing_column", f"There is no column {name}.{hint}", line=1, column=name)
    for name in sorted({name for name in header if header.count(name) > 1}):
        seed.problem("duplicate", f"There are several columns {name}.", line=1, column=name)
    return not missing and len(set(header)) == len(header)


def _keep(line: Line, seed: SeedFile) -> None:
    problems = []
    for column in FILES[seed.name]:
        value = line[column.name]
        if value:
            complaint = column.complain(value)
            if complaint:
                problems.append(line.problem("bad_value", column.name, f"{column.name} “{value}” {complaint}."))
        elif column.required:
            problems.append(line.problem("bad_value", column.name, f"{column.name} is blank."))
    if problems:
        seed.problems.extend(problems)
    else:
        seed.lines.append(line)


def _is_blank(cell: str) -> bool:
    """What dbt reads as null."""
    return cell.strip().lower() in {"", "null"}
