{{ config(materialized='table', indexes=[{'columns': ['id'], 'unique': true}]) }}

with

agreements as (
    select * from {{ ref('int_organizations__agreements') }}
),

deal_organizations as (
    select * from {{ ref('int_deals__organizations') }}
),

deals as (
    select * from {{ ref('stg_legacy__deals') }}
),

companies as (
    select * from {{ ref('stg_legacy__companies') }}
),

roles as (
    select * from {{ ref('int_companies__roles') }}
),

-- a company that is both sides of a deal has no relationship with itself
pairs_on_deals as (
    select
        deal_organizations.principal_organization_id,
        deal_organizations.distributor_organization_id,
        count(*)::integer as evidence,
        min(deals.created_at) as first_deal_at
    from deal_organizations
    inner join deals
        on deal_organizations.deal_id = deals.deal_id
    where deal_organizations.principal_organization_id <> deal_organizations.distributor_organization_id
    group by deal_organizations.principal_organization_id, deal_organizations.distributor_organization_id
),

agreed as (
    select
        agreements.principal_organization_id,
        agreements.distributor_organization_id,
        agreements.rank_in_pair,
        agreements.status,
        agreements.start_date,
        agreements.end_date,
        agreements.commission_percent,
        'agreement' as origin,
        coalesce(pairs_on_deals.evidence, 0) as evidence,
        agreements.notes,
        pairs_on_deals.first_deal_at
    from agreements
    left join pairs_on_deals
        on agreements.principal_organization_id = pairs_on_deals.principal_organization_id
        and agreements.distributor_organization_id = pairs_on_deals.distributor_organization_id
),

-- what the analyst wrote about a pair is the last word on it
observed as (
    select
        pairs_on_deals.principal_organization_id,
        pairs_on_deals.distributor_organization_id,
        1::bigint as rank_in_pair,
        'active' as status,
        null::date as start_date,
        null::date as end_date,
        null::numeric as commission_percent,
        'opportunity' as origin,
        pairs_on_deals.evidence,
        null::text as notes,
        pairs_on_deals.first_deal_at
    from pairs_on_deals
    left join agreements
        on pairs_on_deals.principal_organization_id = agreements.principal_organization_id
        and pairs_on_deals.distributor_organization_id = agreements.distributor_organization_id
        and agreements.rank_in_pair = 1
    where agreements.principal_organization_id is null
),

relationships as (
    select * from agreed
    union all
    select * from observed
),

final as (
    select
        row_number() over (
            order by
                relationships.principal_organization_id,
                relationships.distributor_organization_id,
                relationships.rank_in_pair
        ) as id,
        relationships.principal_organization_id,
        relationships.distributor_organization_id,
        relationships.status,
        relationships.start_date,
        relationships.end_date,
        coalesce(
            relationships.commission_percent,
            distributor_roles.distributor_commission_percent,
            principal_roles.principal_commission_percent,
            {{ var('default_commission_percent') }}
        )::numeric(5, 2) as commission_percent,
        relationships.origin,
        relationships.evidence,
        relationships.notes,
        coalesce(
            relationships.first_deal_at,
            relationships.start_date::timestamp at time zone 'UTC',
            principals.created_at
        ) as created_at
    from relationships
    inner join companies as principals
        on relationships.principal_organization_id = principals.company_id
    left join roles as principal_roles
        on relationships.principal_organization_id = principal_roles.company_id
    left join roles as distributor_roles
        on relationships.distributor_organization_id = distributor_roles.company_id
)

select * from final
