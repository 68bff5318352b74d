with

deals as (
    select * from {{ source('legacy', 'deals') }}
),

final as (
    select
        -- ids
        id as deal_id,
        company_id,
        contact_ids,
        sales_id,

        -- text
        name,
        category,
        description,
        stage as legacy_stage,
        lower(btrim(stage)) as stage_key,

        -- numbers
        amount,
        "index",

        -- times; expected_closing_date has a time of day in the older generation
        expected_closing_date,
        created_at,
        updated_at,
        archived_at
    from deals
)

select * from final
