-- How many tags the contacts have.
with

before as (
    select coalesce(sum(cardinality(legacy.tags)), 0) as total, count(*) as rows
    from crm_archive.contacts as legacy
    where legacy.id::text <> all({changed_contacts})
),

after as (
    select coalesce(sum(cardinality(live.tags)), 0) as total
    from public.contacts as live
    where live.id::text <> all({changed_contacts})
)

select null as part, before.total as before, after.total as after, before.rows
from before
cross join after
