"""The mapping files as files: what columns they have, and how their lines are read."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
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
# problems of one file that are told one by one: whoever has more has one cause for them
MOST_PROBLEMS = 1_000
_MORE = "seeds.more"

Complaint = str | None


@dataclass(frozen=True)
class SeedProblem:
    """Something wrong in a mapping file, and where. `count` says for how many problems it stands."""

    file: str
    line: int | None
    column: str | None
    value: str | None
    message: str
    code: str
    count: int = 1

    @property
    def is_more(self) -> bool:
        """Whether it stands for those that are not told one by one."""
        return self.code == _MORE

    @property
    def where(self) -> str:
        """File and line, as editors understand it."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


# a portion of a file has tens of thousands
@dataclass(frozen=True, slots=True)
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
    """A mapping file, read whenever its lines are asked for: no more than one of them is ever held.

    Attributes:
        count: of its problems. The first `MOST_PROBLEMS` are kept.
        is_readable: after a reading: whether it is a text whose columns are known.
    """

    folder: Path
    name: str
    count: int = 0
    is_readable: bool = False
    _kept: list[SeedProblem] = field(default_factory=list)

    @property
    def problems(self) -> list[SeedProblem]:
        """What is wrong with it; of very many the first, and how many more there are."""
        more = self.count - len(self._kept)
        if not more:
            return list(self._kept)
        message = f"{more} more problem(s) of this file are not told one by one."
        return [*self._kept, SeedProblem(self.name, None, None, None, message, _MORE, more)]

    def problem(self, code: str, message: str, *, line: int | None = None, column: str | None = None) -> None:
        """Add a problem of the file itself."""
        self.complain([SeedProblem(self.name, line, column, None, message, f"seeds.{code}")])

    def complain(self, problems: Iterable[SeedProblem]) -> None:
        """Add problems of its lines."""
        for problem in problems:
            self.count += 1
            if len(self._kept) < MOST_PROBLEMS:
                self._kept.append(problem)

    def lines(self) -> Iterator[Line]:
        """The lines that are sound by themselves; what is wrong with the others becomes a problem."""
        for line in self._readable():
            problems = list(_complaints(line))
            self.complain(problems)
            if not problems:
                yield line

    def _readable(self) -> Iterator[Line]:
        if not _is_text(self.folder / self.name, self):
            return
        with (self.folder / self.name).open(encoding="utf-8-sig", newline="") as file:
            records = _records(file, self)
            first = next(records, None)
            if first is None or not _has_columns(first[1], self):
                return
            header = tuple(first[1])
            self.is_readable = True
            for number, cells in records:
                if all(_is_blank(cell) for cell in cells):
                    self.problem("blank_line", "The line is blank. Remove it.", line=number)
                elif len(cells) != len(header):
                    message = (
                        f"The line has {len(cells)} cells, the first line names {len(header)} columns."
                        " Is a comma unquoted?"
                    )
                    self.problem("column_count", message, line=number)
                else:
                    yield Line(self.name, number, header, tuple("" if _is_blank(cell) else cell for cell in cells))


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


def _is_text(path: Path, seed: SeedFile) -> bool:
    """Whether the file can be read as text, and is not empty."""
    is_blank = True
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                # no character of UTF-8 but the line feed itself has its byte
                text = raw.decode("utf-8")
                if "\0" in text:
                    message = "The file holds a NUL character. Save it as “CSV UTF-8”."
                    seed.problem("unreadable", message, line=number)
                    return False
                is_blank = is_blank and not text.removeprefix("\ufeff").strip()
    except UnicodeDecodeError:
        seed.problem("not_utf8", "The file is not UTF-8. Save it as “CSV UTF-8”.", line=number)
        return False
    except OSError as error:
        seed.problem("unreadable", f"The file cannot be read: {error.strerror or error}.")
        return False
    if is_blank:
        seed.problem("missing_column", "The file is empty. Its first line must name the columns.")
    return not is_blank


def _records(file: Iterable[str], seed: SeedFile) -> Iterator[tuple[int, list[str]]]:
    """The records with the number of the line on which each starts: a quoted cell may go over several."""
    reader = csv.reader(file, strict=True)
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


def _complaints(line: Line) -> Iterator[SeedProblem]:
    for column in FILES[line.file]:
        value = line[column.name]
        if value:
            complaint = column.complain(value)
            if complaint:
                yield line.problem("bad_value", column.name, f"{column.name} “{value}” {complaint}.")
        elif column.required:
            yield line.problem("bad_value", column.name, f"{column.name} is blank.")


def _is_blank(cell: str) -> bool:
    """What dbt reads as null."""
    return cell.strip().lower() in {"", "null"}
