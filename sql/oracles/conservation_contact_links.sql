-- How many pairs of contact and organization there are. Links that people changed since count as they were.
with

expected as (
    select contacts.id as contact_id, contacts.company_id
    from crm_archive.contacts
    where contacts.company_id is not null
    union
    select contacts.id, deals.company_id
    from crm_archive.deals
    cross join lateral unnest(deals.contact_ids) as member (contact_id)
    inner join crm_archive.contacts on contacts.id = member.contact_id
    where deals.company_id is not null
),

before as (
    select count(*) as rows
    from expected
),

live as (
    select count(*) as rows
    from {links} as link
    where link.origin <> 'manual' and link.id::text <> all({changed_links})
),

rejected as (
    select count(*) as rows
    from crm_migration.rejected_records
    where run_id = {run} and model = 'contact_organizations'
)

select null as part, before.rows as before, live.rows + rejected.rows + {replaced_links} as after, before.rows
from before
cross join live
cross join rejected
