-- What the cutover found and changed, in the words that bring it back. Position is the order of rebuilding.
create table if not exists crm_migration.saved_objects (
    run_id text not null,
    position integer not null,
    kind text not null,
    identity text not null,
    definition text not null default '',
    detail jsonb not null default '{}',
    primary key (run_id, position)
);

create table if not exists crm_migration.migration_history (
    phase text not null check (phase in ('1.1', '1.2', '1.3', '1.4', '1.5')),
    name text not null,
    run_id text not null,
    rows bigint,
    applied_at timestamptz not null default clock_timestamp(),
    primary key (run_id, phase)
);
comment on table crm_migration.migration_history is 'One row per phase that a cutover published; gone again after its rollback.';

-- Switches all triggers of people off and says how they were. "disable trigger user" also covers the fence.
create or replace function crm_migration.pause_triggers(target regclass) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    states jsonb;
begin
    select coalesce(jsonb_object_agg(pg_trigger.tgname, pg_trigger.tgenabled), '{}')
    into states
    from pg_catalog.pg_trigger
    where pg_trigger.tgrelid = target and not pg_trigger.tgisinternal;
    execute format('alter table %s disable trigger user', target);
    return states;
end
$$;

create or replace function crm_migration.resume_triggers(target regclass, states jsonb) returns void
language plpgsql
set search_path = ''
as $$
declare
    one record;
begin
    for one in select key as name, value as state from jsonb_each_text(states) loop
        perform from pg_catalog.pg_trigger where tgrelid = target and tgname = one.name;
        if found then
            execute format(
                'alter table %s %s trigger %I',
                target,
                case one.state when 'D' then 'disable' when 'A' then 'enable always' when 'R' then 'enable replica' else 'enable' end,
                one.name
            );
        end if;
    end loop;
end
$$;
