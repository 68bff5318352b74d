-- a table, so that the planner knows how many lines there are: as a view it is guessed to be one, and joined in loops
{{ config(materialized='table') }}

with

lines as (
    select * from {{ ref('company_roles') }}
),

identifiers as (
    select * from {{ ref('int_companies__identifiers') }}
),

-- the first that is filled identifies
keyed as (
    select
        role,
        commission_percent,
        case
            when company_id is not null then 'id'
            when company_name is not null then 'name'
            else 'domain'
        end as identifier_type,
        case
            when company_id is not null then company_id::text
            when company_name is not null then company_name
            else {{ website_domain('website_domain') }}
        end as identifier
    from lines
),

final as (
    select
        identifiers.company_id,
        keyed.role,
        max(keyed.commission_percent) as commission_percent
    from keyed
    inner join identifiers
        on keyed.identifier_type = identifiers.identifier_type
        and keyed.identifier = identifiers.identifier
    group by identifiers.company_id, keyed.role
)

select * from final
