with

tasks as (
    select * from {{ source('legacy', 'tasks') }}
),

final as (
    select
        -- ids
        id as task_id,
        contact_id,
        sales_id,

        -- text
        type,
        lower(btrim(type)) as type_key,
        text,

        -- times
        due_date,
        done_date
    from tasks
)

select * from final
