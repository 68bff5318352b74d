-- Which rows a table had at a moment, and in which version. A version is the transaction that wrote the row: a row that
-- still has it is the same row, whoever read it in between. The hashes are of the row's text, as in the fingerprint.

create or replace function crm_migration.versions_name(label text, relation regclass) returns text
language sql
immutable
set search_path = ''
as $$ select format('crm_versions.%I', 'versions_' || label || '_' || relation::oid) $$;

create or replace function crm_migration.totals_name(label text, relation regclass) returns text
language sql
immutable
set search_path = ''
as $$ select format('crm_versions.%I', 'totals_' || label || '_' || relation::oid) $$;

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
    versions constant text := crm_migration.versions_name(label, relation);
    totals constant text := crm_migration.totals_name(label, relation);
    total bigint;
begin
    if key is null then
        return null;
    end if;
    execute format('drop table if exists %s, %s', versions, totals);
    -- read once or twice and then dropped: nobody needs to vacuum it, and just under the lock
    execute format(
        'create table %s with (autovacuum_enabled = false) as select %s, "crm version",'
        ' hashtextextended("crm text", 1) as "crm hash", hashtextextended("crm text", 2) as "crm other hash"'
        ' from (select %2$s, content.xmin as "crm version", (content.*)::text as "crm text" from only %3$s as content offset 0) as texts',
        versions, key, relation
    );
    get diagnostics total = row_count;
    execute format('analyze %s', versions);
    execute format(
        'create table %s as select count(*) as rows, coalesce(sum("crm hash"), 0) as hash, coalesce(sum("crm other hash"), 0) as other'
        ' from %s',
        totals, versions
    );
    return total;
end
$$;

-- Finds the rows that are new, gone or of another version, with the hashes that they had. Returns how many.
create or replace function crm_migration.find_changes(label text, relation regclass) returns bigint
language plpgsql
set search_path = ''
set jit = off
set work_mem = '128MB'
set row_security = off
as $$
declare
    key text := crm_migration.version_key(relation);
begin
    return crm_migration.keep_changes(crm_migration.changes_name(label, relation), key, format(
        'select %s, before."crm version" is not null as "crm was", now."crm version" is not null as "crm is",'
        ' before."crm hash", before."crm other hash"'
        ' from %s as before full join (select %1$s, content.xmin as "crm version" from only %3$s as content) as now using (%1$s)'
        ' where before."crm version" is distinct from now."crm version"',
        key, crm_migration.versions_name(label, relation), relation
    ));
end
$$;

-- What was between two moments, by what was remembered of both: nothing of the table itself is read. A row that had another
-- text then is another row, whatever its version says.
create or replace function crm_migration.find_drift(earlier text, later text, relation regclass) returns bigint
language plpgsql
set search_path = ''
set jit = off
set work_mem = '128MB'
as $$
declare
    key text := crm_migration.version_key(relation);
begin
    return crm_migration.keep_changes(crm_migration.changes_name(earlier || '_' || later, relation), key, format(
        'select %s, one."crm version" is not null as "crm was", other."crm version" is not null as "crm is",'
        ' one."crm hash", one."crm other hash"'
        ' from %s as one full join %s as other using (%1$s)'
        ' where (one."crm version", one."crm hash") is distinct from (other."crm version", other."crm hash")',
        key, crm_migration.versions_name(earlier, relation), crm_migration.versions_name(later, relation)
    ));
end
$$;

-- The changes since the earlier moment: what was between both, and what was found since the later one. Returns how many.
create or replace function crm_migration.join_changes(earlier text, later text, relation regclass) returns bigint
language plpgsql
set search_path = ''
as $$
declare
    key text := crm_migration.version_key(relation);
begin
    return crm_migration.keep_changes(crm_migration.changes_name(earlier, relation), key, format(
        'select %s, coalesce(drift."crm was", since."crm was") as "crm was", coalesce(since."crm is", drift."crm is") as "crm is",'
        ' case when drift."crm was" is null then since."crm hash" else drift."crm hash" end as "crm hash",'
        ' case when drift."crm was" is null then since."crm other hash" else drift."crm other hash" end as "crm other hash"'
        ' from %s as drift full join %s as since using (%1$s)'
        -- what came and went between has no part in anything
        ' where coalesce(drift."crm was", since."crm was") or coalesce(since."crm is", drift."crm is")',
        key, crm_migration.changes_name(earlier || '_' || later, relation), crm_migration.changes_name(later, relation)
    ));
end
$$;

create or replace function crm_migration.keep_changes(place text, key text, query text) returns bigint
language plpgsql
set search_path = ''
as $$
declare
    total bigint;
begin
    execute format('drop table if exists %s', place);
    execute format('create table %s with (autovacuum_enabled = false) as %s', place, query);
    get diagnostics total = row_count;
    execute format('create index on %s (%s)', place, key);
    execute format('analyze %s', place);
    return total;
end
$$;

-- What the table holds, by the books: the rows that did not change as they were remembered, the others as they are. It must
-- be what reading all of it says, or a change was missed. The hash is written as crm_migration.content_of writes it.
create or replace function crm_migration.booked_content(label text, relation regclass, out row_count bigint, out hash text)
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set row_security = off
set jit = off
as $$
declare
    changes constant text := crm_migration.changes_name(label, relation);
begin
    execute format(
        'select totals.rows - gone.rows + there.rows,'
        '    (totals.hash - gone.hash + there.hash) || '':'' || (totals.other - gone.other + there.other)'
        ' from %s as totals'
        ' cross join ('
        '    select count(*) as rows, coalesce(sum("crm hash"), 0) as hash, coalesce(sum("crm other hash"), 0) as other'
        '    from %s where "crm was"'
        ' ) as gone'
        ' cross join ('
        '    select count(*) as rows, coalesce(sum(hashtextextended("crm text", 1)), 0) as hash,'
        '        coalesce(sum(hashtextextended("crm text", 2)), 0) as other'
        '    from ('
        '        select (content.*)::text as "crm text" from only %s as content inner join %2$s as changes using (%4$s) offset 0'
        '    ) as texts'
        ' ) as there',
        crm_migration.totals_name(label, relation), changes, relation, crm_migration.version_key(relation)
    ) into row_count, hash;
end
$$;
