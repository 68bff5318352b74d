"""Old and new names live together: whichever side is written, the other one says the same."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from people import add_company, add_contact, as_role, one, value

Connection = psycopg.Connection[Any]

LIVE = (
    "select organization_id, role::text, is_primary from public.opportunity_participants where"
    " opportunity_id = %s and deleted_at is null"
)


def add_deal(connection: Connection, company: int | None, stage: str = "opportunity") -> int:
    return int(
        value(
            connection,
            "insert into public.deals (name, company_id, stage, \"index\") values ('a deal', %s, %s, 0) returning id",
            company,
            stage,
        )
    )


def test_company_of_a_contact_becomes_its_primary_link(migrated: Connection) -> None:
    with as_role(migrated):
        first, second = add_company(migrated, "first"), add_company(migrated, "second")
        contact = add_contact(migrated, "Ada", first)
        links = (
            "select organization_id, is_primary_organization, origin from"
            " public.contact_organizations where contact_id = %s and deleted_at is null"
        )
        assert one(migrated, links, contact) == (first, True, "employer")
        migrated.execute("update public.contacts set company_id = %s where id = %s", [second, contact])
        assert one(migrated, links, contact) == (second, True, "employer")
        migrated.execute("update public.contacts set company_id = null where id = %s", [contact])
        assert migrated.execute(links, [contact]).fetchall() == []


def test_link_made_by_hand_outlives_a_change_of_employer(migrated: Connection) -> None:
    with as_role(migrated):
        first, second = add_company(migrated, "first"), add_company(migrated, "second")
        contact = add_contact(migrated, "Ada")
        migrated.execute("select public.add_contact_to_organization(%s, %s, true)", [contact, first])
        assert value(migrated, "select company_id from public.contacts where id = %s", contact) == first
        migrated.execute("update public.contacts set company_id = %s where id = %s", [second, contact])
        found = migrated.execute(
            "select organization_id, is_primary_organization from public.contact_organizations"
            " where contact_id = %s and deleted_at is null order by 1",
            [contact],
        ).fetchall()
        assert found == [(first, False), (second, True)]


def test_primary_link_becomes_the_company_of_the_contact(migrated: Connection) -> None:
    with as_role(migrated):
        company = add_company(migrated, "first")
        contact = add_contact(migrated, "Ada")
        link = value(
            migrated,
            "insert into public.contact_organizations (contact_id, organization_id, is_primary_organization)"
            " values (%s, %s, true) returning id",
            contact,
            company,
        )
        company_of = "select company_id from public.contacts where id = %s"
        assert value(migrated, company_of, contact) == company
        migrated.execute("update public.contact_organizations set deleted_at = now() where id = %s", [link])
        assert value(migrated, company_of, contact) is None


def test_customer_of_a_deal_is_its_customer_participant(migrated: Connection) -> None:
    with as_role(migrated):
        first, second = add_company(migrated, "first"), add_company(migrated, "second")
        deal = add_deal(migrated, first)
        assert one(migrated, LIVE, deal) == (first, "customer", True)
        migrated.execute("update public.deals set company_id = %s where id = %s", [second, deal])
        assert one(migrated, LIVE, deal) == (second, "customer", True)
        migrated.execute(
            "update public.opportunity_participants set organization_id = %s where opportunity_id = %s"
            " and deleted_at is null",
            [first, deal],
        )
        assert value(migrated, "select company_id from public.deals where id = %s", deal) == first
        migrated.execute(
            "delete from public.opportunity_participants where opportunity_id = %s and deleted_at is null", [deal]
        )
        assert value(migrated, "select company_id from public.deals where id = %s", deal) is None


def test_principal_and_distributor_are_columns_and_participants(migrated: Connection) -> None:
    with as_role(migrated):
        principal, distributor = (
            add_company(migrated, "maker", "principal"),
            add_company(migrated, "seller", "distributor"),
        )
        deal = add_deal(migrated, None)
        migrated.execute(
            "update public.opportunities set principal_organization_id = %s, distributor_organization_id"
            " = %s where id = %s",
            [principal, distributor, deal],
        )
        assert sorted(migrated.execute(LIVE, [deal]).fetchall()) == sorted(
            [(principal, "principal", True), (distributor, "distributor", True)]
        )
        migrated.execute(
            "update public.opportunity_participants set is_primary = false where opportunity_id = %s and"
            " role = 'principal'",
            [deal],
        )
        columns = (
            "select principal_organization_id, distributor_organization_id from public.opportunities where id = %s"
        )
        assert one(migrated, columns, deal) == (None, distributor)


@pytest.mark.parametrize(
    ("word", "stage", "status", "probability"),
    [
        ("opportunity", "lead", "active", 10),
        ("won", "closed_won", "active", 100),
        (" Lost ", "closed_lost", "active", 0),
        ("delayed", "nurturing", "on_hold", 15),
        ("a word nobody mapped", "lead", "active", 10),
    ],
)
def test_legacy_word_is_understood(
    migrated_2026: Connection, word: str, stage: str, status: str, probability: int
) -> None:
    with as_role(migrated_2026):
        deal = add_deal(migrated_2026, None, word)
        found = "select legacy_stage, stage::text, status::text, probability from public.opportunities where id = %s"
        assert one(migrated_2026, found, deal) == (word, stage, status, probability)
        migrated_2026.execute("update public.deals set stage = 'proposal-sent' where id = %s", [deal])
        assert one(migrated_2026, found, deal) == ("proposal-sent", "proposal", "active", 60)
        migrated_2026.execute("update public.deals set stage = %s where id = %s", [word, deal])
        assert one(migrated_2026, found, deal) == (word, stage, status, probability)


def test_new_stage_is_shown_in_a_word_of_the_old_application(migrated: Connection) -> None:
    with as_role(migrated):
        deal = add_deal(migrated, None)
        for stage, word in migrated.execute(
            "select stage::text, shown_as_legacy_stage from crm_compat.stage_way_back"
        ).fetchall():
            migrated.execute("update public.opportunities set stage = %s where id = %s", [stage, deal])
            shown = value(migrated, "select stage from public.deals where id = %s", deal)
            assert shown == word or value(migrated, "select crm_compat.stage_of(%s)::text", shown) == stage


def test_closing_date_follows_the_stage(migrated: Connection) -> None:
    with as_role(migrated):
        deal = add_deal(migrated, None, "won")
        closed = "select actual_close_date = (now() at time zone 'UTC')::date from public.opportunities where id = %s"
        assert value(migrated, closed, deal) is True
        migrated.execute("update public.opportunities set stage = 'negotiation' where id = %s", [deal])
        assert value(migrated, closed, deal) is None


def test_what_was_set_by_hand_does_not_follow_the_stage(migrated: Connection) -> None:
    with as_role(migrated):
        deal = add_deal(migrated, None)
        migrated.execute(
            "update public.opportunities set stage_manual = true, status_manual = true, probability ="
            " 33, status = 'stalled' where id = %s",
            [deal],
        )
        migrated.execute("update public.deals set stage = 'won' where id = %s", [deal])
        found = one(
            migrated, "select stage::text, probability, status::text from public.opportunities where id = %s", deal
        )
        assert found == ("closed_won", 33, "stalled")


def test_task_has_an_activity(migrated: Connection) -> None:
    with as_role(migrated):
        company = add_company(migrated, "first")
        contact = add_contact(migrated, "Ada", company)
        task = value(
            migrated,
            "insert into public.tasks (contact_id, type, text, due_date) values (%s, 'email', 'write',"
            " '2026-05-01') returning id",
            contact,
        )
        found = (
            "select activity_type::text, interaction_type::text, contact_id, organization_id,"
            " description, follow_up_required,"
            " activity_date is null from public.activities where legacy_task_id = %s"
        )
        assert one(migrated, found, task) == ("engagement", "email", contact, company, "write", True, True)
        migrated.execute("update public.tasks set done_date = '2026-05-02', text = 'wrote' where id = %s", [task])
        assert one(migrated, found, task) == ("engagement", "email", contact, company, "wrote", False, False)
        migrated.execute("delete from public.tasks where id = %s", [task])
        assert migrated.execute(found, [task]).fetchall() == []


def test_activity_writes_its_task(migrated: Connection) -> None:
    with as_role(migrated):
        contact = add_contact(migrated, "Ada", add_company(migrated, "first"))
        task = value(
            migrated,
            "insert into public.tasks (contact_id, type, text, due_date) values (%s, 'call', 'ring',"
            " '2026-05-01') returning id",
            contact,
        )
        migrated.execute(
            "update public.activities set description = 'rang', follow_up_required = false,"
            " activity_date = '2026-05-03'"
            " where legacy_task_id = %s",
            [task],
        )
        assert one(
            migrated,
            "select text, done_date = '2026-05-03', due_date = '2026-05-01' from public.tasks where id = %s",
            task,
        ) == ("rang", True, True)
        activity = value(
            migrated,
            "update public.activities set deleted_at = now() where legacy_task_id = %s returning id",
            task,
        )
        assert value(migrated, "select count(*) from public.tasks where id = %s", task) == 0
        assert value(migrated, "select legacy_task_id from public.activities where id = %s", activity) is None


def test_deleting_a_company_takes_what_it_took_before(migrated: Connection) -> None:
    with as_role(migrated):
        gone, other = add_company(migrated, "gone"), add_company(migrated, "other")
        contact, colleague = add_contact(migrated, "Ada", gone), add_contact(migrated, "Bob", other)
        deal = add_deal(migrated, gone)
        migrated.execute("select public.add_contact_to_organization(%s, %s)", [colleague, gone])
        migrated.execute("delete from public.companies where id = %s", [gone])
        assert value(migrated, "select count(*) from public.deals where id = %s", deal) == 0
        assert value(migrated, "select count(*) from public.contacts where id = %s", contact) == 0
        assert value(migrated, "select company_id from public.contacts where id = %s", colleague) == other


def test_deleting_a_former_company_keeps_the_tasks_of_who_left_it(migrated: Connection) -> None:
    with as_role(migrated):
        former, present = add_company(migrated, "former"), add_company(migrated, "present")
        contact = add_contact(migrated, "Ada", former)
        task = value(
            migrated,
            "insert into public.tasks (contact_id, type, text, due_date) values (%s, 'call', 'ring',"
            " now()) returning id",
            contact,
        )
        migrated.execute("update public.contacts set company_id = %s where id = %s", [present, contact])
        migrated.execute("delete from public.companies where id = %s", [former])
        assert value(migrated, "select count(*) from public.tasks where id = %s", task) == 1


def test_every_deal_and_contact_is_in_step_after_the_migration(migrated: Connection) -> None:
    assert (
        value(
            migrated,
            """
            select count(*)
            from public.opportunities
            full join (
                select * from public.opportunity_participants where role = 'customer' and deleted_at is null
            ) as customer on customer.opportunity_id = opportunities.id
            where customer.organization_id is distinct from opportunities.customer_organization_id
            """,
        )
        == 0
    )
    assert (
        value(
            migrated,
            """
            select count(*)
            from public.contacts
            left join public.contact_organizations as link
                on link.contact_id = contacts.id and link.is_primary_organization and link.deleted_at is null
            where contacts.company_id is not null and link.organization_id is distinct from contacts.company_id
            """,
        )
        == 0
    )
