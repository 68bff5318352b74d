with

sales as (
    select * from {{ source('legacy', 'sales') }}
),

final as (
    select
        -- ids
        id as sales_id,
        user_id,

        -- text
        first_name,
        last_name,
        email::text as email,

        -- flags
        administrator,
        disabled
    from sales
)

select * from final
