-- How many attachments the contact notes have.
with

before as (
    select coalesce(sum(cardinality(legacy.attachments)), 0) as total, count(*) as rows
    from {contact_notes} as legacy
    where legacy.id::text <> all({changed_contact_notes})
),

after as (
    select coalesce(sum(cardinality(live.attachments)), 0) as total
    from {live_contact_notes} as live
    where live.id::text <> all({changed_contact_notes})
)

select null as part, before.total as before, after.total as after, before.rows
from before
cross join after
