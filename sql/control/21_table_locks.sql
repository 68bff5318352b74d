-- Locks all these tables or, when that takes longer than `at_most`, none of them: waiting for the last one counts towards
-- the same time as waiting for the first, because all that time others wait for those we have already. A view that is to be
-- dropped belongs in front of the tables it reads: that is the order in which whoever reads it locks them.
create or replace function crm_migration.lock_together(tables regclass[], lock_mode text, at_most interval) returns void
language plpgsql
set search_path = ''
as $$
declare
    timeout_before constant text := current_setting('lock_timeout');
    give_up_at constant timestamptz := clock_timestamp() + at_most;
    remaining_ms integer;
    table_oid regclass;
    view_owner regrole;
begin
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
