-- Which rows a table had at a moment, and in which version. A version is the transaction that wrote the row: a row that
-- still has it is the same row, whoever read it in between. The hash is of the row's text, as in the fingerprint.

create or replace function crm_migration.versions_name(label text, relation regclass) returns text
language sql
immutable
set search_path = ''
as $$ select format('crm_versions.%I', 'versions_' || label || '_' || relation::oid) $$;

create or replace function crm_migration.changes_name(label text, relation regclass) returns text
language sql
immutable
set search_path = ''
as $$ select format('crm_versions.%I', 'changes_' || label || '_' || relation::oid) $$;

-- The columns of a table's primary key, for statements; null where its rows cannot be told apart, for want of a key or of an
-- equality that is found without a search path. That of citext is found by way of text, which tells more apart.
create or replace function crm_migration.version_key(relation regclass) returns text
language sql
stable
set search_path = ''
as $$
    select string_agg(format('%I', pg_attribute.attname), ', ' order by part.position)
    from pg_catalog.pg_index
    cross join lateral unnest(pg_index.indkey, pg_index.indclass) with ordinality as part (attnum, opclass, position)
    inner join pg_catalog.pg_attribute on pg_attribute.attrelid = relation and pg_attribute.attnum = part.attnum
    inner join pg_catalog.pg_opclass on pg_opclass.oid = part.opclass
    inner join pg_catalog.pg_type on pg_type.oid = pg_opclass.opcintype
    where pg_index.indrelid = relation and pg_index.indisprimary
    having bool_and(pg_opclass.opcnamespace = 'pg_catalog'::regnamespace or pg_type.typname = 'citext')
$$;

-- Returns how many rows there are; null for a table whose rows cannot be told apart.
create or replace function crm_migration.remember_versions(label text, relation regclass) returns bigint
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set row_security = off
as $$
declare
    key text := crm_migration.version_key(relation);
    total bigint;
begin
    if key is null then
        return null;
    end if;
    execute format('drop table if exists %s', crm_migration.versions_name(label, relation));
    execute format(
        'create table %s as select %s, content.xmin as "crm version", hashtextextended((content.*)::text, 1) as "crm hash"'
        ' from only %s as content',
        crm_migration.versions_name(label, relation), key, relation
    );
    get diagnostics total = row_count;
    execute format('analyze %s', crm_migration.versions_name(label, relation));
    return total;
end
$$;

-- Finds the keys of the rows that are new, gone or of another version. Returns how many.
create or replace function crm_migration.find_changes(label text, relation regclass) returns bigint
language plpgsql
set search_path = ''
set jit = off
set work_mem = '128MB'
set row_security = off
as $$
declare
    key text := crm_migration.version_key(relation);
    changes constant text := crm_migration.changes_name(label, relation);
    total bigint;
begin
    execute format('drop table if exists %s', changes);
    execute format(
        'create table %s as select %s, before."crm version" is not null as "crm was", now."crm version" is not null as "crm is"'
        ' from %s as before full join (select %2$s, content.xmin as "crm version" from only %4$s as content) as now using (%2$s)'
        ' where before."crm version" is distinct from now."crm version"',
        changes, key, crm_migration.versions_name(label, relation), relation
    );
    get diagnostics total = row_count;
    execute format('create index on %s (%s)', changes, key);
    execute format('analyze %s', changes);
    return total;
end
$$;

-- What was between two moments, by what was remembered of both: nothing of the table itself is read.
create or replace function crm_migration.find_drift(earlier text, later text, relation regclass) returns void
language plpgsql
set search_path = ''
set jit = off
set work_mem = '128MB'
as $$
declare
    key text := crm_migration.version_key(relation);
    drift constant text := crm_migration.changes_name(earlier || '_' || later, relation);
begin
    execute format('drop table if exists %s', drift);
    execute format(
        'create table %s as select %s, one."crm version" is not null as "crm was", other."crm version" is not null as "crm is"'
        ' from %s as one full join %s as other using (%2$s)'
        ' where one."crm version" is distinct from other."crm version"',
        drift, key, crm_migration.versions_name(earlier, relation), crm_migration.versions_name(later, relation)
    );
    execute format('analyze %s', drift);
end
$$;

-- The changes since the earlier moment: what was between both, and what was found since the later one. Returns how many.
create or replace function crm_migration.join_changes(earlier text, later text, relation regclass) returns bigint
language plpgsql
set search_path = ''
as $$
declare
    key text := crm_migration.version_key(relation);
    changes constant text := crm_migration.changes_name(earlier, relation);
    total bigint;
begin
    execute format('drop table if exists %s', changes);
    execute format(
        'create table %s as select %s, coalesce(before."crm was", since."crm was") as "crm was",'
        ' coalesce(since."crm is", before."crm is") as "crm is"'
        ' from %s as before full join %s as since using (%2$s)'
        ' where coalesce(before."crm was", since."crm was") or coalesce(since."crm is", before."crm is")',
        changes, key, crm_migration.changes_name(earlier || '_' || later, relation), crm_migration.changes_name(later, relation)
    );
    get diagnostics total = row_count;
    execute format('create index on %s (%s)', changes, key);
    execute format('analyze %s', changes);
    return total;
end
$$;

-- What the table holds, by the books: the rows that did not change as they were remembered, the others as they are. It must
-- be what reading all of it says, or a change was missed.
create or replace function crm_migration.expected_content(label text, relation regclass, out row_count bigint, out hash numeric)
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set row_security = off
set jit = off
set work_mem = '128MB'
as $$
declare
    key text := crm_migration.version_key(relation);
begin
    execute format(
        'select sum(rows)::bigint, sum(hash) from ('
        '    select count(*) as rows, coalesce(sum("crm hash"::numeric), 0) as hash from %1$s'
        '    union all'
        '    select -count(*), -coalesce(sum(before."crm hash"::numeric), 0) from %1$s as before inner join %2$s as changes using (%3$s)'
        '    union all'
        '    select count(*), coalesce(sum(hashtextextended((content.*)::text, 1)::numeric), 0)'
        '    from only %4$s as content inner join %2$s as changes using (%3$s)'
        ') as books',
        crm_migration.versions_name(label, relation), crm_migration.changes_name(label, relation), key, relation
    ) into row_count, hash;
end
$$;
