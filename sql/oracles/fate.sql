-- Rows with another fate than exactly one: how often each is in the target, rejected, excluded; and rows of the target without
-- a legacy row. Only of what is doubtful all is counted: that is less than to count all of everything.
with

live as not materialized (
    select {key} as key
    from {live}
    where {key} is not null
),

rejected as (
    select key_value as key, count(*) as rows
    from crm_migration.rejected_records
    where run_id = {run} and model = {model}
    group by key_value
),

excluded as (
    select row_key::bigint as key, count(*) as rows
    from crm_migration.excluded_rows
    where run_id = {run} and entity = {entity} and {model} <> ''
    group by row_key::bigint
),

doubtful as (
    {unmatched}
    union
    select key
    from live
    where not crm_migration.is_unique({live_name}, array[{key_name}])
    group by key
    having count(*) > 1
    union
    select key from rejected
    union
    select key from excluded
),

there as (
    select live.key, count(*) as rows
    from live
    inner join doubtful on doubtful.key = live.key
    group by live.key
),

fates as (
    select
        doubtful.key::text as row_key,
        legacy.id is not null as is_legacy,
        coalesce(there.rows, 0) as live,
        coalesce(rejected.rows, 0) as rejected,
        coalesce(excluded.rows, 0) as excluded
    from doubtful
    left join {archived} as legacy on legacy.id = doubtful.key
    left join there on there.key = doubtful.key
    left join rejected on rejected.key = doubtful.key
    left join excluded on excluded.key = doubtful.key
)

select *
from fates
where not (is_legacy and live + rejected + excluded = 1) and row_key <> all({left_out})
order by length(row_key), row_key
