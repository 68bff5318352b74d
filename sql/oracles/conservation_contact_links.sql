-- How many pairs of contact and organization there are. Links that people changed since count as they were.
with

-- the pairs that a contact's own company does not make already: less to tell apart than all of them at once
of_deals as (
    select distinct contacts.id as contact_id, member.company_id
    from (
        select deals.company_id, unnest(deals.contact_ids) as contact_id
        from crm_archive.deals
        where deals.company_id is not null
    ) as member
    inner join crm_archive.contacts on contacts.id = member.contact_id
    where member.company_id is distinct from contacts.company_id
),

before as (
    select count(contacts.company_id) + (select count(*) from of_deals) as rows
    from crm_archive.contacts
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
