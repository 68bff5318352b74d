"""What the pages for everybody say of the data is so in a migrated database."""

from __future__ import annotations

import csv
import re
from typing import Any

import psycopg
import pytest
from psycopg import errors

from crm_migrate import paths
from crm_migrate.kit import catalog, labels
from crm_migrate.settings import Settings
from people import add_company, add_contact, one, value

Connection = psycopg.Connection[Any]

CHANGING = (paths.DOCS / "whats-changing.md").read_text(encoding="utf-8")
FEATURES = " ".join((paths.DOCS / "principals-and-distributors.md").read_text(encoding="utf-8").split())
FAQ = " ".join((paths.DOCS / "faq.md").read_text(encoding="utf-8").split())


def rows(text: str, head: str) -> list[list[str]]:
    """The rows of the table with this head."""
    table = text[text.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def enum(connection: Connection, name: str) -> set[str]:
    return set(value(connection, f"select enum_range(null::public.{name})::text[]"))


def words(text: str, before: str, after: str) -> set[str]:
    """What is enumerated between two phrases."""
    listed = text[text.index(before) + len(before) :].split(after)[0]
    return {word.strip(" *").replace(" ", "_") for word in re.split(r",| and | or ", listed)}


def refused(connection: Connection, statement: str, *params: Any) -> type[Exception]:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement, params or None)
    return type(caught.value)


def test_stages_are_called_what_the_page_says(migrated_2026: Connection) -> None:
    told = labels.document(catalog.read(migrated_2026, Settings(dsn=migrated_2026.info.dsn)))["values"]
    with (paths.SEEDS / "stage_mapping.csv").open(encoding="utf-8") as file:
        mapping = list(csv.DictReader(file))
    written = rows(CHANGING, "| your stage | becomes |")
    assert len(written) == len(mapping)
    for (_, becomes), line in zip(written, mapping, strict=True):
        now = told["opportunity_stage"][line["stage"]]
        if line["status"] != "active":
            now += f", {told['opportunity_status'][line['status']].lower()}"
        assert becomes == now
    spelled = [before.lower().replace(" ", "-").replace("negotiation", "negociation") for before, _ in written]
    assert spelled == [line["legacy_stage"] for line in mapping], "in the order of the board"


def test_what_people_find_is_there(migrated_2026: Connection) -> None:
    found = dict(rows(CHANGING, "| before | now |"))
    (kinds,) = [now for before, now in found.items() if before == "a company is a company"]
    assert words(kinds, "a company is a ", " x") == enum(migrated_2026, "organization_type") - {"unknown"}
    same = "select count(*), count(*) filter (where opportunities.sales_id is not distinct from deals.sales_id)"
    same += " from crm_archive.deals join public.opportunities using (id)"
    both = one(migrated_2026, same)
    assert both == (value(migrated_2026, "select count(*) from crm_archive.deals"),) * 2
    assert value(
        migrated_2026,
        "select count(*) from public.contact_organizations where is_primary_organization",
    ) < value(migrated_2026, "select count(*) from public.contact_organizations")
    assert value(
        migrated_2026,
        "select count(*) = 0 from public.tasks where contact_id is not null"
        " and not exists (select from public.activities where legacy_task_id = tasks.id)",
    )
    for part in ("attachments, tasks, tags, contacts and companies", "**commission**"):
        assert part in CHANGING


def test_the_feature_guide_enumerates_what_the_database_knows(migrated_2026: Connection) -> None:
    assert words(FEATURES, "A company has a type: ", ".") == enum(migrated_2026, "organization_type")
    assert words(FEATURES, "with itself. It is ", ";") == enum(migrated_2026, "relationship_status")
    assert words(FEATURES, "you can say the role (", " …") < enum(migrated_2026, "contact_role")
    for name in ("role", "purchase_influence", "relationship_start_date", "relationship_end_date"):
        assert value(
            migrated_2026,
            "select count(*) from pg_catalog.pg_attribute"
            " where attrelid = 'public.contact_organizations'::regclass and attname = %s",
            name,
        )
    assert f"`{'default_commission_percent'}`" in FEATURES


def test_the_rules_of_the_feature_guide_are_kept_by_the_database(migrated_2026: Connection) -> None:
    crm = migrated_2026
    customer, principal, distributor = (
        add_company(crm, kind, kind) for kind in ("customer", "principal", "distributor")
    )
    flags = "select is_principal, is_distributor from public.companies where id = %s"
    assert [one(crm, flags, key) for key in (customer, principal, distributor)] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    no_more = "is_principal = false"
    crm.execute("update public.companies set is_distributor = true where id = %s", [principal])
    for key, flag in ((customer, "is_principal = true"), (customer, "is_distributor = true"), (principal, no_more)):
        assert refused(crm, f"update public.companies set {flag} where id = %s", key) is errors.CheckViolation

    columns = "(principal_organization_id, distributor_organization_id)"
    pair = f"insert into public.principal_distributor_relationships {columns} values (%s, %s)"
    assert refused(crm, pair, principal, principal) is errors.CheckViolation
    crm.execute(pair, [principal, distributor])
    assert refused(crm, pair, principal, distributor) is errors.UniqueViolation

    deal = value(
        crm,
        "insert into public.opportunities (name, amount, commission_percent, customer_organization_id)"
        " values ('o', 1000, 12.5, %s) returning id",
        distributor,
    )
    assert value(crm, "select commission_amount from public.opportunities where id = %s", deal) == 125
    typed = "update public.opportunities set commission_amount = 1 where id = %s"
    assert refused(crm, typed, deal) is errors.GeneratedAlways

    of_deal = "opportunity_id = %s and role = 'customer' and is_primary and deleted_at is null"
    participant = f"select organization_id from public.opportunity_participants where {of_deal}"
    named = "select customer_organization_id from public.opportunities where id = %s"
    assert value(crm, participant, deal) == distributor
    crm.execute("update public.opportunities set customer_organization_id = %s where id = %s", [customer, deal])
    assert value(crm, participant, deal) == customer
    crm.execute(f"update public.opportunity_participants set organization_id = %s where {of_deal}", [distributor, deal])
    assert value(crm, named, deal) == distributor

    contact = add_contact(crm, "Ada", customer)
    first = "select organization_id from public.contact_organizations where contact_id = %s and is_primary_organization"
    assert value(crm, first, contact) == customer
    columns = "(contact_id, principal_organization_id, advocacy_strength)"
    speaks = f"insert into public.contact_preferred_principals {columns} values (%s, %s, %s)"
    for strength in (0, 11):
        assert refused(crm, speaks, contact, principal, strength) is errors.CheckViolation
    crm.execute(speaks, [contact, principal, 10])


def test_what_the_questions_answer_is_so(migrated_2026: Connection) -> None:
    crm = migrated_2026
    assert "the old one is kept as `legacy_stage`" in FAQ
    kept = (
        "select count(*) from crm_archive.deals join public.opportunities using (id) where deals.stage <> legacy_stage"
    )
    assert value(crm, kept) == 0
    assert "The link says so (`origin`)" in FAQ
    of_deals = "select count(*) from public.contact_organizations where origin = 'deal' and not is_primary_organization"
    assert value(crm, of_deals) > 0
    assert "It is the company of its most recent deal." in FAQ
    recent = """
        select count(*), count(*) filter (where links.organization_id = latest.company_id)
        from crm_archive.contacts
        cross join lateral (
            select deals.company_id from crm_archive.deals
            where contacts.id = any(deals.contact_ids) and deals.company_id is not null
            order by deals.updated_at desc, deals.id desc limit 1
        ) as latest
        join public.contact_organizations as links on links.contact_id = contacts.id and links.is_primary_organization
        where contacts.company_id is null
    """
    without, same = one(crm, recent)
    assert 0 < without == same
    assert "It has no deal. A company with a deal is a customer, unless it is a principal or a distributor." in FAQ
    mixed = """
        select organization_type::text,
            bool_or(exists (select from crm_archive.deals where company_id = companies.id)),
            bool_and(exists (select from crm_archive.deals where company_id = companies.id))
        from public.companies group by 1
    """
    kinds = {kind: (some, every) for kind, some, every in crm.execute(mixed)}
    assert kinds["prospect"] == (False, False)
    assert kinds["customer"] == (True, True)
    assert set(kinds) == {"prospect", "customer", "principal", "distributor"}
