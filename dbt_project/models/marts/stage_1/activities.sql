{{ config(batch_source='stg_legacy__tasks', batch_source_key='task_id') }}

{#- a row that is refused is kept as the task that it was -#}
{%- do ref('stg_legacy__tasks') %}
with

task_activities as (
    select * from {{ ref('int_tasks__activities') }}
),

final as (
    select
        id,
        activity_type::activity_type as activity_type,
        interaction_type::interaction_type as interaction_type,
        null::bigint as opportunity_id,
        contact_id,
        organization_id,
        legacy_task_id,
        null::text as subject,
        description,
        activity_date,
        null::integer as duration_minutes,
        null::text as outcome,
        follow_up_required,
        follow_up_date,
        sales_id,
        created_at,
        created_at as updated_at,
        null::bigint as created_by,
        null::timestamptz as deleted_at
    from task_activities
)

select * from final
