{{ config(batch_source='int_deals__participants') }}

with

participants as (
    select * from {{ ref('int_deals__participants') }}
),

final as (
    select
        id,
        deal_id as opportunity_id,
        organization_id,
        role::participant_role as role,
        is_primary,
        null::numeric(5, 2) as commission_percent,
        null::text as territory,
        null::text as notes,
        origin,
        created_at,
        created_at as updated_at,
        null::bigint as created_by,
        null::timestamptz as deleted_at
    from participants
)

select * from final
