-- migrated, put aside or excluded by a named rule
with

fates as (
    select legacy_task_id as task_id
    from {{ ref('activities') }}
    where legacy_task_id is not null

    union all

    select row_key as task_id
    from {{ ref('int_excluded_rows') }}
    where entity = 'tasks'

    union all

    select key_value as task_id
    from {{ ledger_schema() }}.rejected_records
    where model = 'activities'
        and run_id = '{{ current_build().run_id if execute }}'
)

select tasks.task_id
from {{ ref('stg_legacy__tasks') }} as tasks
full join fates
    on tasks.task_id = fates.task_id
group by tasks.task_id, fates.task_id
having tasks.task_id is null
    or count(fates.task_id) <> 1
