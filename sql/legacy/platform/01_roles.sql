-- The roles through which the API of the hosted platform works. Roles belong to the whole server,
-- so two databases may be created at once: whoever comes second finds them.
do $roles$
declare
    wanted record;
    attempt integer;
begin
    for wanted in
        select *
        from (
            values
                ('anon', 'nologin noinherit'),
                ('authenticated', 'nologin noinherit'),
                ('service_role', 'nologin noinherit bypassrls'),
                ('authenticator', 'login noinherit')
        ) as role (name, attributes)
    loop
        if to_regrole(wanted.name) is null then
            begin
                execute format('create role %I %s', wanted.name, wanted.attributes);
            exception
                when duplicate_object or unique_violation then null;
            end;
        end if;
    end loop;

    for wanted in
        select role.name
        from (values ('anon'), ('authenticated'), ('service_role')) as role (name)
    loop
        for attempt in 1..20 loop
            exit when exists (
                select 1
                from pg_catalog.pg_auth_members as membership
                where
                    membership.roleid = to_regrole(wanted.name)
                    and membership.member = to_regrole('authenticator')
            );
            begin
                execute format('grant %I to authenticator', wanted.name);
            exception
                -- "tuple concurrently updated" when another database is created at the same moment
                when internal_error or unique_violation then perform pg_sleep(0.05);
            end;
        end loop;
    end loop;
end
$roles$;
