{{
    config(
        batch_source='int_unknown_to_legacy',
        generated={
            'extended_price': 'quantity * unit_price',
            'final_price': 'quantity * unit_price * (1 - discount_percent / 100)',
        }
    )
}}

with

nothing as (
    select * from {{ ref('int_unknown_to_legacy') }}
),

final as (
    select
        id,
        null::bigint as opportunity_id,
        null::bigint as product_id,
        null::text as product_name,
        null::numeric(12, 2) as quantity,
        null::numeric(14, 2) as unit_price,
        null::numeric(5, 2) as discount_percent,
        null::text as notes,
        null::timestamptz as created_at,
        null::timestamptz as updated_at,
        null::bigint as created_by,
        null::timestamptz as deleted_at
    from nothing
)

select * from final
