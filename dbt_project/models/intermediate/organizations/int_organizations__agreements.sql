-- a table, so that the planner knows how many lines there are: as a view it is guessed to be one, and joined in loops
{{ config(materialized='table') }}

with

lines as (
    select * from {{ ref('principal_distributor_agreements') }}
),

-- each side has its own: what is read twice is held without its index and without knowing its values
principals as (
    select * from {{ ref('int_companies__identifiers') }}
),

distributors as (
    select * from {{ ref('int_companies__identifiers') }}
),

principal_roles as (
    select * from {{ ref('int_companies__roles') }}
    where is_principal
),

distributor_roles as (
    select * from {{ ref('int_companies__roles') }}
    where is_distributor
),

keyed as (
    select
        status,
        start_date,
        end_date,
        commission_percent,
        notes,
        case when principal_company_id is not null then 'id' else 'name' end as principal_identifier_type,
        coalesce(principal_company_id::text, principal_name) as principal_identifier,
        case when distributor_company_id is not null then 'id' else 'name' end as distributor_identifier_type,
        coalesce(distributor_company_id::text, distributor_name) as distributor_identifier
    from lines
),

resolved as (
    select
        principals.company_id as principal_organization_id,
        distributors.company_id as distributor_organization_id,
        keyed.status,
        keyed.start_date,
        keyed.end_date,
        keyed.commission_percent,
        keyed.notes
    from keyed
    inner join principals
        on keyed.principal_identifier_type = principals.identifier_type
        and keyed.principal_identifier = principals.identifier
    inner join distributors
        on keyed.distributor_identifier_type = distributors.identifier_type
        and keyed.distributor_identifier = distributors.identifier
    where principals.company_id <> distributors.company_id
),

-- an agreement in force goes before one to come, and that before one that ended
final as (
    select
        resolved.principal_organization_id,
        resolved.distributor_organization_id,
        resolved.status,
        resolved.start_date,
        resolved.end_date,
        resolved.commission_percent,
        resolved.notes,
        row_number() over (
            partition by resolved.principal_organization_id, resolved.distributor_organization_id
            order by
                array_position(array['active', 'pending', 'terminated'], resolved.status),
                resolved.start_date desc nulls last,
                resolved.end_date desc nulls first,
                resolved.commission_percent,
                resolved.notes
        ) as rank_in_pair
    from resolved
    inner join principal_roles
        on resolved.principal_organization_id = principal_roles.company_id
    inner join distributor_roles
        on resolved.distributor_organization_id = distributor_roles.company_id
)

select * from final
