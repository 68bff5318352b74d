-- How many deals have a customer among their participants.
with

before as (
    select count(*) as rows
    from crm_archive.deals as legacy
    where not exists (
        select
        from crm_migration.rejected_records as rejected
        where rejected.run_id = {run} and rejected.model = 'opportunities' and rejected.key_value = legacy.id
    )
    and legacy.id::text <> all({changed_opportunities})
    and legacy.company_id is not null
),

live as (
    select count(*) as rows
    from {participants} as participant
    where participant.role = 'customer'
        and participant.origin = 'deal'
        and participant.id::text <> all({changed_participants})
        and participant.opportunity_id::text <> all({changed_opportunities})
)

select null as part, before.rows as before, live.rows as after, before.rows
from before
cross join live
