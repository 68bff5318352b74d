-- a table, so that the planner knows how many lines there are: as a view it is guessed to be one, and joined in loops
{{ config(materialized='table') }}

with

lines as (
    select * from {{ ref('category_principals') }}
),

identifiers as (
    select * from {{ ref('int_companies__identifiers') }}
),

roles as (
    select * from {{ ref('int_companies__roles') }}
),

keyed as (
    select
        lower(btrim(category)) as category_key,
        case when principal_company_id is not null then 'id' else 'name' end as identifier_type,
        coalesce(principal_company_id::text, principal_name) as identifier
    from lines
    where category is not null
),

-- one principal per category, whatever the file says: a deal must never be doubled by its mapping
final as (
    select
        keyed.category_key,
        min(identifiers.company_id) as principal_organization_id
    from keyed
    inner join identifiers
        on keyed.identifier_type = identifiers.identifier_type
        and keyed.identifier = identifiers.identifier
    inner join roles
        on identifiers.company_id = roles.company_id
    where roles.is_principal
    group by keyed.category_key
)

select * from final
