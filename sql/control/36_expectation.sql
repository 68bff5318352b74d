-- What the tables have to hold after a rollback, written down in its transaction and compared after it. `deals` stands for the
-- deals that nobody touched; those that people touched are in expected_deals, one by one.
create table if not exists crm_migration.expected_content (
    run_id text not null,
    table_name text not null,
    row_count bigint not null,
    hash text not null,
    primary key (run_id, table_name)
);

create table if not exists crm_migration.expected_deals (
    run_id text not null,
    key text not null,
    hash text,
    primary key (run_id, key)
);
comment on column crm_migration.expected_deals.hash is 'Of the row as the view deals showed it; null for a deal that is gone.';

-- Rows and hash as in a fingerprint, over some columns and without some keys.
-- `offset 0` keeps the text from being made once for each of the two hashes, which is most of the work.
create or replace function crm_migration.content_of(
    target regclass, columns text[] default null, except_keys text[] default '{}', out row_count bigint, out hash text
)
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set row_security = off
as $$
begin
    execute format(
        'select count(*), coalesce(sum(hashtextextended(whole, 1)), 0) || '':'' ||'
        ' coalesce(sum(hashtextextended(whole, 2)), 0)'
        ' from (select %1$s::text as whole from only %2$s as content where %3$s offset 0) as texts',
        coalesce('row(' || (select string_agg(format('content.%I', name), ', ') from unnest(columns) as name) || ')', '(content.*)'),
        target,
        case when except_keys = '{}' then 'true' else 'content.id::text <> all($1)' end
    ) into row_count, hash using except_keys;
end
$$;

-- The hash of each single row, over the columns of the legacy table and in its order.
create or replace function crm_migration.row_hashes(target regclass, shape regclass, keys text[])
returns table (key text, hash text)
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set row_security = off
as $$
begin
    return query execute format(
        'select content.id::text, hashtextextended(%1$s::text, 1) || '':'' || hashtextextended(%1$s::text, 2)'
        ' from %2$s as content where content.id::text = any($1)',
        (
            select 'row(' || string_agg(format('content.%I', attname), ', ' order by attnum) || ')'
            from pg_catalog.pg_attribute
            where attrelid = shape and attnum > 0 and not attisdropped
        ),
        target
    ) using keys;
end
$$;
