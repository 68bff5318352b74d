-- Writes into a table what another relation with the same columns holds, for some keys or for all; set-based, and only the
-- rows that differ. Generated columns make their own values. Returns the keys it wrote.
create or replace function crm_migration.common_columns(target regclass, source regclass) returns text[]
language sql
stable
set search_path = ''
as $$
    select array_agg(mine.attname::text order by mine.attnum)
    from pg_catalog.pg_attribute as mine
    inner join pg_catalog.pg_attribute as theirs
        on theirs.attrelid = source and theirs.attname = mine.attname and theirs.attnum > 0 and not theirs.attisdropped
    where mine.attrelid = target and mine.attnum > 0 and not mine.attisdropped and mine.attgenerated = ''
$$;

create or replace function crm_migration.carry_rows(
    target regclass, source regclass, key_columns text[], only_keys text[] default null
)
returns table (inserted bigint, updated bigint)
language plpgsql
set search_path = ''
as $$
declare
    columns text[] := crm_migration.common_columns(target, source);
    same_key text;
    listed text;
    assigned text;
    differs text;
    chosen text;
begin
    select
        string_agg(format('target.%1$I = source.%1$I', name), ' and ')
    into same_key
    from unnest(key_columns) as name;
    select
        string_agg(quote_ident(name), ', '),
        string_agg(format('%1$I = source.%1$I', name), ', ') filter (where name <> all(key_columns)),
        -- compared as text: json has no equality, and citext would take ABC for abc
        string_agg(format('target.%1$I::text is distinct from source.%1$I::text', name), ' or ')
    into listed, assigned, differs
    from unnest(columns) as name;
    chosen := case when only_keys is null then 'true' else format('source.%I::text = any($1)', key_columns[1]) end;

    execute format(
        'update %s as target set %s from %s as source where %s and (%s) and %s',
        target, assigned, source, same_key, differs, chosen
    ) using only_keys;
    get diagnostics updated = row_count;
    execute format(
        'insert into %1$s (%2$s) overriding system value select %2$s from %3$s as source where %4$s'
        ' and not exists (select from %1$s as target where %5$s)',
        target, listed, source, chosen, same_key
    ) using only_keys;
    get diagnostics inserted = row_count;
    return next;
end
$$;

create or replace function crm_migration.key_of(target regclass) returns text[]
language sql
stable
set search_path = ''
as $$
    select array_agg(pg_attribute.attname::text order by part.position)
    from pg_catalog.pg_index
    cross join lateral unnest(pg_index.indkey) with ordinality as part (attnum, position)
    inner join pg_catalog.pg_attribute
        on pg_attribute.attrelid = pg_index.indrelid and pg_attribute.attnum = part.attnum
    where pg_index.indrelid = target and pg_index.indisprimary
$$;

-- Makes a table hold exactly the rows of its copy. Returns how many rows it wrote or deleted.
create or replace function crm_migration.restore_from_copy(target regclass, source regclass) returns bigint
language plpgsql
set search_path = ''
as $$
declare
    key_columns text[] := crm_migration.key_of(target);
    listed text;
    touched bigint;
    carried record;
begin
    if key_columns is null then
        select string_agg(quote_ident(name), ', ') into listed
        from unnest(crm_migration.common_columns(target, source)) as name;
        execute format('delete from %s', target);
        execute format('insert into %1$s (%2$s) overriding system value select %2$s from %3$s', target, listed, source);
        get diagnostics touched = row_count;
        return touched;
    end if;
    execute format(
        'delete from %s as target where not exists (select from %s as source where %s)',
        target,
        source,
        (select string_agg(format('target.%1$I = source.%1$I', name), ' and ') from unnest(key_columns) as name)
    );
    get diagnostics touched = row_count;
    select * into carried from crm_migration.carry_rows(target, source, key_columns);
    return touched + carried.inserted + carried.updated;
end
$$;

-- Rows of a table that differ from its copy, leaving out some keys; both directions.
create or replace function crm_migration.count_differing(target regclass, source regclass, except_keys text[]) returns bigint
language plpgsql
set search_path = ''
as $$
declare
    key_columns text[] := crm_migration.key_of(target);
    differing bigint;
begin
    if key_columns is null then
        return 0;
    end if;
    execute format(
        'select count(*) from %1$s as target full join %2$s as source on %3$s'
        ' where (target.*)::text is distinct from (source.*)::text and coalesce(target.%4$I, source.%4$I)::text <> all($1)',
        target,
        source,
        (select string_agg(format('target.%1$I = source.%1$I', name), ' and ') from unnest(key_columns) as name),
        key_columns[1]
    ) into differing using coalesce(except_keys, '{}');
    return differing;
end
$$;

-- Foreign keys among the tables that are restored, with the words that make them again.
create or replace function crm_migration.foreign_keys_of(relation_names text[])
returns table (table_name text, name text, definition text, comment text)
language sql
stable
set search_path = ''
as $$
    select
        pg_constraint.conrelid::regclass::text,
        pg_constraint.conname::text,
        format(
            'alter table %s add constraint %I %s', pg_constraint.conrelid::regclass, pg_constraint.conname,
            pg_get_constraintdef(pg_constraint.oid)
        ),
        obj_description(pg_constraint.oid, 'pg_constraint')
    from pg_catalog.pg_constraint
    inner join pg_catalog.pg_class as child on child.oid = pg_constraint.conrelid
    inner join pg_catalog.pg_class as parent on parent.oid = pg_constraint.confrelid
    where pg_constraint.contype = 'f'
        and pg_constraint.conparentid = 0
        and parent.relnamespace = 'public'::regnamespace
        and parent.relname = any(relation_names)
$$;

-- What a rule of the foreign key would have done to rows whose parent went away while the key was not there. A rule that would
-- have kept the parent comes too late: the row then stays without it if it can. Returns each row as it was.
drop function if exists crm_migration.settle_orphans(regclass, text[], regclass, text[], text);
create function crm_migration.settle_orphans(
    target regclass, child_columns text[], parent regclass, parent_columns text[], on_delete text
)
returns table (key text, content jsonb, stays boolean)
language plpgsql
set search_path = ''
as $$
declare
    condition text;
    cleared text;
    nullable boolean;
    orphan record;
begin
    select
        string_agg(format('target.%I is not null', child), ' and ')
        || format(
            ' and not exists (select from %s as parent where %s)', parent,
            string_agg(format('parent.%I = target.%I', parent_column, child), ' and ')
        ),
        string_agg(format('%I = null', child), ', ')
    into condition, cleared
    from unnest(child_columns, parent_columns) as pairs (child, parent_column);
    select not bool_or(pg_attribute.attnotnull)
    into nullable
    from pg_catalog.pg_attribute
    where pg_attribute.attrelid = target and pg_attribute.attname = any(child_columns);
    stays := on_delete <> 'c' and nullable;
    for orphan in
        execute format('select id, crm_migration.document_of(target.*) as content from %s as target where %s order by id', target, condition)
    loop
        key := orphan.id::text;
        content := orphan.content;
        if stays then
            execute format('update %s set %s where id = $1', target, cleared) using orphan.id;
        else
            execute format('delete from %s where id = $1', target) using orphan.id;
        end if;
        return next;
    end loop;
end
$$;
