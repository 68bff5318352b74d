{{ config(batch_source='int_organizations__relationships') }}

with

relationships as (
    select * from {{ ref('int_organizations__relationships') }}
),

final as (
    select
        id,
        principal_organization_id,
        distributor_organization_id,
        status::relationship_status as status,
        start_date,
        end_date,
        commission_percent,
        origin,
        evidence,
        notes,
        created_at,
        created_at as updated_at,
        null::bigint as created_by,
        null::timestamptz as deleted_at
    from relationships
)

select * from final
