-- The login roles through which an application may write to the CRM. The doctor asks before the control schema is there, the
-- lock asks afterwards: both ask here.
with relations as (
    select pg_class.oid, pg_class.relkind, pg_class.relowner, pg_class.relacl
    from pg_catalog.pg_class
    where pg_class.relnamespace = 'public'::regnamespace and pg_class.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
),

entries as (
    select acl.*, relations.relowner
    from relations
    cross join lateral pg_catalog.aclexplode(relations.relacl) as acl
    where relations.relkind in ('r', 'p', 'v')
    union all
    select acl.*, relations.relowner
    from relations
    inner join pg_catalog.pg_attribute on pg_attribute.attrelid = relations.oid and not pg_attribute.attisdropped
    cross join lateral pg_catalog.aclexplode(pg_attribute.attacl) as acl
    where relations.relkind in ('r', 'p', 'v')
),

writers as (
    select distinct entries.grantee as role_oid
    from entries
    where entries.grantee not in (0, entries.relowner)
        and entries.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
)

select
    login.rolname::text as name,
    login.rolcanlogin as can_login,
    login.rolconnlimit as connection_limit
from pg_catalog.pg_roles as login
where login.rolcanlogin
    and not login.rolsuper
    and not login.rolreplication
    and login.rolname not in (current_user, session_user)
    and not exists (select from relations where relations.relowner = login.oid)
    and exists (select from writers where pg_catalog.pg_has_role(login.oid, writers.role_oid, 'member'))
order by login.rolname
