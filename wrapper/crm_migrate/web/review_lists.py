"""What the review console lists: the checklist's records, and pages of everything with search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql

from crm_migrate import database, paths
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

PAGE = 25
LONGEST_SEARCH = 200
_BIGGEST_KEY = 2**63 - 1


@dataclass(frozen=True)
class Section:
    """A part of the checklist: what to look at and why."""

    title: str
    hint: str
    kind: str
    query: str


CHECKLIST = (
    Section(
        "Top 3 accounts",
        "The organizations with the largest opportunities. Do type, principals and sums look right?",
        "organizations",
        "top_accounts",
    ),
    Section(
        "Contact associations",
        "The contacts with the most organizations. Is the primary organization the right one?",
        "contacts",
        "contact_associations",
    ),
    Section(
        "Open opportunities",
        "The largest that are open. Are stage, amount, customer, principal and distributor right?",
        "opportunities",
        "open_opportunities",
    ),
    Section(
        "Recent activities",
        "What was done last. Do they belong to the right contact and organization?",
        "activities",
        "recent_activities",
    ),
)

# in what a search looks
_SEARCHED: Mapping[str, LiteralString] = {
    "opportunities": "name",
    "contacts": "concat_ws(' ', first_name, last_name)",
    "organizations": "name",
    "activities": "concat_ws(' ', subject, description)",
}


@dataclass(frozen=True)
class Page:
    """Some rows in the order of their keys, and where the pages before and after begin."""

    rows: Sequence[Mapping[str, Any]]
    before: int | None
    after: int | None


def tables(settings: Settings) -> dict[str, sql.Identifier]:
    """The new tables under the names of this installation, as the queries name them."""
    names = {
        "opportunities": "opportunities",
        "links": "contact_organizations",
        "activities": "activities",
        "relationships": "principal_distributor_relationships",
    }
    return {part: sql.Identifier("public", settings.rename.get(name, name)) for part, name in names.items()}


def query(connection: Connection, settings: Settings, name: str, **parts: sql.Composable) -> list[dict[str, Any]]:
    """The rows of a query of `sql/review`."""
    text: LiteralString = (paths.SQL / "review" / f"{name}.sql").read_text(encoding="utf-8")
    return database.rows(connection, sql.SQL(text).format(**tables(settings), **parts))


def page(
    connection: Connection,
    settings: Settings,
    kind: str,
    *,
    search: str = "",
    after: int | None = None,
    before: int | None = None,
) -> Page:
    """A page of a kind, by its keys, so that the hundred-thousandth row is as near as the first.

    Args:
        search: letters that the name has somewhere, in any case, or an id.
        after: rows with larger keys.
        before: rows with smaller keys, the nearest.
    """
    backwards = before is not None
    beyond: sql.Composable = sql.SQL("true")
    if before is not None:
        beyond = sql.SQL("id < {}").format(sql.Literal(before))
    elif after is not None:
        beyond = sql.SQL("id > {}").format(sql.Literal(after))
    rows = query(
        connection,
        settings,
        f"list_{kind}",
        match=_match(kind, search),
        beyond=beyond,
        order=sql.SQL("id desc") if backwards else sql.SQL("id"),
        limit=sql.Literal(PAGE + 1),
    )
    more = len(rows) > PAGE
    rows = rows[:PAGE]
    if backwards:
        rows.reverse()
    if not rows:
        return Page([], None, None)
    has_before = more if backwards else after is not None
    has_after = True if backwards else more
    return Page(rows, rows[0]["id"] if has_before else None, rows[-1]["id"] if has_after else None)


def _match(kind: str, search: str) -> sql.Composable:
    wanted = search.replace("\0", "").strip()[:LONGEST_SEARCH]
    if not wanted:
        return sql.SQL("true")
    escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    found: sql.Composable = sql.SQL("{} ilike {}").format(sql.SQL(_SEARCHED[kind]), sql.Literal(f"%{escaped}%"))
    if wanted.isascii() and wanted.isdigit() and int(wanted) <= _BIGGEST_KEY:
        found = sql.SQL("({} or id = {})").format(found, sql.Literal(int(wanted)))
    return found
