{#-
  What brings a build that was kept up to date: each model's rows that are no longer right are made anew, by the model's own
  query, and all that a model gave up or got is left in `redone__<model>` for the models after it. A model and its
  `redone__` commit together, so an update that was killed goes on where it stopped.
-#}
{% macro redo_functions(ledger) %}
-- Makes all of a table anew and keeps what did not differ; rows are the same when their key and every byte are.
create or replace function {{ ledger }}.redo_whole(schema_name text, model text, key text[], query text) returns bigint
language plpgsql
set search_path from current
set timezone to 'UTC'
set jit to off
set work_mem to '128MB'
as $redo$
declare
    present constant text := format('%I.%I', schema_name, model);
    fresh constant text := format('%I.%I', schema_name, 'fresh__' || model);
    gone constant text := format('%I.%I', schema_name, 'gone__' || model);
    redone constant text := format('%I.%I', schema_name, 'redone__' || model);
    same constant text := (select string_agg(format('old.%1$I = new.%1$I', part), ' and ') from unnest(key) as part);
    columns constant text := {{ ledger }}.columns_of(present::regclass);
    total bigint;
begin
    execute format('create table %s as select %s from (%s) as model', fresh, columns, query);
    execute format(
        'create table %s as select old.ctid as "crm place", old.* from %s as old left join %s as new on %s'
        ' where new.ctid is null or (old.*) *<> (new.*)',
        gone, present, fresh, same
    );
    execute format(
        'create table %s as select new.* from %s as new left join %s as old on %s'
        ' where old.ctid is null or (old.*) *<> (new.*)',
        redone, fresh, present, same
    );
    execute format('delete from %s as old using %s as gone where old.ctid = gone."crm place"', present, gone);
    execute format('insert into %s (%s) select %2$s from %s', present, columns, redone);
    execute format('insert into %s (%s) select %2$s from %s', redone, columns, gone);
    get diagnostics total = row_count;
    execute format('drop table %s, %s', fresh, gone);
    execute format('analyze %s', redone);
    return total;
end
$redo$;

-- Makes the rows anew that `stale` (a query that gives `key`) names by their column `by`. A column that numbers the rows
-- keeps its number where a row of the same name is there again; new rows are numbered on.
create or replace function {{ ledger }}.redo_rows(
    schema_name text, model text, by text, stale text, query text, numbered text, names text[]
) returns bigint
language plpgsql
set search_path from current
set timezone to 'UTC'
set jit to off
set work_mem to '128MB'
as $redo$
declare
    present constant text := format('%I.%I', schema_name, model);
    fresh constant text := format('%I.%I', schema_name, 'fresh__' || model);
    redone constant text := format('%I.%I', schema_name, 'redone__' || model);
    columns constant text := {{ ledger }}.columns_of(present::regclass);
    keys bigint[];
    total bigint;
begin
    execute format('select coalesce(array_agg(distinct key), ''{}'') from (%s) as stale where key is not null', stale) into keys;
    execute format('create table %s (like %s)', redone, present);
    execute format('create table %s (like %s)', fresh, present);
    execute format('insert into %s (%s) select %2$s from %s where %I = any ($1)', redone, columns, present, by) using keys;
    execute format('insert into %s (%s) select %2$s from (%s) as model', fresh, columns, query) using keys;
    if numbered is not null then
        execute format('analyze %s', redone);
        execute format(
            'update %1$s as new set %2$I = numbers.number from ('
            '    select fresh.ctid as place, coalesce(old.%2$I, greatest((select max(%2$I) from %3$s), 0)'
            '        + row_number() over (partition by old.%2$I is null order by %4$s)) as number'
            '    from %1$s as fresh left join %5$s as old on %6$s'
            ') as numbers where new.ctid = numbers.place',
            fresh, numbered, present,
            (select string_agg(format('fresh.%I', name), ', ') from unnest(names) as name),
            redone,
            (select string_agg(format('fresh.%1$I = old.%1$I', name), ' and ') from unnest(names) as name)
        );
    end if;
    execute format('delete from %s where %I = any ($1)', present, by) using keys;
    execute format('insert into %s (%s) select %2$s from %s', present, columns, fresh);
    get diagnostics total = row_count;
    execute format('insert into %s (%s) select %2$s from %s', redone, columns, fresh);
    execute format('drop table %s', fresh);
    execute format('analyze %s', redone);
    return total;
end
$redo$;

-- The columns that can be written, in their order.
create or replace function {{ ledger }}.columns_of(relation regclass) returns text
language sql
stable
set search_path from current
as $redo$
    select string_agg(format('%I', attname), ', ' order by attnum)
    from pg_catalog.pg_attribute
    where attrelid = relation and attnum > 0 and not attisdropped and attgenerated = ''
$redo$;

-- Loads these keys in one statement, or halves them until the rows that fail stand alone, as load_range does.
create or replace function {{ ledger }}.load_keys(
    load {{ ledger }}.model_loads, keys bigint[], inout written bigint, inout rejected bigint
)
language plpgsql
set search_path from current
as $redo$
declare
    row_total bigint;
    middle integer;
    error_state text;
    error_message text;
    error_detail text;
    error_constraint text;
    error_column text;
begin
    if keys = '{}' then
        return;
    end if;
    begin
        execute replace(
            split_part(load.insert_sql, E'\n{{ batched_upsert_mark() }}\n', 1), 'between $1 and $2', '= any ($1)'
        ) using keys;
        get diagnostics row_total = row_count;
        written := written + row_total;
        return;
    exception when others then
        get stacked diagnostics
            error_state = returned_sqlstate, error_message = message_text, error_detail = pg_exception_detail,
            error_constraint = constraint_name, error_column = column_name;
        if left(error_state, 2) not in ('22', '23') and error_state <> 'P0001' then
            raise;
        end if;
    end;

    if cardinality(keys) = 1 then
        perform {{ ledger }}.reject_row(
            load,
            (
                select batches.batch_no
                from {{ ledger }}.batches
                where batches.run_id = load.run_id and batches.model = load.model and keys[1] between batches.key_lo and batches.key_hi
            ),
            keys[1], error_state, error_message, error_detail, error_constraint, error_column
        );
        rejected := rejected + 1;
        return;
    end if;

    middle := cardinality(keys) / 2;
    select halves.written, halves.rejected into written, rejected
    from {{ ledger }}.load_keys(load, keys[:middle], written, rejected) as halves;
    select halves.written, halves.rejected into written, rejected
    from {{ ledger }}.load_keys(load, keys[middle + 1:], written, rejected) as halves;
end
$redo$;

-- Makes the rows of a batched table anew that `stale` (a query that gives `key`) names by its key, and keeps the ledger's
-- books of the ranges that they belong to.
create or replace function {{ ledger }}.redo_keys(run_id text, model text, stale text) returns bigint
language plpgsql
set search_path from current
-- as run_batch
set timezone to 'UTC'
set datestyle to 'ISO, YMD'
set intervalstyle to 'postgres'
set extra_float_digits to 1
set bytea_output to 'hex'
set jit to off
set work_mem to '64MB'
as $redo$
declare
    load {{ ledger }}.model_loads;
    target regclass;
    key_column text;
    redone text;
    keys bigint[];
    gone bigint[];
    present bigint[];
    written bigint;
    rejected bigint;
begin
    select model_loads.* into strict load
    from {{ ledger }}.model_loads
    where model_loads.run_id = redo_keys.run_id and model_loads.model = redo_keys.model;
    target := load.target_oid::regclass;
    select attname, format('%s.%I', relnamespace::regnamespace, 'redone__' || relname) into strict key_column, redone
    from pg_catalog.pg_index
    inner join pg_catalog.pg_attribute on attrelid = indrelid and attnum = indkey[0]
    inner join pg_catalog.pg_class on pg_class.oid = indrelid
    where indrelid = target and indisprimary and indnkeyatts = 1;

    execute format('select coalesce(array_agg(distinct key), ''{}'') from (%s) as stale where key is not null', stale) into keys;
    execute format('create table %s as select unnest(%L::bigint[]) as %I', redone, keys, key_column);
    if keys = '{}' then
        return 0;
    end if;

    -- a table that was empty has no range yet; the first one begins where the lowest key now is
    insert into {{ ledger }}.batches (run_id, model, batch_no, key_lo, key_hi, state, rows_written, rows_rejected, attempts, ms)
    select redo_keys.run_id, redo_keys.model, 1, (select min(key) from unnest(keys) as key), 9223372036854775807, 'done', 0, 0, 1, 0
    where not exists (
        select from {{ ledger }}.batches where batches.run_id = redo_keys.run_id and batches.model = redo_keys.model
    );
    update {{ ledger }}.batches
    set key_lo = least(batches.key_lo, (select min(key) from unnest(keys) as key))
    where batches.run_id = redo_keys.run_id and batches.model = redo_keys.model and batches.batch_no = 1;

    set constraints all immediate;
    delete from {{ ledger }}.rejected_records
    where rejected_records.run_id = redo_keys.run_id and rejected_records.model = redo_keys.model
        and rejected_records.key_value = any (keys);
    execute format(
        'with gone as (delete from %s where %I = any ($1) returning %2$I as key) select coalesce(array_agg(key), ''{}'') from gone',
        target, key_column
    ) into gone using keys;
    select loaded.written, loaded.rejected into written, rejected from {{ ledger }}.load_keys(load, keys, 0, 0) as loaded;
    execute format('select coalesce(array_agg(%I), ''{}'') from %s where %1$I = any ($1)', key_column, target) into present using keys;
    if cardinality(present) <> written then
        raise exception '% rows of % were written, and % are there', written, redo_keys.model, cardinality(present)
            using errcode = 'data_corrupted';
    end if;

    update {{ ledger }}.batches
    set rows_written = batches.rows_written + moved.rows,
        rows_rejected = (
            select count(*)
            from {{ ledger }}.rejected_records
            where rejected_records.run_id = redo_keys.run_id and rejected_records.model = redo_keys.model
                and rejected_records.batch_no = batches.batch_no
        )
    from (
        select ranges.batch_no, sum(step.rows) as rows
        from (
            select key, -1 as rows from unnest(gone) as key
            union all
            select key, 1 from unnest(present) as key
            union all
            select key, 0 from unnest(keys) as key
        ) as step
        inner join {{ ledger }}.batches as ranges
            on ranges.run_id = redo_keys.run_id and ranges.model = redo_keys.model
            and step.key between ranges.key_lo and ranges.key_hi
        group by ranges.batch_no
    ) as moved
    where batches.run_id = redo_keys.run_id and batches.model = redo_keys.model and batches.batch_no = moved.batch_no;
    return written;
end
$redo$;
{% endmacro %}
