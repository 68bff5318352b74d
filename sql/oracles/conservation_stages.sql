-- How many deals there are in each stage, in the application's words.
with

before as (
    select legacy.stage, count(*) as rows
    from crm_archive.deals as legacy
    where not exists (
        select
        from crm_migration.rejected_records as rejected
        where rejected.run_id = {run} and rejected.model = 'opportunities' and rejected.key_value = legacy.id
    )
    and legacy.id::text <> all({changed_opportunities})
    group by legacy.stage
),

after as (
    select live.legacy_stage as stage, count(*) as rows
    from {opportunities} as live
    where live.id::text <> all({changed_opportunities})
    group by live.legacy_stage
)

select
    coalesce(before.stage, after.stage) as part,
    coalesce(before.rows, 0) as before,
    coalesce(after.rows, 0) as after,
    coalesce(before.rows, 0) as rows
from before
full join after on after.stage = before.stage
