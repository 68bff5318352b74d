with

tasks as (
    select * from {{ ref('stg_legacy__tasks') }}
),

-- an activity needs a contact or an organization, and a task knows its organization only through its contact
final as (
    select
        'tasks' as entity,
        task_id as row_key,
        'task_without_contact' as rule
    from tasks
    where contact_id is null
)

select * from final
