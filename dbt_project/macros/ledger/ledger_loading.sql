{% macro ledger_loading(ledger) %}
-- Keeps one source row whole, with the reason why the target refused it.
create or replace function {{ ledger }}.reject_row(
    load {{ ledger }}.model_loads, batch_no integer, key bigint,
    error_state text, error_message text, error_detail text, error_constraint text, error_column text
) returns void
language plpgsql
set search_path from current
as $ledger$
declare
    whole_row jsonb;
begin
    begin
        execute format('select to_jsonb(source.*) from %s as source where source.%I = $1', load.source_relation, load.source_key)
            into strict whole_row using key;
    exception when data_exception then
        -- a json column may hold what jsonb cannot, such as the escape of a zero byte
        execute format(
            'select jsonb_build_object(''row'', (source.*)::text) from %s as source where source.%I = $1',
            load.source_relation, load.source_key
        ) into strict whole_row using key;
    end;
    insert into {{ ledger }}.rejected_records as known (
        run_id, model, key_value, batch_no, sqlstate, message, detail, constraint_name, column_name, source_row
    )
    values (
        load.run_id, load.model, key, reject_row.batch_no, error_state, error_message,
        nullif(error_detail, ''), nullif(error_constraint, ''), nullif(error_column, ''), whole_row
    )
    on conflict on constraint rejected_records_pkey do update
    set batch_no = excluded.batch_no, sqlstate = excluded.sqlstate, message = excluded.message, detail = excluded.detail,
        constraint_name = excluded.constraint_name, column_name = excluded.column_name, source_row = excluded.source_row,
        logged_at = clock_timestamp();
end
$ledger$;

-- Loads the keys from lo to hi in one statement. When a row's own fault stops it, the range is halved, each half in a
-- subtransaction, until the rows that fail stand alone.
create or replace function {{ ledger }}.load_range(
    load {{ ledger }}.model_loads, batch_no integer, lo bigint, hi bigint,
    inout written bigint, inout rejected bigint, inout attempts integer
)
language plpgsql
set search_path from current
as $ledger$
declare
    row_total bigint;
    first_key bigint;
    middle_key bigint;
    last_key bigint;
    error_state text;
    error_message text;
    error_detail text;
    error_constraint text;
    error_column text;
begin
    attempts := attempts + 1;
    begin
        begin
            -- to look for each row before it is written takes half as long again, and a first load finds none
            execute split_part(load.insert_sql, E'\n{{ batched_upsert_mark() }}\n', 1) using lo, hi;
        exception when unique_violation then
            execute load.insert_sql using lo, hi;
        end;
        get diagnostics row_total = row_count;
        written := written + row_total;
        return;
    exception when others then
        get stacked diagnostics
            error_state = returned_sqlstate, error_message = message_text, error_detail = pg_exception_detail,
            error_constraint = constraint_name, error_column = column_name;
        -- data exceptions, integrity violations and a trigger's own refusal are a row's fault; all else stops the run
        if left(error_state, 2) not in ('22', '23') and error_state <> 'P0001' then
            raise;
        end if;
    end;

    execute format(
        'select min(source.%1$I), max(source.%1$I), percentile_disc(0.5) within group (order by source.%1$I)
         from %2$s as source where source.%1$I between $1 and $2',
        load.source_key, load.source_relation
    ) into first_key, last_key, middle_key using lo, hi;

    if first_key is null then
        raise exception 'keys % to % of % fail, but % has no such rows', lo, hi, load.model, load.source_relation
            using errcode = 'data_corrupted', detail = error_message;
    elsif first_key = last_key then
        perform {{ ledger }}.reject_row(
            load, batch_no, first_key, error_state, error_message, error_detail, error_constraint, error_column
        );
        rejected := rejected + 1;
        return;
    end if;

    middle_key := least(middle_key, last_key - 1);
    select halves.written, halves.rejected, halves.attempts into written, rejected, attempts
    from {{ ledger }}.load_range(load, batch_no, first_key, middle_key, written, rejected, attempts) as halves;
    select halves.written, halves.rejected, halves.attempts into written, rejected, attempts
    from {{ ledger }}.load_range(load, batch_no, middle_key + 1, last_key, written, rejected, attempts) as halves;
end
$ledger$;

-- Loads one batch and marks it, in the caller's transaction. A batch that is done is left alone.
create or replace function {{ ledger }}.run_batch(run_id text, model text, batch_no integer)
returns setof {{ ledger }}.batches
language plpgsql
-- of the build: the models name operators of an extension without its schema
set search_path from current
-- values are cast and written as text in one way, whatever the role's own settings are
set timezone to 'UTC'
set datestyle to 'ISO, YMD'
set intervalstyle to 'postgres'
set extra_float_digits to 1
set bytea_output to 'hex'
set jit to off
-- a batch is sorted and joined in memory
set work_mem to '64MB'
as $ledger$
declare
    batch {{ ledger }}.batches;
    load {{ ledger }}.model_loads;
    began constant timestamptz := clock_timestamp();
begin
    select batches.* into strict batch
    from {{ ledger }}.batches
    where batches.run_id = run_batch.run_id and batches.model = run_batch.model and batches.batch_no = run_batch.batch_no
    for update;

    if batch.state = 'done' then
        return next batch;
        return;
    end if;

    select model_loads.* into strict load
    from {{ ledger }}.model_loads
    where model_loads.run_id = run_batch.run_id and model_loads.model = run_batch.model;

    -- a deferred constraint would fire at the commit, where no handler is left
    set constraints all immediate;

    for try_no in 1..5 loop
        begin
            select result.written, result.rejected, result.attempts
            into batch.rows_written, batch.rows_rejected, batch.attempts
            from {{ ledger }}.load_range(load, batch.batch_no, batch.key_lo, batch.key_hi, 0, 0, try_no - 1) as result;
            exit;
        exception when serialization_failure or deadlock_detected or lock_not_available then
            if try_no = 5 then
                raise;
            end if;
            perform pg_sleep(0.1 * try_no);
        end;
    end loop;

    return query
    update {{ ledger }}.batches as finished
    set state = 'done',
        rows_written = batch.rows_written,
        rows_rejected = batch.rows_rejected,
        attempts = batch.attempts,
        ms = round(extract(epoch from clock_timestamp() - began) * 1000, 1),
        started_at = began,
        finished_at = clock_timestamp(),
        backend_pid = pg_backend_pid()
    where finished.run_id = batch.run_id and finished.model = batch.model and finished.batch_no = batch.batch_no
    returning finished.*;
end
$ledger$;
{% endmacro %}
