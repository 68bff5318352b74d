"""Rows of a legacy CRM: whatever the types of its columns and its foreign keys allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from faults.anydb import values as v

MOST_ROWS = 4
Row = Mapping[str, v.Value]

STAGES = (
    "opportunity",
    "won",
    "lost",
    "delayed",
    "proposal-sent",
    "in-negociation",
    " WON\t",
    "Won",
    "",
    "⚑ custom",
    "lead",
    "closed_won",
)
TASK_TYPES = ("call", "none", "Follow-up", "thank you", "", "  ", "⚑", "CALL")


@dataclass(frozen=True)
class Rows:
    """Rows by table, parents first; and where the sequence of each table stands, when it was used."""

    of: Mapping[str, Sequence[Row]]
    sequences: Mapping[str, int]


@st.composite
def keys(draw: st.DrawFn, most: int = MOST_ROWS) -> list[str]:
    """Keys of some rows; now and then the ends of the type."""
    usual = st.integers(1, 40)
    odd = st.sampled_from([0, -1, -(2**63), 2**63 - 1, 2**63 - 2, 2**53 + 1, 10**15])
    least = draw(st.sampled_from([0, 1, 1, 2]))
    found = draw(st.lists(st.one_of(usual, usual, usual, odd), min_size=least, max_size=most, unique=True))
    return [str(key) for key in found]


@st.composite
def crm(draw: st.DrawFn, generation: str) -> Rows:
    """The rows of all tables."""
    text, some_text = v.nullable(v.texts()), v.texts()
    short = v.nullable(v.texts(40))
    document, time = v.nullable(v.documents()), v.nullable(v.times())

    def of(chosen: list[str], columns: Mapping[str, v.Values]) -> list[Row]:
        return [{"id": key} | {name: draw(values) for name, values in columns.items()} for key in chosen]

    def one_of(parents: list[str], *, required: bool = False) -> v.Values:
        known = st.sampled_from(parents) if parents else st.none()
        return known if required else v.nullable(known)

    sales, companies, contacts, deals, tags = (draw(keys()) for _ in range(5))
    anybody = v.arrays(st.sampled_from([*contacts, *contacts, "404", "0", "-7"]))
    rows: dict[str, list[Row]] = {}
    rows["sales"] = of(
        sales,
        {
            "first_name": some_text,
            "last_name": some_text,
            "email": v.texts(60),
            "administrator": st.sampled_from(["t", "f"]),
            "avatar": document,
            "disabled": st.sampled_from(["t", "f"]),
        },
    )
    rows["companies"] = of(
        companies,
        {
            "created_at": v.times(),
            "name": st.one_of(some_text, st.sampled_from(["Acme", "acme ", "Acme"])),
            "sector": short,
            "size": v.nullable(v.integers(-(2**15), 2**15 - 1)),
            "linkedin_url": short,
            "website": st.one_of(short, st.sampled_from(["HTTPS://Acme.example/", "acme.example"])),
            "address": text,
            "stateAbbr" if generation == "2025" else "state_abbr": short,
            "sales_id": one_of(sales),
            "context_links": v.nullable(v.documents(v.JSON)),
            "description": text,
            "revenue": short,
            "logo": document,
        },
    )
    rows["contacts"] = of(
        contacts,
        {
            "first_name": text,
            "last_name": text,
            "gender": short,
            "background": text,
            "avatar": document,
            "first_seen": time,
            "last_seen": time,
            "has_newsletter": st.sampled_from([None, "t", "f"]),
            "status": short,
            "tags": v.nullable(v.arrays(st.sampled_from([*tags, "404"]))),
            "company_id": one_of(companies),
            "sales_id": one_of(sales),
            "email_jsonb": document,
            "phone_jsonb": document,
        },
    )
    rows["deals"] = of(
        deals,
        {
            "name": some_text,
            "company_id": one_of(companies),
            "contact_ids": v.nullable(anybody),
            "category": short,
            "stage": st.one_of(st.sampled_from(STAGES), some_text),
            "description": text,
            "amount": v.nullable(v.integers(-(2**63), 2**63 - 1)),
            "created_at": v.times(),
            "updated_at": v.times(),
            "archived_at": time,
            "expected_closing_date": v.nullable(v.times() if generation == "2025" else v.dates()),
            "sales_id": one_of(sales),
            "index": v.nullable(v.integers(-(2**15), 2**15 - 1)),
        },
    )
    attachments = v.nullable(v.arrays(v.documents()))
    if deals:
        rows["dealNotes" if generation == "2025" else "deal_notes"] = of(
            draw(keys()),
            {
                "deal_id": one_of(deals, required=True),
                "type": short,
                "text": text,
                "date": time,
                "sales_id": one_of(sales),
                "attachments": attachments,
            },
        )
    if contacts:
        rows["contactNotes" if generation == "2025" else "contact_notes"] = of(
            draw(keys()),
            {
                "contact_id": one_of(contacts, required=True),
                "text": text,
                "date": time,
                "sales_id": one_of(sales),
                "status": short,
                "attachments": attachments,
            },
        )
        rows["tasks"] = of(
            draw(keys()),
            {
                "contact_id": one_of(contacts, required=True),
                "type": st.one_of(st.none(), st.sampled_from(TASK_TYPES), short),
                "text": text,
                # the older generation has no foreign key here
                "sales_id": one_of([*sales, "404"] if generation == "2025" else sales),
                "due_date": v.times() if generation == "2025" else time,
                "done_date": time,
            },
        )
    rows["tags"] = of(tags, {"name": some_text, "color": some_text})
    used = draw(st.sampled_from(["never", "kept up", "kept up", "far ahead"]))
    sequences = {}
    for table, listed in rows.items():
        highest = max((int(str(row["id"])) for row in listed), default=0)
        if used != "never" and 0 < highest < 2**63 - 1:
            sequences[table] = highest if used == "kept up" else min(highest + 1_000, 2**63 - 1)
    return Rows(rows, sequences)
