-- How many contact ids the deals list, with repeats and nulls.
with

before as (
    select coalesce(sum(cardinality(legacy.contact_ids)), 0) as total, count(*) as rows
    from crm_archive.deals as legacy
    where not exists (
        select
        from crm_migration.rejected_records as rejected
        where rejected.run_id = {run} and rejected.model = 'opportunities' and rejected.key_value = legacy.id
    )
    and legacy.id::text <> all({changed_opportunities})
),

after as (
    select coalesce(sum(cardinality(live.contact_ids)), 0) as total
    from {opportunities} as live
    where live.id::text <> all({changed_opportunities})
)

select null as part, before.total as before, after.total as after, before.rows
from before
cross join after
