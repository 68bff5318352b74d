{{ config(batch_source='int_companies__roles', batch_key='company_id', unique_key='company_id', identity=none) }}

with

roles as (
    select * from {{ ref('int_companies__roles') }}
),

final as (
    select
        company_id,
        organization_type::organization_type as organization_type,
        is_principal,
        is_distributor
    from roles
)

select * from final
