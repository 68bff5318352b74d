-- The ids of a part of the migrated CRM that is whole in itself: some opportunities of every stage, and all that they lead to.
with

ranked as (
    select
        opportunities.id,
        row_number() over (
            partition by opportunities.stage
            order by hashtextextended(opportunities.id::text, 1), opportunities.id
        ) as place
    from {opportunities} as opportunities
    where opportunities.deleted_at is null
),

chosen as (
    select opportunities.*
    from {opportunities} as opportunities
    inner join (
        select ranked.id
        from ranked
        order by ranked.place, ranked.id
        limit {limit}
    ) as first_of_each
        on first_of_each.id = opportunities.id
),

participants as (
    select participants.organization_id
    from {opportunity_participants} as participants
    where participants.opportunity_id in (select chosen.id from chosen)
),

chosen_contacts as (
    select contacts.id, contacts.company_id
    from public.contacts
    where contacts.id in (select unnest(chosen.contact_ids) from chosen)
        and contacts.deleted_at is null
),

links as (
    select contact_organizations.organization_id
    from {contact_organizations} as contact_organizations
    where contact_organizations.contact_id in (select chosen_contacts.id from chosen_contacts)
),

preferred as (
    select contact_preferred_principals.principal_organization_id
    from {contact_preferred_principals} as contact_preferred_principals
    where contact_preferred_principals.contact_id in (select chosen_contacts.id from chosen_contacts)
),

chosen_companies as (
    select chosen.customer_organization_id as id from chosen
    union
    select chosen.principal_organization_id from chosen
    union
    select chosen.distributor_organization_id from chosen
    union
    select participants.organization_id from participants
    union
    select chosen_contacts.company_id from chosen_contacts
    union
    select links.organization_id from links
    union
    select preferred.principal_organization_id from preferred
)

select
    (select coalesce(array_agg(chosen.id order by chosen.id), '{{}}') from chosen) as opportunities,
    (select coalesce(array_agg(chosen_contacts.id order by chosen_contacts.id), '{{}}') from chosen_contacts) as contacts,
    (
        select coalesce(array_agg(chosen_companies.id order by chosen_companies.id), '{{}}')
        from chosen_companies
        where chosen_companies.id is not null
    ) as companies
