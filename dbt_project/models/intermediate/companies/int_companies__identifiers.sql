-- only what a mapping file names is looked up: of most companies none ever asks
{{ config(materialized='table') }}

with

companies as (
    select * from {{ ref('stg_legacy__companies') }}
),

role_lines as (
    select * from {{ ref('company_roles') }}
),

agreement_lines as (
    select * from {{ ref('principal_distributor_agreements') }}
),

category_lines as (
    select * from {{ ref('category_principals') }}
),

named_ids as (
    select company_id from role_lines
    union
    select principal_company_id from agreement_lines
    union
    select distributor_company_id from agreement_lines
    union
    select principal_company_id from category_lines
),

named_names as (
    select company_name as name from role_lines
    union
    select principal_name from agreement_lines
    union
    select distributor_name from agreement_lines
    union
    select principal_name from category_lines
),

named_domains as (
    select distinct {{ website_domain('website_domain') }} as domain
    from role_lines
),

found as (
    select
        companies.company_id,
        'id' as identifier_type,
        companies.company_id::text as identifier
    from companies
    inner join named_ids
        on companies.company_id = named_ids.company_id

    union all

    select
        companies.company_id,
        'name' as identifier_type,
        companies.name as identifier
    from companies
    inner join named_names
        on companies.name = named_names.name

    union all

    select
        companies.company_id,
        'domain' as identifier_type,
        named_domains.domain as identifier
    from companies
    inner join named_domains
        on named_domains.domain = {{ website_domain('companies.website') }}
),

-- what two companies share identifies neither
final as (
    select
        identifier_type,
        identifier,
        min(company_id) as company_id
    from found
    group by identifier_type, identifier
    having count(*) = 1
)

select * from final
