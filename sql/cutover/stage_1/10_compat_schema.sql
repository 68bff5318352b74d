-- The room for what the application needs but never calls by name: mappings, rules, triggers that keep old and new in step.
create schema if not exists crm_compat;
comment on schema crm_compat is 'crm-migrate: published mappings, and the functions behind triggers and compatibility views.';

-- the cutover publishes the mappings; where only some tables are at hand (a rehearsal of one stage) they are fetched here
do $$
declare
    mapping text;
begin
    foreach mapping in array array['stage_mapping', 'stage_way_back', 'activity_type_mapping']
    loop
        if pg_catalog.to_regclass('crm_compat.' || mapping) is null then
            execute format('create table crm_compat.%I as table crm_build.%I', mapping, mapping);
        end if;
    end loop;
end
$$;
-- the setting that the run was made with: what people write later is understood as what they wrote before
create table crm_compat.stage_fallback as
select coalesce(nullif(pg_catalog.current_setting('crm_migrate.fallback_stage', true), ''), 'lead') as stage;
comment on table crm_compat.stage_fallback is 'One row: the stage of a legacy word that the mapping does not know.';
comment on table crm_compat.stage_mapping is 'How a legacy stage is understood; compared after trim and lower-case.';
comment on table crm_compat.stage_way_back is 'Which legacy stage is shown for a stage that was set in the new application.';
comment on table crm_compat.activity_type_mapping is 'Which activity a task of this type is.';

-- whoever worked with deals reads the mappings; a role that the installation does not have is not asked for
do $$
declare
    reader text;
begin
    for reader in
        select distinct quoted.name
        from (
            select pg_catalog.quote_ident(pg_roles.rolname) as name
            from pg_catalog.pg_roles
            where pg_roles.rolname in ('anon', 'authenticated', 'service_role')
            union all
            select case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end
            from pg_catalog.pg_class
            cross join lateral pg_catalog.aclexplode(pg_class.relacl) as acl
            where pg_class.oid = 'public.opportunities'::regclass
        ) as quoted
    loop
        execute format('grant usage on schema crm_compat to %s', reader);
        execute format(
            'grant select on crm_compat.stage_mapping, crm_compat.stage_fallback, crm_compat.stage_way_back,'
            ' crm_compat.activity_type_mapping to %s',
            reader
        );
    end loop;
end
$$;
