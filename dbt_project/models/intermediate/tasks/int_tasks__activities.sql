{{ config(materialized='table', indexes=[{'columns': ['id'], 'unique': true}]) }}

with

tasks as (
    select * from {{ ref('stg_legacy__tasks') }}
),

contacts as (
    select * from {{ ref('stg_legacy__contacts') }}
),

sales as (
    select * from {{ ref('stg_legacy__sales') }}
),

mapping as (
    select
        lower(btrim(task_type)) as type_key,
        min(activity_type) as activity_type,
        min(interaction_type) as interaction_type
    from {{ ref('activity_type_mapping') }}
    where task_type is not null
    group by lower(btrim(task_type))
),

-- a task without contact has nobody to be an activity with: int_excluded_rows
final as (
    select
        -- ids
        tasks.task_id as id,
        tasks.task_id as legacy_task_id,
        tasks.contact_id,
        contacts.company_id as organization_id,
        sales.sales_id,

        -- text
        coalesce(mapping.activity_type, 'engagement') as activity_type,
        mapping.interaction_type,
        tasks.text::text as description,

        -- flags
        mapping.type_key is null and coalesce(tasks.type_key, '') <> '' as is_unmapped_type,
        tasks.done_date is null as follow_up_required,

        -- times
        tasks.done_date as activity_date,
        case when tasks.done_date is null then tasks.due_date end as follow_up_date,
        coalesce(tasks.due_date, tasks.done_date, contacts.first_seen, timestamptz 'epoch') as created_at
    from tasks
    inner join contacts
        on tasks.contact_id = contacts.contact_id
    left join mapping
        on tasks.type_key = mapping.type_key
    -- the older generation has no foreign key here
    left join sales
        on tasks.sales_id = sales.sales_id
)

select * from final
