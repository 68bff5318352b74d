{{ config(materialized='table', indexes=[{'columns': ['id'], 'unique': true}]) }}

with

deal_organizations as (
    select * from {{ ref('int_deals__organizations') }}
),

deals as (
    select * from {{ ref('stg_legacy__deals') }}
),

roles as (
    select
        deal_id,
        customer_organization_id as organization_id,
        'customer' as role,
        1 as role_order
    from deal_organizations
    where {{ batch_filter('deal_id') }}

    union all

    select
        deal_id,
        principal_organization_id as organization_id,
        'principal' as role,
        2 as role_order
    from deal_organizations
    where {{ batch_filter('deal_id') }}

    union all

    select
        deal_id,
        distributor_organization_id as organization_id,
        'distributor' as role,
        3 as role_order
    from deal_organizations
    where {{ batch_filter('deal_id') }}
),

final as (
    select
        row_number() over (order by roles.deal_id, roles.role_order) as id,
        roles.deal_id,
        roles.organization_id,
        roles.role,
        true as is_primary,
        'deal' as origin,
        deals.created_at
    from roles
    inner join deals
        on roles.deal_id = deals.deal_id
    where roles.organization_id is not null
)

select * from final
