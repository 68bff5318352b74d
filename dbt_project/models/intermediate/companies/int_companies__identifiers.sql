-- a hash holds an identifier of any length; without the index a mapping file of guessed size is joined line by line
{{ config(materialized='table', indexes=[{'columns': ['identifier'], 'type': 'hash'}]) }}

with

companies as (
    select * from {{ ref('stg_legacy__companies') }}
),

named as (
    select
        company_id,
        'id' as identifier_type,
        company_id::text as identifier
    from companies

    union all

    select
        company_id,
        'name' as identifier_type,
        name as identifier
    from companies

    union all

    select
        company_id,
        'domain' as identifier_type,
        {{ website_domain('website') }} as identifier
    from companies
),

-- what two companies share identifies neither
final as (
    select
        identifier_type,
        identifier,
        min(company_id) as company_id
    from named
    where identifier is not null
    group by identifier_type, identifier
    having count(*) = 1
)

select * from final
