-- The maintenance lock: one row, written before anything is changed, so that any machine can undo what was changed.
create table if not exists crm_migration.lock (
    only_one boolean primary key default true check (only_one),
    run_id text,
    phase text not null check (phase in ('preparing', 'held', 'releasing', 'released')),
    operator text not null,
    host text not null,
    pid integer not null,
    backend_pid integer not null,
    acquired_at timestamptz not null default clock_timestamp(),
    -- from here to releasing_at nobody's write was accepted
    held_at timestamptz,
    releasing_at timestamptz,
    released_at timestamptz,
    layers jsonb not null default '[]',
    access_before jsonb not null
);
alter table crm_migration.lock
add column if not exists held_at timestamptz,
add column if not exists releasing_at timestamptz;

-- The sessions that have claimed this database: one, or none.
create or replace function crm_migration.claims() returns setof integer
language sql
stable
set search_path = ''
as $$
    select pg_locks.pid
    from pg_catalog.pg_locks
    where pg_locks.locktype = 'advisory'
        and pg_locks.granted
        and pg_locks.objsubid = 1
        and pg_locks.database = (select pg_database.oid from pg_catalog.pg_database where pg_database.datname = current_database())
        and (pg_locks.classid::bigint << 32) | pg_locks.objid::bigint = hashtextextended('crm-migrate', 0)
$$;

create or replace function crm_migration.refuse_write() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- PT503: the API answers 503 to it
    raise exception 'The CRM is in maintenance: nothing can be changed until it is finished.'
        using errcode = 'PT503', hint = 'Try again later; the status page says when.';
end
$$;
comment on function crm_migration.refuse_write() is 'The fence of the maintenance lock: refuses every write, whoever asks.';

-- Puts the fence on every table of the CRM that has none yet; returns how many tables it was put on.
create or replace function crm_migration.raise_fence(crm_schema text default 'public') returns integer
language plpgsql
set search_path = ''
as $$
declare
    fenced integer := 0;
    table_oid oid;
begin
    for table_oid in
        select fenced_table
        from crm_migration.tables_to_fence(crm_schema) as fenced_table
        where not exists (
            select from pg_catalog.pg_trigger
            where pg_trigger.tgrelid = fenced_table and pg_trigger.tgname = 'crm_migrate_fence'
        )
        order by fenced_table::oid
    loop
        execute format(
            'create trigger crm_migrate_fence before insert or update or delete or truncate on %s '
            'for each statement execute function crm_migration.refuse_write()',
            table_oid::regclass
        );
        -- "always": a session that poses as a replica does not get past it either
        execute format('alter table %s enable always trigger crm_migrate_fence', table_oid::regclass);
        fenced := fenced + 1;
    end loop;
    return fenced;
end
$$;

create or replace function crm_migration.drop_fence() returns integer
language plpgsql
set search_path = ''
as $$
declare
    dropped integer := 0;
    table_oid oid;
begin
    for table_oid in
        select fenced_table
        from crm_migration.fenced_tables() as fenced_table
        order by fenced_table::oid
    loop
        execute format('drop trigger crm_migrate_fence on %s', table_oid::regclass);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;

-- Access to the CRM's objects as it is now: grants (of relations and columns) and the state of each trigger.
create or replace function crm_migration.capture_access(crm_schema text default 'public') returns jsonb
language sql
stable
set search_path = ''
as $$
    with relations as (
        select pg_class.oid, pg_class.relname::text as name, pg_class.relkind::text as kind, pg_class.relacl, pg_class.relowner
        from pg_catalog.pg_class
        where pg_class.relnamespace = crm_schema::regnamespace and pg_class.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    ),
    entries as (
        select relations.name, relations.kind, null::text as column_name, relations.relowner, acl.*
        from relations
        cross join lateral pg_catalog.aclexplode(relations.relacl) as acl
        union all
        select relations.name, relations.kind, pg_attribute.attname::text, relations.relowner, acl.*
        from relations
        inner join pg_catalog.pg_attribute on pg_attribute.attrelid = relations.oid and not pg_attribute.attisdropped
        cross join lateral pg_catalog.aclexplode(pg_attribute.attacl) as acl
    ),
    grants as (
        select
            entries.name as relation,
            entries.kind,
            entries.column_name,
            case when entries.grantee = 0 then 'public' else entries.grantee::regrole::text end as grantee,
            entries.grantee = 0 as is_public,
            entries.privilege_type as privilege,
            entries.is_grantable as grantable,
            entries.grantor = entries.relowner as by_owner
        from entries
        where entries.grantee <> entries.relowner
    ),
    triggers as (
        select pg_class.relname::text as relation, pg_trigger.tgname::text as name, pg_trigger.tgenabled::text as enabled
        from pg_catalog.pg_trigger
        inner join pg_catalog.pg_class on pg_class.oid = pg_trigger.tgrelid
        where pg_class.relnamespace = crm_schema::regnamespace
            and not pg_trigger.tgisinternal
            and pg_trigger.tgname <> 'crm_migrate_fence'
    )
    select jsonb_build_object(
        'grants', coalesce((select jsonb_agg(to_jsonb(grants) order by to_jsonb(grants)) from grants), '[]'),
        'triggers', coalesce((select jsonb_agg(to_jsonb(triggers) order by to_jsonb(triggers)) from triggers), '[]')
    )
$$;

-- Grants as they were before the lock: what the new tables are given, since the live catalog has them revoked meanwhile.
create or replace view crm_migration.locked_grants as
select
    entry.relation as table_name,
    entry.column_name,
    entry.grantee,
    entry.privilege,
    entry.grantable
from crm_migration.lock
cross join lateral jsonb_to_recordset(lock.access_before -> 'grants') as entry (
    relation text, kind text, column_name text, grantee text, privilege text, grantable boolean
)
where lock.phase <> 'released';
