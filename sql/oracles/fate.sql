-- Where each legacy row is now: how often in the target, rejected, excluded; and rows of the target without a legacy row.
select
    coalesce(legacy.id, live.key)::text as row_key,
    legacy.id is not null as is_legacy,
    coalesce(live.rows, 0) as live,
    (
        select count(*)
        from crm_migration.rejected_records
        where run_id = {run} and model = {model} and key_value = legacy.id
    ) as rejected,
    (
        select count(*)
        from crm_migration.excluded_rows
        where run_id = {run} and entity = {entity} and row_key = legacy.id::text and {model} <> ''
    ) as excluded
from {archived} as legacy
full join (
    select {key} as key, count(*) as rows
    from {live}
    where {key} is not null
    group by {key}
) as live on live.key = legacy.id
