-- What belongs to the table deals itself, as statements that work on any table which is called public.deals and has its
-- columns. The successor bears that name for a moment.
create or replace function crm_migration.belongings(target regclass)
returns table (kind text, name text, definition text, detail jsonb)
language sql
stable
set search_path = ''
as $$
    -- "valid" has no meaning before 18 for other kinds than foreign keys and checks
    select
        case pg_constraint.contype when 'f' then 'foreign key' when 'c' then 'check' else 'key' end,
        pg_constraint.conname::text,
        format('alter table %s add constraint %I %s', target, pg_constraint.conname, pg_get_constraintdef(pg_constraint.oid)),
        jsonb_build_object(
            'columns', (
                select jsonb_agg(pg_attribute.attname order by part.position)
                from unnest(pg_constraint.conkey) with ordinality as part (attnum, position)
                inner join pg_catalog.pg_attribute
                    on pg_attribute.attrelid = target and pg_attribute.attnum = part.attnum
            ),
            'valid', pg_constraint.convalidated,
            'parent', nullif(pg_constraint.confrelid, 0)::regclass::text,
            'parent_columns', (
                select jsonb_agg(pg_attribute.attname order by part.position)
                from unnest(pg_constraint.confkey) with ordinality as part (attnum, position)
                inner join pg_catalog.pg_attribute
                    on pg_attribute.attrelid = pg_constraint.confrelid and pg_attribute.attnum = part.attnum
            ),
            'on_delete', pg_constraint.confdeltype,
            'comment', obj_description(pg_constraint.oid, 'pg_constraint')
        )
    from pg_catalog.pg_constraint
    where pg_constraint.conrelid = target and pg_constraint.contype in ('c', 'f', 'u', 'x')
    union all
    select
        'index',
        index_class.relname::text,
        pg_get_indexdef(pg_index.indexrelid),
        jsonb_build_object('comment', obj_description(pg_index.indexrelid, 'pg_class'))
    from pg_catalog.pg_index
    inner join pg_catalog.pg_class as index_class on index_class.oid = pg_index.indexrelid
    where pg_index.indrelid = target
        and pg_index.indisvalid
        and not exists (
            select from pg_catalog.pg_constraint
            where pg_constraint.conindid = pg_index.indexrelid and pg_constraint.conrelid = target
        )
    union all
    select
        'trigger',
        pg_trigger.tgname::text,
        pg_get_triggerdef(pg_trigger.oid),
        jsonb_build_object(
            'enabled', pg_trigger.tgenabled,
            'constraint', pg_trigger.tgconstraint <> 0,
            'function', pg_trigger.tgfoid::regproc::text,
            'comment', obj_description(pg_trigger.oid, 'pg_trigger')
        )
    from pg_catalog.pg_trigger
    where pg_trigger.tgrelid = target
        and not pg_trigger.tgisinternal
        and pg_trigger.tgname <> 'crm_migrate_fence'
    union all
    select 'own policy', pg_policy.polname::text, crm_migration.policy_statements(pg_policy.oid), '{}'
    from pg_catalog.pg_policy
    where pg_policy.polrelid = target
    union all
    select
        'publication',
        pg_publication.pubname::text,
        format(
            'alter publication %I add table only %s%s%s', pg_publication.pubname, target, ' (' || said.columns || ')',
            ' where (' || said.row_filter || ')'
        ),
        jsonb_build_object('columns', said.columns, 'where', said.row_filter)
    from pg_catalog.pg_publication_rel
    inner join pg_catalog.pg_publication on pg_publication.oid = pg_publication_rel.prpubid
    cross join lateral (
        select
            (
                select string_agg(quote_ident(pg_attribute.attname), ', ' order by pg_attribute.attnum)
                from pg_catalog.pg_attribute
                where pg_attribute.attrelid = target and pg_attribute.attnum = any(pg_publication_rel.prattrs)
            ) as columns,
            pg_get_expr(pg_publication_rel.prqual, pg_publication_rel.prrelid) as row_filter
    ) as said
    where pg_publication_rel.prrelid = target
    union all
    select
        'default',
        pg_attribute.attname::text,
        format(
            'alter table %s alter column %I set default %s', target, pg_attribute.attname,
            pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid)
        ),
        '{}'
    from pg_catalog.pg_attrdef
    inner join pg_catalog.pg_attribute
        on pg_attribute.attrelid = pg_attrdef.adrelid and pg_attribute.attnum = pg_attrdef.adnum
    where pg_attrdef.adrelid = target and pg_attribute.attgenerated = ''
    union all
    select
        'not null',
        pg_attribute.attname::text,
        format('alter table %s alter column %I set not null', target, pg_attribute.attname),
        '{}'
    from pg_catalog.pg_attribute
    where pg_attribute.attrelid = target and pg_attribute.attnum > 0 and pg_attribute.attnotnull
        and not pg_attribute.attisdropped
    union all
    select
        'column comment',
        pg_attribute.attname::text,
        format('comment on column %s.%I is %L', target, pg_attribute.attname, pg_description.description),
        '{}'
    from pg_catalog.pg_description
    inner join pg_catalog.pg_attribute
        on pg_attribute.attrelid = target and pg_attribute.attnum = pg_description.objsubid
    where pg_description.classoid = 'pg_catalog.pg_class'::regclass and pg_description.objoid = target
    union all
    -- a sequence of a "serial" column would move away with the table
    select
        'owned sequence',
        pg_class.relname::text,
        format('alter sequence %s owned by %s.%I', pg_class.oid::regclass, target, pg_attribute.attname),
        jsonb_build_object('sequence', pg_class.oid::regclass::text, 'column', pg_attribute.attname)
    from pg_catalog.pg_depend
    inner join pg_catalog.pg_class on pg_class.oid = pg_depend.objid and pg_class.relkind = 'S'
    inner join pg_catalog.pg_attribute
        on pg_attribute.attrelid = target and pg_attribute.attnum = pg_depend.refobjsubid
    where pg_depend.classid = 'pg_catalog.pg_class'::regclass
        and pg_depend.refclassid = 'pg_catalog.pg_class'::regclass
        and pg_depend.refobjid = target
        and pg_depend.deptype = 'a'
$$;

-- Foreign keys of other tables that point to a table.
create or replace function crm_migration.references_to(target regclass)
returns table (table_name text, name text, definition text, valid boolean, on_delete "char", comment text)
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
        pg_constraint.convalidated,
        pg_constraint.confdeltype,
        obj_description(pg_constraint.oid, 'pg_constraint')
    from pg_catalog.pg_constraint
    where pg_constraint.confrelid = target
        and pg_constraint.conrelid <> target
        and pg_constraint.contype = 'f'
        and pg_constraint.conparentid = 0
    order by 1, 2
$$;

-- An index without its name and table, to see whether another table has the same one.
create or replace function crm_migration.index_shape(definition text) returns text
language sql
immutable
set search_path = ''
as $$
    select regexp_replace(definition, '^CREATE (UNIQUE )?INDEX .*? ON (ONLY )?.*? USING ', '\1')
$$;

-- Lets the numbers of a new table go on where another sequence stands, in its steps and within its bounds. Keys that are there
-- are not given out again, but for those so near to the end that there would be no number left after them.
create or replace function crm_migration.continue_numbers(target regclass, source regclass default null) returns void
language plpgsql
set search_path = ''
as $$
declare
    room constant numeric := 1000000000;
    own constant regclass := pg_get_serial_sequence(target::text, 'id');
    bounds pg_catalog.pg_sequence;
    stands bigint;
    used boolean := false;
    farthest bigint;
begin
    if source is not null then
        select pg_sequence.* into strict bounds from pg_catalog.pg_sequence where seqrelid = source;
        execute format('select last_value, is_called from %s', source) into strict stands, used;
        execute format(
            'alter sequence %s increment %s minvalue %s maxvalue %s start %s restart %s cache %s %s cycle', own,
            bounds.seqincrement, bounds.seqmin, bounds.seqmax, bounds.seqstart, stands, bounds.seqcache,
            case when bounds.seqcycle then '' else 'no' end
        );
    end if;
    select pg_sequence.* into strict bounds from pg_catalog.pg_sequence where seqrelid = own;
    stands := coalesce(stands, bounds.seqstart);
    if bounds.seqincrement > 0 then
        execute format('select max(id) from %s where id between $1 and $2', target)
            into farthest using bounds.seqmin::numeric, bounds.seqmax - room;
    else
        execute format('select min(id) from %s where id between $1 and $2', target)
            into farthest using bounds.seqmin + room, bounds.seqmax::numeric;
    end if;
    if (farthest::numeric - stands) * sign(bounds.seqincrement) >= 0 then
        stands := farthest;
        used := true;
    end if;
    perform setval(own, stands, used);
end
$$;
