-- The outbox: one row per event, subject and person, written once whoever asks how often. No index beside the keys:
-- "create index if not exists" waits for every writer, and installing this schema must not wait for a mail server.
create table if not exists crm_migration.notices (
    notice_id integer generated always as identity primary key,
    event text not null check (event in (
        'day-before', 'moved', 'final-warning', 'started', 'delayed', 'called-off', 'completed', 'rolled-back', 'compat-ending'
    )),
    -- the plan or the run it speaks of
    subject text not null,
    -- the address without the difference of upper and lower case
    person text not null,
    recipient text not null,
    name text not null,
    message_id text not null unique,
    state text not null default 'pending' check (state in ('pending', 'sent', 'failed', 'expired')),
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default clock_timestamp(),
    -- asked for by name: goes out although it is not due
    by_hand boolean not null default false,
    last_error text,
    queued_at timestamptz not null default clock_timestamp(),
    sent_at timestamptz,
    unique (event, subject, person)
);

-- Which notices are due at a moment, read from the plan and from the runs. What is no longer in here is not sent any more.
create or replace function crm_migration.due_notices(moment timestamptz, late interval)
returns table (event text, subject text)
language plpgsql
stable
set search_path = ''
as $$
begin
    return query
    with recursive announced as (
        select distinct notices.subject
        from crm_migration.notices
        where notices.event in ('day-before', 'moved', 'final-warning')
    ),
    -- the migration has not happened since it was made
    planned as (
        select
            schedule.plan_id,
            schedule.replaces,
            schedule.starts_at,
            schedule.planned_at,
            schedule.starts_at + make_interval(mins => schedule.minutes) as ends_at
        from crm_migration.schedule
        where schedule.in_force
            and not exists (
                select from crm_migration.runs where runs.kind = 'apply' and runs.cutover_at > schedule.planned_at
            )
    ),
    earlier as (
        select planned.plan_id, planned.replaces as earlier_id from planned
        union all
        select earlier.plan_id, schedule.replaces
        from earlier
        inner join crm_migration.schedule on schedule.plan_id = earlier.earlier_id
    ),
    -- the last time that people were told
    told as (
        select distinct on (earlier.plan_id) earlier.plan_id, schedule.starts_at
        from earlier
        inner join crm_migration.schedule on schedule.plan_id = earlier.earlier_id
        inner join announced on announced.subject = schedule.plan_id
        order by earlier.plan_id, schedule.planned_at desc
    ),
    moved as (
        select planned.plan_id
        from planned
        inner join told on told.plan_id = planned.plan_id and told.starts_at <> planned.starts_at
        where moment < planned.starts_at
    ),
    under_way as (
        select runs.run_id, runs.started_at, runs.locked_at
        from crm_migration.runs
        where runs.kind = 'apply'
            and runs.state in ('running', 'stopped')
            and runs.locked_at is not null
            and runs.unlocked_at is null
    )
    select 'day-before', planned.plan_id
    from planned
    where moment >= planned.starts_at - interval '24 hours'
        and moment < planned.starts_at - interval '30 minutes'
        -- who was told of the move within the last day needs no second mail
        and not (planned.plan_id in (select moved.plan_id from moved) and planned.planned_at > planned.starts_at - interval '24 hours')
    union all
    select 'moved', moved.plan_id from moved
    union all
    select 'final-warning', planned.plan_id
    from planned
    where moment >= planned.starts_at - interval '30 minutes' and moment < planned.starts_at
    union all
    select 'delayed', planned.plan_id
    from planned
    inner join announced on announced.subject = planned.plan_id
    where moment >= planned.starts_at + late
        and moment < planned.ends_at + interval '12 hours'
        and not exists (
            select from crm_migration.runs
            where runs.kind = 'apply' and runs.locked_at >= planned.starts_at - interval '2 hours'
        )
    union all
    select 'delayed', under_way.run_id
    from under_way
    inner join crm_migration.schedule on schedule.in_force and schedule.planned_at < under_way.started_at
    where moment >= schedule.starts_at + make_interval(mins => schedule.minutes) + late
    union all
    select 'called-off', schedule.plan_id
    from crm_migration.schedule
    inner join announced on announced.subject = schedule.plan_id
    where schedule.called_off
        and schedule.ended_at > moment - interval '24 hours'
        and not exists (select from planned)
    union all
    select 'started', under_way.run_id from under_way
    union all
    select 'called-off', runs.run_id
    from crm_migration.runs
    where runs.kind = 'apply'
        and runs.state = 'failed'
        and runs.cutover_at is null
        and runs.finished_at > moment - interval '24 hours'
        and exists (
            select from crm_migration.notices where notices.event = 'started' and notices.subject = runs.run_id
        )
        and not exists (
            select from crm_migration.runs as newer where newer.kind = 'apply' and newer.started_at > runs.started_at
        )
    union all
    select 'completed', runs.run_id
    from crm_migration.runs
    where runs.kind = 'apply' and runs.state = 'completed' and runs.unlocked_at > moment - interval '24 hours'
    union all
    select 'rolled-back', runs.run_id
    from crm_migration.runs
    where runs.kind = 'rollback' and runs.state = 'completed' and runs.finished_at > moment - interval '24 hours';

    if pg_catalog.to_regclass('crm_compat.promises') is not null then
        return query execute
        'select ''compat-ending'', (
            select runs.run_id from crm_migration.runs
            where runs.kind = ''apply'' and runs.state = ''completed'' order by runs.started_at desc limit 1
        )
        from crm_compat.promises
        where pg_catalog.to_regclass(format(''public.%I'', promises.relation)) is not null
        having $1 >= min(promises.until) - interval ''7 days'' and $1 < min(promises.until) + interval ''7 days'''
        using moment;
    end if;
end
$$;
comment on function crm_migration.due_notices(timestamptz, interval) is 'Which notices are due at a moment: event, and the plan or run.';

-- Takes one notice to send it: the attempt is counted before it is made, and an advisory lock of the session keeps others away
-- for as long as the mail server takes, without a transaction that anybody would have to wait for.
create or replace function crm_migration.claim_notice(not_these integer[]) returns setof crm_migration.notices
language plpgsql
set search_path = ''
as $$
declare
    claimed crm_migration.notices;
begin
    for claimed in
        select *
        from crm_migration.notices
        where notices.state = 'pending'
            and notices.next_attempt_at <= clock_timestamp()
            and notices.notice_id <> all(not_these)
        order by notices.next_attempt_at, notices.notice_id
        for update skip locked
    loop
        continue when not pg_try_advisory_lock(hashtext('crm-migrate notice'), claimed.notice_id);
        return query
        update crm_migration.notices
        set
            attempts = notices.attempts + 1,
            next_attempt_at = clock_timestamp() + least(make_interval(mins => (2 ^ least(notices.attempts, 10))::integer), interval '1 hour')
        where notices.notice_id = claimed.notice_id
        returning notices.*;
        return;
    end loop;
end
$$;
comment on function crm_migration.claim_notice(integer []) is 'Takes one pending notice; release it with pg_advisory_unlock.';
