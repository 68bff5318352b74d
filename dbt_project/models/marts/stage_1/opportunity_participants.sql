{{ config(batch_source='int_deals__participants') }}

with

participants as (
    select * from {{ ref('int_deals__participants') }}
    where {{ batch_filter('id') }}
),

-- a range of participants is one of their deals, too; else every batch would look through all opportunities
opportunities as (
    select * from {{ ref('opportunities') }}
    where id between
        (select min(participants.deal_id) from participants) and (select max(participants.deal_id) from participants)
),

-- a deal that the target refused has no participants either
final as (
    select
        participants.id,
        participants.deal_id as opportunity_id,
        participants.organization_id,
        participants.role::participant_role as role,
        participants.is_primary,
        null::numeric(5, 2) as commission_percent,
        null::text as territory,
        null::text as notes,
        participants.origin,
        participants.created_at,
        participants.created_at as updated_at,
        null::bigint as created_by,
        null::timestamptz as deleted_at
    from participants
    inner join opportunities
        on participants.deal_id = opportunities.id
)

select * from final
