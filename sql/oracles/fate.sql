-- Where each legacy row is now: how often in the target, rejected, excluded; and rows of the target without a legacy row.
with

live as (
    select {key} as key, count(*) as rows
    from {live}
    where {key} is not null
    group by {key}
),

rejected as (
    select key_value as key, count(*) as rows
    from crm_migration.rejected_records
    where run_id = {run} and model = {model}
    group by key_value
),

excluded as (
    select row_key as key, count(*) as rows
    from crm_migration.excluded_rows
    where run_id = {run} and entity = {entity} and {model} <> ''
    group by row_key
)

select
    coalesce(legacy.id, live.key)::text as row_key,
    legacy.id is not null as is_legacy,
    coalesce(live.rows, 0) as live,
    coalesce(rejected.rows, 0) as rejected,
    coalesce(excluded.rows, 0) as excluded
from {archived} as legacy
full join live on live.key = legacy.id
left join rejected on rejected.key = legacy.id
left join excluded on excluded.key = legacy.id::text
