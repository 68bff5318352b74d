-- How many deals have a customer among their participants. A participant that somebody changed or deleted since counts as it
-- was; where it is gone, only the number of such participants is known, and no more than that many customers may be missing.
with

expected as (
    select legacy.id
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
    select participant.opportunity_id
    from {participants} as participant
    where participant.role = 'customer'
        and participant.origin = 'deal'
        and participant.id::text <> all({changed_participants})
        and participant.opportunity_id::text <> all({changed_opportunities})
),

missing as (
    select
        expected.id,
        exists (
            select
            from {participants} as participant
            where participant.opportunity_id = expected.id and participant.id::text = any({replaced_participants})
        ) as is_changed
    from expected
    where not exists (select from live where live.opportunity_id = expected.id)
),

gone as (
    select count(*) as rows
    from unnest({replaced_participants}::text[]) as replaced (participant_id)
    where not exists (select from {participants} as participant where participant.id::text = replaced.participant_id)
),

excused as (
    select
        count(*) filter (where missing.is_changed)
        + least(count(*) filter (where not missing.is_changed), (select gone.rows from gone)) as rows
    from missing
),

before as (
    select count(*) as rows
    from expected
),

after as (
    select count(*) + (select excused.rows from excused) as rows
    from live
)

select null as part, before.rows as before, after.rows as after, before.rows
from before
cross join after
