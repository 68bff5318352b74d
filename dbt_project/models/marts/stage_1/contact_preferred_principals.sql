{{ config(batch_source='int_unknown_to_legacy') }}

with

nothing as (
    select * from {{ ref('int_unknown_to_legacy') }}
),

final as (
    select
        id,
        null::bigint as contact_id,
        null::bigint as principal_organization_id,
        null::smallint as advocacy_strength,
        null::text as notes,
        null::timestamptz as created_at,
        null::timestamptz as updated_at,
        null::bigint as created_by,
        null::timestamptz as deleted_at
    from nothing
)

select * from final
