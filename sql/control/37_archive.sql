-- What the archive has to hold, and which database it belongs to: written in the cutover's transaction, asked by
-- `archive status`, `export` and `purge`.
create table if not exists crm_migration.archives (
    run_id text primary key,
    system_identifier text not null,
    database_oid oid not null,
    database_name text not null,
    sealed_at timestamptz not null default clock_timestamp(),
    purge_started_at timestamptz,
    purged_at timestamptz
);
comment on table crm_migration.archives is 'One row per cutover: the database in which it was made, and what became of its archive.';

create table if not exists crm_migration.archived_tables (
    run_id text not null references crm_migration.archives (run_id) on delete cascade,
    table_name text not null,
    row_count bigint not null,
    hash text not null,
    primary key (run_id, table_name)
);
comment on column crm_migration.archived_tables.hash is 'Of the legacy table under the lock, over the text of its rows, as in a fingerprint.';

-- Which database this is. A copy that was restored or made from a template has another one.
create or replace function crm_migration.identity_of_database(
    out system_identifier text, out database_oid oid, out database_name text
)
language sql
stable
set search_path = ''
as $$
    select control.system_identifier::text, pg_database.oid, pg_database.datname::text
    from pg_catalog.pg_control_system() as control, pg_catalog.pg_database
    where pg_database.datname = pg_catalog.current_database()
$$;

-- Takes a schema, and every relation in it, from everybody but the owner; default privileges may have given it away.
create or replace function crm_migration.keep_to_owner(schema_name text) returns void
language plpgsql
set search_path = ''
as $$
declare
    one record;
begin
    for one in
        select distinct case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end as grantee
        from pg_catalog.pg_namespace
        cross join lateral pg_catalog.aclexplode(pg_namespace.nspacl) as acl
        where pg_namespace.nspname = schema_name and acl.grantee <> pg_namespace.nspowner
    loop
        execute format('revoke all on schema %I from %s', schema_name, one.grantee);
    end loop;
    perform crm_migration.revoke_all(own.oid::regclass) from crm_migration.own_relations(schema_name) as own;
end
$$;
