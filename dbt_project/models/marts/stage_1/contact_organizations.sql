{{ config(batch_source='int_contacts__organization_links') }}

with

links as (
    select * from {{ ref('int_contacts__organization_links') }}
),

final as (
    select
        id,
        contact_id,
        organization_id,
        is_primary_organization,
        false as is_primary_contact,
        false as is_primary_decision_maker,
        null::contact_role as role,
        'Unknown'::text as purchase_influence,
        null::text as decision_authority,
        null::date as relationship_start_date,
        null::date as relationship_end_date,
        null::text as notes,
        origin,
        created_at,
        created_at as updated_at,
        null::bigint as created_by,
        null::timestamptz as deleted_at
    from links
)

select * from final
