{{ config(materialized='table', indexes=[{'columns': ['deal_id'], 'unique': true}]) }}

with

deals as (
    select * from {{ ref('stg_legacy__deals') }}
),

category_principals as (
    select * from {{ ref('int_companies__category_principals') }}
),

roles as (
    select * from {{ ref('int_companies__roles') }}
),

agreements as (
    select * from {{ ref('int_organizations__agreements') }}
    where rank_in_pair = 1
),

parties as (
    select
        deals.deal_id,
        deals.company_id as customer_organization_id,
        coalesce(
            category_principals.principal_organization_id,
            case when roles.is_principal then deals.company_id end
        ) as principal_organization_id,
        case when roles.is_distributor then deals.company_id end as distributor_organization_id
    from deals
    left join category_principals
        on lower(btrim(deals.category)) = category_principals.category_key
    left join roles
        on deals.company_id = roles.company_id
),

final as (
    select
        parties.deal_id,
        parties.customer_organization_id,
        parties.principal_organization_id,
        parties.distributor_organization_id,
        coalesce(
            agreements.commission_percent,
            distributor_roles.distributor_commission_percent,
            principal_roles.principal_commission_percent,
            case
                when parties.distributor_organization_id is not null then {{ var('default_commission_percent') }}
            end
        )::numeric(5, 2) as commission_percent
    from parties
    left join agreements
        on parties.principal_organization_id = agreements.principal_organization_id
        and parties.distributor_organization_id = agreements.distributor_organization_id
    left join roles as distributor_roles
        on parties.distributor_organization_id = distributor_roles.company_id
    left join roles as principal_roles
        on parties.principal_organization_id = principal_roles.company_id
)

select * from final
