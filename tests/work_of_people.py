"""What people do in the hours after a cutover: every table, every operation, through the old names and the new ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """What people do to one table; `old` and `new` say what to look at under the old names and in the new tables."""

    do: str
    old: str | None
    new: str | None = None


def deal(number: int) -> str:
    return f"select d::text from public.deals as d where id = {number}"


def opportunity(number: int) -> str:
    return (
        "select name, stage, legacy_stage, status, priority, probability, amount, customer_organization_id,"
        " principal_organization_id, distributor_organization_id, commission_percent, stage_manual, next_action,"
        f" next_action_date, competition, contact_ids, archived_at from public.opportunities where id = {number}"
    )


def participants(number: int) -> str:
    return (
        "select organization_id, role, is_primary, commission_percent, territory, notes"
        f" from public.opportunity_participants where opportunity_id = {number} and deleted_at is null order by 1, 2"
    )


def links(number: int) -> str:
    return (
        "select organization_id, is_primary_organization, role, purchase_influence, notes, relationship_start_date"
        f" from public.contact_organizations where contact_id = {number} and deleted_at is null order by 1"
    )


def activities(where: str) -> str:
    return (
        "select activity_type, interaction_type, opportunity_id, contact_id, organization_id, legacy_task_id,"
        " subject,"
        f" description, outcome, duration_minutes from public.activities where {where} and deleted_at is null"
        " order by 9, 7"
    )


def row(table: str, where: str, columns: str = "*") -> str:
    return f"select {columns} from public.{table} where {where}"


P, D, Q = "'Principal A'", "'Distributor A'", "'Principal B'"
PRINCIPAL, DISTRIBUTOR, OTHER = (f"(select id from public.companies where name = {name})" for name in (P, D, Q))
COMPANY = "(select id from public.companies where name = 'Company A')"

SETTING = f"""
insert into public.companies (name, organization_type) values ({P}, 'principal'), ({D}, 'distributor'),
    ({Q}, 'principal'), ('Company A', 'prospect'), ('Company B', 'prospect'),
    ('Company C', 'prospect');
"""

CASES = {
    # opportunities, and deals through the compatibility view
    "opportunity inserted": Case(
        "insert into public.opportunities (name, customer_organization_id, stage, amount, priority,"
        " next_action, status)"
        f" values ('made new', {COMPANY}, 'needs_analysis', 12, 'high', 'call', 'stalled')",
        "select d::text from public.deals as d where name = 'made new'",
        row("opportunities", "name = 'made new'", "stage, status, priority, amount, next_action, probability"),
    ),
    "opportunity updated": Case(
        "update public.opportunities set stage = 'qualified', priority = 'critical', amount = 77, next_action ="
        " 'visit',"
        " next_action_date = '2027-01-01', competition = 'them', decision_criteria = 'price' where id = 31",
        deal(31),
        opportunity(31),
    ),
    "opportunity with organizations and commission": Case(
        f"update public.opportunities set principal_organization_id = {PRINCIPAL},"
        f" distributor_organization_id = {DISTRIBUTOR}, commission_percent = 12.5 where id = 32",
        deal(32),
        opportunity(32),
    ),
    "opportunity without principal": Case(
        "update public.opportunities set principal_organization_id = null where id = (select min(id) from"
        " public.opportunities where principal_organization_id is not null and id > 60)",
        None,
        "select count(*) from public.opportunities where principal_organization_id is not null",
    ),
    "opportunity deleted": Case("delete from public.opportunities where id = 33", deal(33), opportunity(33)),
    "opportunity softly deleted": Case(
        "update public.opportunities set deleted_at = now() where id = 34",
        deal(34),
        opportunity(34) + " and deleted_at is null",
    ),
    "deal inserted": Case(
        "insert into public.deals (name, company_id, stage, amount, contact_ids) values ('made old',"
        f" {COMPANY}, 'won', 5,"
        " array[3])",
        "select d::text from public.deals as d where name = 'made old'",
        row(
            "opportunities",
            "name = 'made old'",
            "stage, legacy_stage, amount, contact_ids, probability, actual_close_date",
        ),
    ),
    "deal updated": Case(
        "update public.deals set stage = 'lost', amount = 66, index = 4 where id = 35", deal(35), opportunity(35)
    ),
    "deal archived": Case(
        "update public.deals set archived_at = '2026-02-03' where id = 36", deal(36), opportunity(36)
    ),
    "deal deleted": Case("delete from public.deals where id = 37", deal(37), opportunity(37)),
    # notes under both names
    "opportunity note inserted": Case(
        "insert into public.opportunity_notes (opportunity_id, text) values (38, 'n1')",
        row("deal_notes", "text = 'n1'", "deal_id, text"),
        row("opportunity_notes", "text = 'n1'", "opportunity_id, text"),
    ),
    "opportunity note updated": Case(
        "update public.opportunity_notes set text = 'n2' where id = 11",
        row("deal_notes", "id = 11", "deal_notes::text"),
    ),
    "opportunity note deleted": Case(
        "delete from public.opportunity_notes where id = 12", row("deal_notes", "id = 12")
    ),
    "deal note inserted": Case(
        "insert into public.deal_notes (deal_id, text) values (38, 'n3')",
        row("deal_notes", "text = 'n3'", "deal_id, text"),
        row("opportunity_notes", "text = 'n3'", "opportunity_id, text"),
    ),
    "deal note updated": Case(
        "update public.deal_notes set text = 'n4' where id = 13", row("deal_notes", "id = 13", "deal_notes::text")
    ),
    "deal note deleted": Case("delete from public.deal_notes where id = 14", row("deal_notes", "id = 14")),
    "contact note inserted": Case(
        "insert into public.contact_notes (contact_id, text) values (8, 'n5')", row("contact_notes", "text = 'n5'")
    ),
    "contact note updated": Case(
        "update public.contact_notes set text = 'n6' where id = 15",
        row("contact_notes", "id = 15", "contact_notes::text"),
    ),
    "contact note deleted": Case("delete from public.contact_notes where id = 16", row("contact_notes", "id = 16")),
    # companies and contacts
    "company inserted": Case(
        "insert into public.companies (name, organization_type, segment, priority) values ('C1', 'vendor',"
        " 'small', 'A')",
        row("companies", "name = 'C1'", "id, name"),
        row("companies", "name = 'C1'", "organization_type, segment, priority"),
    ),
    "company updated": Case(
        "update public.companies set city = 'Bern', segment = 'big', priority = 'B', organization_type = 'partner'"
        " where name = 'Company B'",
        row("companies", "name = 'Company B'", "city"),
        row("companies", "name = 'Company B'", "city, segment, priority, organization_type"),
    ),
    "company of a parent": Case(
        f"update public.companies set parent_company_id = {COMPANY} where name = 'Company C'",
        row("companies", "name = 'Company C'", "id"),
        row("companies", "name = 'Company C'", "parent_company_id"),
    ),
    "company deleted": Case(
        "delete from public.companies where id = 9",
        row("companies", "id = 9"),
        "select count(*) from public.companies where deleted_at is null",
    ),
    "company softly deleted": Case(
        "update public.companies set deleted_at = now() where id = 11",
        row("companies", "id = 11 and deleted_at is null", "id"),
    ),
    "contact inserted": Case(
        f"insert into public.contacts (first_name, company_id, role, department) values ('Ada', {COMPANY},"
        " 'buyer', 'R')",
        row("contacts", "first_name = 'Ada' and department is not null", "company_id"),
        row("contacts", "first_name = 'Ada' and department is not null", "role, department, company_id"),
    ),
    "contact updated": Case(
        "update public.contacts set title = 'CEO', role = 'champion', purchase_influence = 'High',"
        " decision_authority = 'x'"
        " where id = 17",
        row("contacts", "id = 17", "title"),
        row("contacts", "id = 17", "title, role, purchase_influence, decision_authority"),
    ),
    "contact moved to another company": Case(
        f"update public.contacts set company_id = {COMPANY} where id = 18",
        row("contacts", "id = 18", "company_id"),
        links(18),
    ),
    "contact deleted": Case("delete from public.contacts where id = 19", row("contacts", "id = 19"), links(19)),
    "contact softly deleted": Case(
        "update public.contacts set deleted_at = now() where id = 20",
        row("contacts", "id = 20 and deleted_at is null", "id"),
    ),
    # links
    "second organization": Case(
        "insert into public.contact_organizations (contact_id, organization_id, role, notes,"
        " relationship_start_date)"
        f" values (21, {COMPANY}, 'gatekeeper', 'since ever', '2020-01-01')",
        row("contacts", "id = 21", "company_id"),
        links(21),
    ),
    "primary organization changed": Case(
        f"select public.add_contact_to_organization(contact_id => 22, organization_id => {COMPANY},"
        " is_primary_organization => true, role => 'buyer')",
        row("contacts", "id = 22", "company_id"),
        links(22),
    ),
    "link described": Case(
        "update public.contact_organizations set role = 'technical', is_primary_decision_maker = true where"
        " contact_id = 23"
        " and is_primary_organization",
        row("contacts", "id = 23", "company_id"),
        links(23),
    ),
    "derived link softly deleted": Case(
        "update public.contact_organizations set deleted_at = now() where id = (select min(id) from"
        " public.contact_organizations where origin = 'deal')",
        None,
        "select count(*) from public.contact_organizations where origin = 'deal' and deleted_at is null",
    ),
    "derived link deleted": Case(
        "delete from public.contact_organizations where id = (select max(id) from public.contact_organizations where"
        " origin = 'deal')",
        None,
        "select count(*) from public.contact_organizations where origin = 'deal' and deleted_at is null",
    ),
    "preferred principal": Case(
        f"insert into public.contact_preferred_principals (contact_id, principal_organization_id, advocacy_strength)"
        f" values (24, {PRINCIPAL}, 9)",
        None,
        row("contact_preferred_principals", "contact_id = 24", "principal_organization_id, advocacy_strength"),
    ),
    # participants
    "participants added": Case(
        "insert into public.opportunity_participants (opportunity_id, organization_id, role,"
        " commission_percent, territory)"
        f" values (39, {PRINCIPAL}, 'principal', 5, 'north'), (39, {COMPANY}, 'competitor', null, null)",
        deal(39),
        participants(39),
    ),
    "commission of the customer": Case(
        "update public.opportunity_participants set commission_percent = 3, notes = 'agreed' where"
        " opportunity_id = 40"
        " and role = 'customer'",
        deal(40),
        participants(40),
    ),
    "customer replaced": Case(
        f"update public.opportunities set customer_organization_id = {COMPANY} where id = 41",
        deal(41),
        participants(41),
    ),
    "primary principal by participant": Case(
        f"insert into public.opportunity_participants (opportunity_id, organization_id, role, is_primary)"
        f" values (42, {OTHER}, 'principal', true)",
        deal(42),
        opportunity(42),
    ),
    # tasks and activities
    "task inserted": Case(
        "insert into public.tasks (contact_id, type, text, due_date) values (25, 'call', 't1', '2027-01-01')",
        row("tasks", "text = 't1'", "contact_id, type, due_date"),
        activities("description = 't1'"),
    ),
    "task updated": Case(
        "update public.tasks set text = 't2', done_date = '2026-01-01' where id = 21",
        row("tasks", "id = 21", "tasks::text"),
        activities("legacy_task_id = 21"),
    ),
    "task deleted": Case(
        "delete from public.tasks where id = 22", row("tasks", "id = 22"), activities("legacy_task_id = 22")
    ),
    "activity of a task described": Case(
        "update public.activities set subject = 's3', outcome = 'good', duration_minutes = 20, description = 't3'"
        " where legacy_task_id = 23",
        row("tasks", "id = 23", "tasks::text"),
        activities("legacy_task_id = 23"),
    ),
    "activity of a task becomes an interaction": Case(
        "update public.activities set activity_type = 'interaction', opportunity_id = 43 where legacy_task_id = 24",
        row("tasks", "id = 24", "tasks::text"),
        activities("legacy_task_id = 24"),
    ),
    "activity of a task softly deleted": Case(
        "update public.activities set deleted_at = now() where legacy_task_id = 25",
        row("tasks", "id = 25"),
        activities("legacy_task_id = 25"),
    ),
    "engagement": Case(
        "select public.log_engagement(contact_id => 26, interaction_type => 'call', subject => 's4')",
        None,
        activities("subject = 's4'"),
    ),
    "interaction with participants": Case(
        "with made as (insert into public.activities (activity_type, interaction_type, opportunity_id,"
        " contact_id, subject)"
        " values ('interaction', 'meeting', 44, 27, 's5') returning id)"
        " insert into public.interaction_participants (activity_id, contact_id) select id, 28 from made",
        None,
        "select activity.subject, person.contact_id from public.interaction_participants as person"
        " inner join public.activities as activity on activity.id = person.activity_id",
    ),
    # products and relationships
    "product of an opportunity": Case(
        f"with made as (insert into public.products (principal_organization_id, name, sku) values ({PRINCIPAL},"
        " 'Drill', 'D1')"
        " returning id) insert into public.opportunity_products (opportunity_id, product_id, product_name, quantity,"
        " unit_price) select 45, id, 'Drill', 3, 9.5 from made",
        None,
        "select product.sku, line.opportunity_id, line.quantity, line.unit_price from"
        " public.opportunity_products as line"
        " inner join public.products as product on product.id = line.product_id",
    ),
    "relationship made": Case(
        "insert into public.principal_distributor_relationships (principal_organization_id,"
        " distributor_organization_id,"
        f" commission_percent, notes) values ({OTHER}, {DISTRIBUTOR}, 7, 'r1')",
        None,
        row("principal_distributor_relationships", "notes = 'r1'", "commission_percent, status, origin"),
    ),
    "relationship changed": Case(
        "update public.principal_distributor_relationships set commission_percent = 44, notes = 'r2' where id ="
        " (select min(id) from public.principal_distributor_relationships)",
        None,
        row(
            "principal_distributor_relationships",
            "notes = 'r2'",
            "principal_organization_id, distributor_organization_id, commission_percent, origin",
        ),
    ),
    "relationship deleted": Case(
        "delete from public.principal_distributor_relationships where id ="
        " (select max(id) from public.principal_distributor_relationships where notes is null)",
        None,
        "select count(*) from public.principal_distributor_relationships where notes is null and deleted_at is null",
    ),
    # tags and users
    "tag inserted": Case("insert into public.tags (name, color) values ('t9', 'red')", row("tags", "name = 't9'")),
    "tag updated": Case("update public.tags set color = 'blue' where id = 1", row("tags", "id = 1")),
    "tag deleted": Case("delete from public.tags where id = 2", row("tags", "id = 2")),
    "user updated": Case(
        "update public.sales set first_name = 'Zoe' where id = 2", row("sales", "id = 2", "first_name")
    ),
}
