"""What people do with the new application, as the API's role and under row level security."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from people import add_company, add_contact, as_role, one, value

Connection = psycopg.Connection[Any]


def test_opportunity_with_its_participants(migrated: Connection) -> None:
    with as_role(migrated):
        customer = add_company(migrated, "buyer")
        principal, distributor = (
            add_company(migrated, "maker", "principal"),
            add_company(migrated, "seller", "distributor"),
        )
        made = value(
            migrated,
            "select public.create_opportunity_with_participants(%s, %s)",
            Jsonb({"name": "new", "stage": "qualified", "amount": 1000, "commission_percent": 7.5}),
            Jsonb(
                [
                    {"organization_id": customer, "role": "customer"},
                    {"organization_id": principal, "role": "principal", "is_primary": True},
                    {"organization_id": distributor, "role": "distributor", "is_primary": True, "territory": "north"},
                ]
            ),
        )
        assert [item["role"] for item in made["participants"]] == ["customer", "principal", "distributor"]
        assert (made["customer_organization_id"], made["principal_organization_id"]) == (customer, principal)
        assert (made["probability"], made["commission_amount"]) == (25, 75)

        migrated.execute(
            "select public.sync_opportunity_participants(%s, %s)",
            [made["id"], Jsonb([{"organization_id": customer, "role": "customer"}])],
        )
        again = value(migrated, "select public.get_opportunity_with_participants(%s)", made["id"])
        assert [item["organization_name"] for item in again["participants"]] == ["buyer"]
        assert again["principal_organization_id"] is None


def test_opportunity_keeps_the_organizations_of_its_columns(migrated: Connection) -> None:
    with as_role(migrated):
        customer, partner = add_company(migrated, "buyer"), add_company(migrated, "friend", "partner")
        made = value(
            migrated,
            "select public.create_opportunity_with_participants(%s, %s)",
            Jsonb({"name": "new", "customer_organization_id": customer}),
            Jsonb([{"organization_id": partner, "role": "partner"}]),
        )
        assert [item["role"] for item in made["participants"]] == ["customer", "partner"]


def test_opportunity_by_plain_insert(migrated: Connection) -> None:
    with as_role(migrated):
        customer = add_company(migrated, "buyer")
        row = one(
            migrated,
            "insert into public.opportunities (name, customer_organization_id, stage, amount) values"
            " ('new', %s, 'proposal', 10)"
            " returning id, legacy_stage, probability, status::text, priority::text",
            customer,
        )
        assert row[1:] == ("proposal-sent", 60, "active", "medium")
        shown = one(
            migrated,
            "select customer_name, nb_participants, nb_activities from public.opportunities_summary where id = %s",
            row[0],
        )
        assert shown == ("buyer", 1, 0)


def test_contact_works_with_several_organizations(migrated: Connection) -> None:
    with as_role(migrated):
        first, second, third = (add_company(migrated, name) for name in ("a", "b", "c"))
        contact = add_contact(migrated, "Ada", first)
        migrated.execute(
            "select public.add_contact_to_organization(contact_id => %s, organization_id => %s, role =>"
            " 'buyer', purchase_influence => 'High')",
            [contact, second],
        )
        migrated.execute(
            "select public.add_contact_to_organization(contact_id => %s, organization_id => %s,"
            " is_primary_organization => true)",
            [contact, third],
        )
        found = migrated.execute(
            "select organization_name, is_primary_organization, purchase_influence from"
            " public.get_contact_organizations(%s)",
            [contact],
        ).fetchall()
        assert found == [("c", True, "Unknown"), ("a", False, "Unknown"), ("b", False, "High")]
        assert value(migrated, "select company_id from public.contacts where id = %s", contact) == third
        assert value(migrated, "select contact_id from public.get_organization_contacts(%s)", second) == contact
        profile = (
            "select nb_organizations, highest_purchase_influence from"
            " public.contact_influence_profile where contact_id = %s"
        )
        assert one(migrated, profile, contact) == (3, "High")


def test_principals_and_their_distributors(migrated: Connection) -> None:
    with as_role(migrated):
        principal, distributor = (
            add_company(migrated, "maker", "principal"),
            add_company(migrated, "seller", "distributor"),
        )
        migrated.execute(
            "insert into public.principal_distributor_relationships"
            " (principal_organization_id, distributor_organization_id, commission_percent) values (%s, %s, 12)",
            [principal, distributor],
        )
        product = value(migrated, "select (public.add_product(%s, 'Drill', 'D-1', unit_price => 9.5)).id", principal)
        found = one(
            migrated,
            "select distributor_organization_id, distributor_name, status::text, commission_percent"
            " from public.get_principal_distributors(%s)",
            principal,
        )
        assert found == (distributor, "seller", "active", 12)
        sold = one(migrated, "select product_id, principal_name from public.get_distributor_products(%s)", distributor)
        assert sold == (product, "maker")
        summary = (
            "select nb_principals, nb_active_principals from"
            " public.distributor_relationship_summary where distributor_organization_id = %s"
        )
        assert one(migrated, summary, distributor) == (1, 1)
        contact = add_contact(migrated, "Ada")
        migrated.execute("select public.add_principal_advocacy(%s, %s, 9)", [contact, principal])
        dashboard = (
            "select nb_advocates, nb_strong_advocates from public.principal_advocacy_dashboard"
            " where principal_organization_id = %s"
        )
        assert one(migrated, dashboard, principal) == (1, 1)


def test_products_of_an_opportunity(migrated: Connection) -> None:
    with as_role(migrated):
        principal = add_company(migrated, "maker", "principal")
        product = value(migrated, "select (public.add_product(%s, 'Drill')).id", principal)
        deal = value(migrated, "insert into public.opportunities (name) values ('new') returning id")
        line = one(
            migrated,
            "insert into public.opportunity_products (opportunity_id, product_id, product_name,"
            " quantity, unit_price, discount_percent)"
            " values (%s, %s, 'Drill', 3, 10, 50) returning extended_price, final_price",
            deal,
            product,
        )
        assert line == (30, 15)
        summary = (
            "select nb_products, nb_opportunities, products_amount from"
            " public.principal_product_summary where principal_organization_id = %s"
        )
        assert one(migrated, summary, principal) == (1, 1, 15)


def test_engagements_and_interactions(migrated: Connection) -> None:
    with as_role(migrated):
        company = add_company(migrated, "buyer")
        contact = add_contact(migrated, "Ada", company)
        deal = value(
            migrated,
            "insert into public.opportunities (name, customer_organization_id) values ('new', %s) returning id",
            company,
        )
        engagement = (
            "select activity_type::text, organization_id, opportunity_id, created_by is not"
            " null from public.log_engagement(contact_id => %s)"
        )
        assert one(migrated, engagement, contact) == ("engagement", company, None, True)
        interaction = (
            "select activity_type::text, organization_id, opportunity_id from public.log_interaction(%s, 'demo')"
        )
        assert one(migrated, interaction, deal) == ("interaction", company, deal)
        assert value(migrated, "select nb_activities from public.opportunities_summary where id = %s", deal) == 1
        with pytest.raises(psycopg.errors.CheckViolation, match="needs a contact or an organization"):
            migrated.execute("select public.log_engagement(subject => 'nobody')")
        with pytest.raises(psycopg.errors.CheckViolation):
            migrated.execute(
                "insert into public.activities (activity_type, contact_id) values ('interaction', %s)", [contact]
            )


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "update public.opportunities set principal_organization_id = {plain} where id = {deal}",
            "Company {plain} is not a principal",
        ),
        (
            "update public.opportunities set distributor_organization_id = {principal} where id = {deal}",
            "is not a distributor",
        ),
        (
            (
                "insert into public.opportunity_participants (opportunity_id, organization_id, role) values"
                " ({deal}, {plain}, 'distributor')"
            ),
            "is not a distributor",
        ),
        (
            (
                "insert into public.opportunity_participants (opportunity_id, organization_id, role) values"
                " ({deal}, {plain}, 'customer')"
            ),
            "has a customer already",
        ),
        ("select public.add_product({plain}, 'Drill')", "is not a principal"),
        ("select public.add_principal_advocacy({contact}, {plain}, 5)", "is not a principal"),
        (
            (
                "insert into public.principal_distributor_relationships (principal_organization_id,"
                " distributor_organization_id) values ({principal}, {plain})"
            ),
            "is not a distributor",
        ),
        (
            "update public.companies set organization_type = 'customer' where id = {principal}",
            "neither principal nor distributor",
        ),
        ("update public.companies set is_principal = false where id = {principal}", "its flag says no"),
        (
            "update public.companies set organization_type = 'prospect', is_principal = false where id = {principal}",
            "still used",
        ),
    ],
)
def test_wrong_roles_are_refused_with_a_clear_message(migrated_2026: Connection, statement: str, message: str) -> None:
    with as_role(migrated_2026):
        names = {
            "plain": add_company(migrated_2026, "plain", "customer"),
            "principal": add_company(migrated_2026, "maker", "principal"),
            "contact": add_contact(migrated_2026, "Ada"),
        }
        names["deal"] = value(
            migrated_2026,
            "insert into public.opportunities (name, customer_organization_id, principal_organization_id)"
            " values ('new', %s, %s) returning id",
            add_company(migrated_2026, "buyer"),
            names["principal"],
        )
        with pytest.raises(psycopg.errors.IntegrityError, match=message.format(**names)):
            migrated_2026.execute(statement.format(**names))


def test_a_company_may_be_principal_and_distributor(migrated: Connection) -> None:
    with as_role(migrated):
        both = add_company(migrated, "both", "principal")
        migrated.execute("update public.companies set is_distributor = true where id = %s", [both])
        deal = value(
            migrated,
            "insert into public.opportunities (name, customer_organization_id,"
            " principal_organization_id, distributor_organization_id)"
            " values ('own use', %s, %s, %s) returning id",
            both,
            both,
            both,
        )
        assert (
            value(migrated, "select count(*) from public.opportunity_participants where opportunity_id = %s", deal) == 3
        )


@pytest.mark.parametrize(
    "statement",
    [
        (
            "insert into public.contact_organizations (contact_id, organization_id, is_primary_organization)"
            " values ({contact}, {other}, true)"
        ),
        "insert into public.contact_organizations (contact_id, organization_id) values ({contact}, {company})",
        (
            "insert into public.opportunity_participants (opportunity_id, organization_id, role) values"
            " ({deal}, {company}, 'customer')"
        ),
    ],
)
def test_at_most_one_of_what_there_is_one_of(migrated_2026: Connection, statement: str) -> None:
    with as_role(migrated_2026):
        company, other = add_company(migrated_2026, "a"), add_company(migrated_2026, "b")
        deal = value(
            migrated_2026,
            "insert into public.opportunities (name, customer_organization_id) values ('new', %s) returning id",
            company,
        )
        names = {
            "company": company,
            "other": other,
            "deal": deal,
            "contact": add_contact(migrated_2026, "Ada", company),
        }
        with pytest.raises(psycopg.errors.UniqueViolation):
            migrated_2026.execute(statement.format(**names))


def test_children_are_hidden_and_closed_with_their_opportunity(migrated: Connection) -> None:
    with as_role(migrated):
        company = add_company(migrated, "a")
        partner = add_company(migrated, "b", "partner")
        deal = value(
            migrated,
            "insert into public.opportunities (name, customer_organization_id) values ('new', %s) returning id",
            company,
        )
        migrated.execute("select public.log_interaction(%s, 'call')", [deal])
    counts = (
        "select (select count(*) from public.opportunity_participants where opportunity_id = %s),"
        " (select count(*) from public.activities where opportunity_id = %s)"
    )
    insert = (
        "insert into public.opportunity_participants (opportunity_id, organization_id, role) values (%s, %s, 'partner')"
    )
    migrated.execute(
        "create policy read_only on public.opportunities as restrictive for update to authenticated using (false)"
    )
    with as_role(migrated):
        assert one(migrated, counts, deal, deal) == (1, 1)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            migrated.execute(insert, [deal, partner])
    migrated.execute(
        "create policy hidden on public.opportunities as restrictive for select to authenticated using (false)"
    )
    with as_role(migrated):
        assert one(migrated, counts, deal, deal) == (0, 0)
