{{ config(batch_source='int_unknown_to_legacy') }}

with

nothing as (
    select * from {{ ref('int_unknown_to_legacy') }}
),

final as (
    select
        id,
        null::bigint as principal_organization_id,
        null::text as name,
        null::text as sku,
        null::text as category,
        null::text as description,
        null::numeric(14, 2) as unit_price,
        null::boolean as is_active,
        null::timestamptz as created_at,
        null::timestamptz as updated_at,
        null::bigint as created_by,
        null::timestamptz as deleted_at
    from nothing
)

select * from final
