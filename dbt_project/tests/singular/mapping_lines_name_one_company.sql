-- what a line names nobody by, or several companies, has no effect: that is an error of the file
with

entries as (
    select
        'company_roles' as mapping_file,
        case
            when company_id is not null then 'id'
            when company_name is not null then 'name'
            else 'domain'
        end as identifier_type,
        coalesce(company_id::text, company_name, {{ website_domain('website_domain') }}) as identifier
    from {{ ref('company_roles') }}

    union all

    select
        'category_principals' as mapping_file,
        case when principal_company_id is not null then 'id' else 'name' end as identifier_type,
        coalesce(principal_company_id::text, principal_name) as identifier
    from {{ ref('category_principals') }}

    union all

    select
        'principal_distributor_agreements' as mapping_file,
        case when principal_company_id is not null then 'id' else 'name' end as identifier_type,
        coalesce(principal_company_id::text, principal_name) as identifier
    from {{ ref('principal_distributor_agreements') }}

    union all

    select
        'principal_distributor_agreements' as mapping_file,
        case when distributor_company_id is not null then 'id' else 'name' end as identifier_type,
        coalesce(distributor_company_id::text, distributor_name) as identifier
    from {{ ref('principal_distributor_agreements') }}
)

select entries.*
from entries
left join {{ ref('int_companies__identifiers') }} as identifiers
    on entries.identifier_type = identifiers.identifier_type
    and entries.identifier = identifiers.identifier
where identifiers.company_id is null
