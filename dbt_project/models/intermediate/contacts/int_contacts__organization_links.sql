{{
    config(
        materialized='table',
        indexes=[{'columns': ['id'], 'unique': true}, {'columns': ['contact_id', 'organization_id'], 'unique': true}]
    )
}}

with

contacts as (
    select * from {{ ref('stg_legacy__contacts') }}
    where {{ batch_filter('contact_id') }}
),

companies as (
    select * from {{ ref('stg_legacy__companies') }}
),

deals as (
    select * from {{ ref('stg_legacy__deals') }}
),

deal_contacts as (
    select * from {{ ref('int_deals__contacts') }}
    where {{ batch_filter('contact_id') }}
),

employer_links as (
    select
        contacts.contact_id,
        contacts.company_id as organization_id,
        true as is_primary_organization,
        'employer' as origin,
        coalesce(contacts.first_seen, companies.created_at) as created_at
    from contacts
    inner join companies
        on contacts.company_id = companies.company_id
),

-- a contact's own company is linked already, and the first meeting with any other counts
meetings as (
    select
        deal_contacts.contact_id,
        deals.company_id as organization_id,
        contacts.company_id is null as is_without_employer,
        deals.created_at,
        row_number() over (
            partition by deal_contacts.contact_id
            order by deals.updated_at desc, deals.deal_id desc
        ) as recency
    from deal_contacts
    inner join deals
        on deal_contacts.deal_id = deals.deal_id
    inner join contacts
        on deal_contacts.contact_id = contacts.contact_id
    where deals.company_id is not null
        and contacts.company_id is distinct from deals.company_id
),

deal_links as (
    select
        contact_id,
        organization_id,
        -- whoever has no employer belongs to the company of the most recent deal
        bool_or(is_without_employer and recency = 1) as is_primary_organization,
        'deal' as origin,
        min(created_at) as created_at
    from meetings
    group by contact_id, organization_id
),

links as (
    select
        contact_id,
        organization_id,
        is_primary_organization,
        origin,
        created_at
    from employer_links

    union all

    select
        contact_id,
        organization_id,
        is_primary_organization,
        origin,
        created_at
    from deal_links
),

final as (
    select
        row_number() over (order by contact_id, organization_id) as id,
        contact_id,
        organization_id,
        is_primary_organization,
        origin,
        created_at
    from links
)

select * from final
