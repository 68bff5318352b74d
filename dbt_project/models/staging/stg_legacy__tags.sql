with

tags as (
    select * from {{ source('legacy', 'tags') }}
),

final as (
    select
        -- ids
        id as tag_id,

        -- text
        name,
        color
    from tags
)

select * from final
