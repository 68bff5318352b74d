"""What people do after the cutover: through the old names as an unchanged front end does, and through the new ones."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from faults.anydb import values as v
from faults.anydb.own import lit
from faults.anydb.rows import STAGES, Rows

OLD_KINDS = (
    *("change", "change", "move", "add", "remove", "note", "note change", "note remove", "company", "contact"),
)
ROLES = ("authenticated", "authenticated", "service_role")


@dataclass(frozen=True)
class Edit:
    """One statement of somebody; `soft` deletes a company or a contact softly."""

    role: str
    statement: str
    soft: bool = False


@st.composite
def through_old_names(draw: st.DrawFn, generation: str, rows: Rows) -> tuple[Edit, ...]:
    """What the legacy tables take as well: the same statement has the same outcome before and after."""
    notes = 'public."dealNotes"' if generation == "2025" else "public.deal_notes"
    deals, companies, contacts = (
        [str(row["id"]) for row in rows.of[table]] or ["5"] for table in ("deals", "companies", "contacts")
    )
    note_keys = [str(row["id"]) for row in rows.of.get(notes.removeprefix("public.").strip('"'), ())] or ["5"]
    closing = v.times() if generation == "2025" else v.dates()
    columns = {
        "name": v.texts(),
        "stage": st.sampled_from(STAGES),
        "description": v.nullable(v.texts()),
        "category": v.nullable(v.texts(40)),
        "amount": v.nullable(v.integers(-(2**63), 2**63 - 1)),
        '"index"': v.nullable(v.integers(-(2**15), 2**15 - 1)),
        "company_id": v.nullable(st.sampled_from(companies)),
        "contact_ids": v.nullable(v.arrays(st.sampled_from([*contacts, "404"]))),
        "archived_at": v.nullable(v.times()),
        "updated_at": v.times(),
        "expected_closing_date": v.nullable(closing),
    }
    stock = ", ".join(f"deals.{column}" for column in columns)
    found = []
    least = draw(st.sampled_from([0, 3]))
    for kind in draw(st.lists(st.sampled_from(OLD_KINDS), min_size=least, max_size=6)):
        deal = draw(st.sampled_from(deals))
        if kind in ("change", "move"):
            chosen = draw(st.sets(st.sampled_from(sorted(columns)), min_size=1, max_size=3))
            if kind == "move":
                chosen = {"stage", '"index"'}
            given = ", ".join(f"{column} = {lit(draw(columns[column]))}" for column in sorted(chosen))
            statement = f"update public.deals set {given} where id = {deal} returning row({stock})::text"
        elif kind == "add":
            chosen = {"name", "stage", *draw(st.sets(st.sampled_from(sorted(columns)), max_size=5))} - {"updated_at"}
            names, literals = sorted(chosen), [lit(draw(columns[column])) for column in sorted(chosen)]
            # without the times, which are those of the moment
            shown = ", ".join(f"deals.{column}" for column in columns if column != "updated_at")
            statement = (
                f"insert into public.deals ({', '.join(names)}) values ({', '.join(literals)})"
                f" returning row({shown})::text"
            )
        elif kind == "remove":
            statement = f"delete from public.deals where id = {deal} returning row({stock})::text"
        elif kind == "note":
            statement = (
                f"insert into {notes} (deal_id, text, date, attachments) values ({deal}, {lit(draw(v.texts()))},"
                f" {lit(draw(v.times()))}, {lit(draw(v.arrays(v.documents())))})"
                " returning row(deal_id, type, text, date, attachments)::text"
            )
        elif kind == "note change":
            statement = (
                f"update {notes} set text = {lit(draw(v.nullable(v.texts())))}, deal_id = {deal}"
                f" where id = {draw(st.sampled_from(note_keys))} returning row(id, deal_id, type, text, date)::text"
            )
        elif kind == "note remove":
            # without the keys: a note that was added a moment ago has another number each time
            statement = f"delete from {notes} where deal_id = {deal} returning row(type, text)::text"
        elif kind == "company":
            statement = f"delete from public.companies where id = {draw(st.sampled_from(companies))} returning id::text"
        else:
            statement = (
                f"update public.contacts set last_name = {lit(draw(v.texts()))}, company_id ="
                f" {lit(draw(v.nullable(st.sampled_from(companies))))} where id = {draw(st.sampled_from(contacts))}"
                " returning row(id, first_name, last_name, company_id)::text"
            )
        found.append(Edit(draw(st.sampled_from(ROLES)), statement))
    return tuple(found)


@st.composite
def through_new_names(draw: st.DrawFn, rows: Rows) -> tuple[Edit, ...]:
    """What only the new tables take, and tables that stayed."""
    stages = st.sampled_from(["lead", "closed_won", "nurturing"])
    deals, companies, contacts, tasks = (
        [str(row["id"]) for row in rows.of.get(table, ())] or ["5"]
        for table in ("deals", "companies", "contacts", "tasks")
    )
    found = []
    kinds = [
        *("stage", "text", "add", "soft", "remove", "participant", "link", "company", "soft company", "soft contact"),
        *("task", "activity", "tag", "product"),
    ]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=draw(st.sampled_from([0, 3])), max_size=6)):
        deal, company, contact = (draw(st.sampled_from(keys)) for keys in (deals, companies, contacts))
        text = lit(draw(v.texts()))
        statement = {
            "stage": f"update public.opportunities set stage = '{draw(stages)}',"
            f" probability = {draw(st.integers(0, 100))} where id = {deal}",
            "text": f"update public.opportunities set name = {text}, next_action = {text}, priority = 'critical'"
            f" where id = {deal}",
            "add": "insert into public.opportunities (name, stage, customer_organization_id, contact_ids)"
            f" values ({text}, 'qualified', {company}, '{{{contact}}}')",
            "soft": f"update public.opportunities set deleted_at = now() where id = {deal}",
            "remove": f"delete from public.opportunities where id = {deal}",
            "participant": "insert into public.opportunity_participants (opportunity_id, organization_id, role)"
            f" values ({deal}, {company}, '{draw(st.sampled_from(['customer', 'partner', 'competitor']))}')",
            "link": "insert into public.contact_organizations (contact_id, organization_id, is_primary_organization)"
            f" values ({contact}, {company}, {draw(st.sampled_from(['true', 'false']))})",
            "company": f"update public.companies set name = {text}, segment = {text}, priority = 'A'"
            f" where id = {company}",
            "soft company": f"update public.companies set deleted_at = now() where id = {company}",
            "soft contact": f"update public.contacts set deleted_at = now() where id = {contact}",
            "task": f"update public.tasks set text = {text}, done_date = {lit(draw(v.nullable(v.times())))}"
            f" where id = {draw(st.sampled_from(tasks))}",
            "activity": "insert into public.activities"
            " (activity_type, interaction_type, contact_id, opportunity_id, description)"
            f" values ('interaction', 'call', {contact}, {deal}, {text})",
            "tag": f"insert into public.tags (name, color) values ({text}, {text})",
            "product": "insert into public.products (principal_organization_id, name, sku)"
            f" values ({company}, {text}, '1')",
        }[kind]
        found.append(Edit(draw(st.sampled_from(ROLES)), statement, soft=kind in ("soft company", "soft contact")))
    return tuple(found)
