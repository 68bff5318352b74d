-- The sum of all amounts, exactly.
with

before as (
    select sum(legacy.amount::numeric) as total, count(*) as rows
    from crm_archive.deals as legacy
    where not exists (
        select
        from crm_migration.rejected_records as rejected
        where rejected.run_id = {run} and rejected.model = 'opportunities' and rejected.key_value = legacy.id
    )
    and legacy.id::text <> all({changed_opportunities})
),

after as (
    select sum(live.amount::numeric) as total
    from {opportunities} as live
    where live.id::text <> all({changed_opportunities})
)

select null as part, before.total as before, after.total as after, before.rows
from before
cross join after
