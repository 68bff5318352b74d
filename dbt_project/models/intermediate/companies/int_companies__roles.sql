{{ config(materialized='table', indexes=[{'columns': ['company_id'], 'unique': true}]) }}

with

companies as (
    select * from {{ ref('stg_legacy__companies') }}
),

role_lines as (
    select * from {{ ref('int_companies__role_lines') }}
),

deals as (
    select * from {{ ref('stg_legacy__deals') }}
),

customers as (
    select distinct company_id
    from deals
    where company_id is not null
),

given_roles as (
    select
        company_id,
        bool_or(role = 'principal') as is_principal,
        bool_or(role = 'distributor') as is_distributor,
        min(role) filter (where role not in ('principal', 'distributor')) as other_role,
        max(commission_percent) filter (where role = 'principal') as principal_commission_percent,
        max(commission_percent) filter (where role = 'distributor') as distributor_commission_percent,
        max(commission_percent) as any_commission_percent
    from role_lines
    group by company_id
),

final as (
    select
        companies.company_id,
        case
            when given_roles.is_principal then 'principal'
            when given_roles.is_distributor then 'distributor'
            when given_roles.other_role is not null then given_roles.other_role
            when customers.company_id is not null then 'customer'
            else 'prospect'
        end as organization_type,
        coalesce(given_roles.is_principal, false) as is_principal,
        coalesce(given_roles.is_distributor, false) as is_distributor,
        coalesce(
            given_roles.distributor_commission_percent,
            given_roles.principal_commission_percent,
            given_roles.any_commission_percent
        ) as commission_percent,
        given_roles.principal_commission_percent,
        given_roles.distributor_commission_percent
    from companies
    left join given_roles
        on companies.company_id = given_roles.company_id
    left join customers
        on companies.company_id = customers.company_id
)

select * from final
