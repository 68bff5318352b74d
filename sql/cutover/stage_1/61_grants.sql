-- The tables that come with the opportunities have the grantees that deals had: as the maintenance lock stored them, since the
-- live catalog has the writes revoked meanwhile; without a lock (a rehearsal) as the opportunities have them.
create function crm_compat.grant_like_deals(relation regclass, only_read boolean default false) returns void
language plpgsql
set search_path = ''
as $$
declare
    given record;
begin
    -- the platform may give its roles everything on what is new: start from nothing
    for given in
        select distinct case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end as grantee
        from pg_catalog.pg_class
        cross join lateral pg_catalog.aclexplode(pg_class.relacl) as acl
        where pg_class.oid = relation and acl.grantee <> pg_class.relowner
    loop
        execute format('revoke all on %s from %s', relation, given.grantee);
    end loop;
    for given in
        select locked_grants.grantee, locked_grants.privilege, locked_grants.grantable
        from crm_migration.locked_grants
        where locked_grants.table_name = 'deals' and locked_grants.column_name is null
        union
        select
            case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end,
            acl.privilege_type,
            acl.is_grantable
        from pg_catalog.pg_class
        cross join lateral pg_catalog.aclexplode(pg_class.relacl) as acl
        where pg_class.oid = 'public.opportunities'::regclass
            and acl.grantee <> pg_class.relowner
            and not exists (select from crm_migration.locked_grants where locked_grants.table_name = 'deals')
        order by 1, 2
    loop
        continue when only_read and given.privilege <> 'SELECT';
        execute format(
            'grant %s on %s to %s%s',
            given.privilege,
            relation,
            given.grantee,
            case when given.grantable then ' with grant option' else '' end
        );
    end loop;
end
$$;
comment on function crm_compat.grant_like_deals(regclass, boolean) is 'Gives the grants of deals to a table or view that comes with the opportunities.';

-- A function that the application calls: for people who are logged in and for the server, for nobody else.
create function crm_compat.grant_call(call regprocedure) returns void
language plpgsql
set search_path = ''
as $$
declare
    role_name text;
begin
    for role_name in
        select distinct case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end
        from pg_catalog.pg_proc
        cross join lateral pg_catalog.aclexplode(coalesce(pg_proc.proacl, pg_catalog.acldefault('f', pg_proc.proowner))) as acl
        where pg_proc.oid = call and acl.grantee <> pg_proc.proowner
    loop
        execute format('revoke all on function %s from %s', call, role_name);
    end loop;
    for role_name in
        select pg_catalog.quote_ident(pg_roles.rolname)
        from pg_catalog.pg_roles
        where pg_roles.rolname in ('authenticated', 'service_role')
    loop
        execute format('grant execute on function %s to %s', call, role_name);
    end loop;
end
$$;
comment on function crm_compat.grant_call(regprocedure) is 'Lets authenticated and service_role call a function, and takes it from everybody else.';

revoke all on function crm_compat.grant_like_deals(regclass, boolean), crm_compat.grant_call(regprocedure) from public;

select crm_compat.grant_like_deals('public.contact_organizations');
select crm_compat.grant_like_deals('public.contact_preferred_principals');
select crm_compat.grant_like_deals('public.opportunity_participants');
select crm_compat.grant_like_deals('public.opportunity_products');
select crm_compat.grant_like_deals('public.activities');
select crm_compat.grant_like_deals('public.interaction_participants');
