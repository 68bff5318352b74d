-- Sends an autovacuum away that is at one of these tables, where it may be for hours. The server ends one for whoever has
-- waited longer than deadlock_timeout, as nobody does in `lock_together`. It is waited for here in a mode that neither readers
-- nor writers queue behind, and no longer than it takes where the role may say how long that is. One that prevents a wraparound
-- stays.
create or replace function crm_migration.send_autovacuum_away(tables regclass[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    timeout_before constant text := current_setting('lock_timeout');
    deadlock_before constant text := current_setting('deadlock_timeout');
    may_say constant boolean := pg_catalog.has_parameter_privilege('deadlock_timeout', 'set');
    table_oid regclass;
begin
    if may_say then
        perform set_config('deadlock_timeout', '10ms', true);
    end if;
    for table_oid in
        select distinct pg_class.oid::regclass
        from pg_catalog.pg_locks
        inner join pg_catalog.pg_class on pg_class.oid = pg_locks.relation
        inner join pg_catalog.pg_stat_activity as activity on activity.pid = pg_locks.pid
        where pg_locks.granted
            and pg_locks.database = (select pg_database.oid from pg_catalog.pg_database where datname = current_database())
            and pg_locks.relation = any (tables)
            and pg_class.relkind = 'r'
            -- whoever has no role is a worker of the server
            and activity.usesysid is null
    loop
        perform set_config(
            'lock_timeout',
            (select setting::integer + 500 || 'ms' from pg_catalog.pg_settings where pg_settings.name = 'deadlock_timeout'),
            true
        );
        begin
            execute format('lock table %s in share update exclusive mode', table_oid);
        exception when lock_not_available then
            null; -- whoever wants the table will say so
        end;
    end loop;
    perform set_config('lock_timeout', timeout_before, true);
    if may_say then
        perform set_config('deadlock_timeout', deadlock_before, true);
    end if;
end
$$;

-- Locks all these tables or, when that takes longer than `at_most`, none of them: waiting for the last one counts towards
-- the same time as waiting for the first, because all that time others wait for those we have already. A view that is to be
-- dropped belongs in front of the tables it reads: that is the order in which whoever reads it locks them.
create or replace function crm_migration.lock_together(tables regclass[], lock_mode text, at_most interval) returns void
language plpgsql
set search_path = ''
as $$
declare
    timeout_before constant text := current_setting('lock_timeout');
    give_up_at timestamptz;
    remaining_ms integer;
    table_oid regclass;
    view_owner regrole;
begin
    perform crm_migration.send_autovacuum_away(tables);
    give_up_at := clock_timestamp() + at_most;
    foreach table_oid in array tables
    loop
        remaining_ms := extract(epoch from give_up_at - clock_timestamp()) * 1000;
        if remaining_ms < 1 then
            raise lock_not_available using message = format('the locks up to %s took too long', table_oid);
        end if;
        perform set_config('lock_timeout', remaining_ms || 'ms', true);
        select pg_class.relowner into view_owner
        from pg_catalog.pg_class
        where pg_class.oid = table_oid and pg_class.relkind in ('v', 'm');
        if view_owner is null then
            execute format('lock table %s in %s mode', table_oid, lock_mode);
        else
            -- LOCK would go on to what the view reads, in other schemas too; this changes nothing, and locks the view alone
            execute format('alter table %s owner to %s', table_oid, view_owner);
        end if;
    end loop;
    perform set_config('lock_timeout', timeout_before, true);
end
$$;

-- The tables of the CRM that the fence belongs on; those of extensions are not the CRM's.
create or replace function crm_migration.tables_to_fence(crm_schema text default 'public') returns setof regclass
language sql
stable
set search_path = ''
as $$
    select pg_class.oid::regclass
    from pg_catalog.pg_class
    where pg_class.relnamespace = crm_schema::regnamespace
        and pg_class.relkind in ('r', 'p')
        and not exists (
            select from pg_catalog.pg_depend
            where pg_depend.classid = 'pg_catalog.pg_class'::regclass and pg_depend.objid = pg_class.oid and pg_depend.deptype = 'e'
        )
    order by pg_class.oid
$$;

-- The tables that have the fence.
create or replace function crm_migration.fenced_tables() returns setof regclass
language sql
stable
set search_path = ''
as $$
    select pg_trigger.tgrelid::regclass
    from pg_catalog.pg_trigger
    where pg_trigger.tgname = 'crm_migrate_fence' and pg_trigger.tgparentid = 0
    order by pg_trigger.tgrelid
$$;
