-- Who still writes through the compatibility views. Reads are not counted here: the API reads in read-only transactions.
create table crm_compat.usage (
    role_name text not null,
    day date not null,
    backend_pid integer not null,
    relation text not null,
    operation text not null,
    writes bigint not null,
    first_at timestamptz not null default now(),
    last_at timestamptz not null default now(),
    primary key (role_name, day, backend_pid, relation, operation)
);
comment on table crm_compat.usage is 'One row per role, day, backend, view and operation; a row of its own for each backend, so that nobody waits for anybody.';

create function crm_compat.count_use() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    -- the owner is the current user here; the API says its role by "set role"
    who text := coalesce(nullif(current_setting('role', true), 'none'), session_user);
begin
    if coalesce(current_setting('crm_compat.told', true), '') <> 'on' then
        raise notice 'public.% is kept for the old application only: use %.', quote_ident(tg_table_name), tg_argv[0]
            using hint = (
                select format('It goes away on %s.', to_char(promises.until at time zone 'UTC', 'YYYY-MM-DD'))
                from crm_compat.promises
                where promises.relation = tg_table_name
            );
        perform set_config('crm_compat.told', 'on', false);
    end if;
    insert into crm_compat.usage as counted (role_name, day, backend_pid, relation, operation, writes)
    values (who, (now() at time zone 'UTC')::date, pg_backend_pid(), tg_table_name, lower(tg_op), 1)
    on conflict (role_name, day, backend_pid, relation, operation) do update
    set writes = counted.writes + 1, last_at = excluded.last_at;
    return null;
exception
    -- counting never costs anybody a write
    when others then
        return null;
end
$$;
comment on function crm_compat.count_use() is 'Trigger: counts a statement that wrote through a compatibility view, and tells the session once.';

create table crm_compat.promises (
    relation text primary key,
    successor text not null,
    until timestamptz not null,
    dropped_at timestamptz,
    dropped_by text,
    reason text,
    -- other views read it: it left the API's schema instead
    hidden boolean not null default false
);
comment on table crm_compat.promises is 'The compatibility views, what to use instead, and until when they are promised.';
