-- How many attachments the deal notes have.
with

before as (
    select coalesce(sum(cardinality(legacy.attachments)), 0) as total, count(*) as rows
    from {deal_notes} as legacy
    where legacy.id::text <> all({changed_opportunity_notes})
),

after as (
    select coalesce(sum(cardinality(live.attachments)), 0) as total
    from public.opportunity_notes as live
    where live.id::text <> all({changed_opportunity_notes})
)

select null as part, before.total as before, after.total as after, before.rows
from before
cross join after
