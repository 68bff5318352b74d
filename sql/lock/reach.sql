-- What this session may do to keep out the login roles that are named; one row for each that is still there.
select
    login.rolname::text as name,
    -- CREATEROLE alone is enough up to 15; since 16 it needs ADMIN OPTION on the role
    me.rolsuper or (
        me.rolcreaterole and (
            current_setting('server_version_num')::integer < 160000
            or exists (
                select from pg_catalog.pg_auth_members
                where pg_auth_members.roleid = login.oid
                    and pg_auth_members.admin_option
                    and pg_catalog.pg_has_role(me.oid, pg_auth_members.member, 'usage')
            )
        )
    ) as may_shut_out,
    me.rolsuper
    or pg_catalog.pg_has_role(me.oid, 'pg_signal_backend', 'usage')
    or pg_catalog.pg_has_role(me.oid, login.oid, 'usage') as may_end_sessions
from pg_catalog.pg_roles as login
inner join pg_catalog.pg_roles as me on me.rolname = current_user
where login.rolname = any(%(names)s)
