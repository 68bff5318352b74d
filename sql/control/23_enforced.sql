-- What the server itself refuses, so that nobody has to read every row to know that it is not there.

-- Whether no two rows of a table have the same values of these columns: a unique index of exactly these, valid, checked at
-- once, over all rows or over those of its predicate (as pg_get_expr writes it). Nulls are no values.
create or replace function crm_migration.is_unique(relation text, columns text[], predicate text default null) returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select
        from pg_catalog.pg_index
        where pg_index.indrelid = to_regclass(relation)
            and pg_index.indisunique and pg_index.indisvalid and pg_index.indimmediate
            and (pg_index.indpred is null or pg_get_expr(pg_index.indpred, pg_index.indrelid) = predicate)
            and (
                -- an expression has no column and leaves a null
                select array_agg(pg_attribute.attname::text order by pg_attribute.attname)
                from unnest(pg_index.indkey[:pg_index.indnkeyatts - 1]) as part (attnum)
                left join pg_catalog.pg_attribute
                    on pg_attribute.attrelid = pg_index.indrelid and pg_attribute.attnum = part.attnum
            ) = (select array_agg(name order by name) from unnest(columns) as name)
    )
$$;

-- Whether every filled value of a column is one of another table's: a foreign key that was checked.
create or replace function crm_migration.is_reference(relation text, column_name text, target text) returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select
        from pg_catalog.pg_constraint
        inner join pg_catalog.pg_attribute
            on pg_attribute.attrelid = pg_constraint.conrelid and array[pg_attribute.attnum] = pg_constraint.conkey
        where pg_constraint.conrelid = to_regclass(relation) and pg_constraint.confrelid = to_regclass(target)
            and pg_constraint.contype = 'f' and pg_constraint.convalidated and pg_attribute.attname = column_name
    )
$$;
