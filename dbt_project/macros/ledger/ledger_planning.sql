{% macro ledger_planning(ledger) %}
-- Whether a load can go on: 'new', 'resumable', or why not: 'changed', 'dropped', 'truncated'.
create or replace function {{ ledger }}.load_state(
    run_id text, model text, insert_sql text, target text
) returns text
language sql stable
set search_path from current
as $ledger$
    select coalesce(
        (
            select
                case
                    when model_loads.insert_sql_md5 <> md5(load_state.insert_sql) then 'changed'
                    when to_regclass(load_state.target) is null then 'dropped'
                    when model_loads.target_oid <> to_regclass(load_state.target)::oid then 'dropped'
                    when model_loads.target_filenode <> pg_relation_filenode(to_regclass(load_state.target)) then 'truncated'
                    else 'resumable'
                end
            from {{ ledger }}.model_loads
            where model_loads.run_id = load_state.run_id
                and model_loads.model = load_state.model
        ),
        'new'
    );
$ledger$;

create or replace function {{ ledger }}.forget_load(run_id text, model text) returns void
language sql
set search_path from current
as $ledger$
    delete from {{ ledger }}.rejected_records
    where rejected_records.run_id = forget_load.run_id and rejected_records.model = forget_load.model;
    delete from {{ ledger }}.batches
    where batches.run_id = forget_load.run_id and batches.model = forget_load.model;
    delete from {{ ledger }}.model_loads
    where model_loads.run_id = forget_load.run_id and model_loads.model = forget_load.model;
$ledger$;

-- Cuts the keys of the source into ranges of `batch_size` existing keys; a load that is planned already keeps its plan.
-- Returns the number of batches.
create or replace function {{ ledger }}.plan_batches(
    run_id text, model text, insert_sql text, source_relation text, source_key text, batch_size integer, target regclass
) returns integer
language plpgsql
set search_path from current
as $ledger$
begin
    insert into {{ ledger }}.model_loads (
        run_id, model, insert_sql, insert_sql_md5, source_relation, source_key, target_oid, target_filenode
    )
    values (
        plan_batches.run_id, plan_batches.model, plan_batches.insert_sql, md5(plan_batches.insert_sql),
        plan_batches.source_relation, plan_batches.source_key, target::oid, pg_relation_filenode(target)
    )
    on conflict do nothing;

    if found then
        -- the last range stays open: a key that comes in while a live database is read belongs to it
        execute format(
            $plan$
            insert into {{ ledger }}.batches (run_id, model, batch_no, key_lo, key_hi)
            select
                $1, $2, row_number() over (order by starts.key),
                starts.key, coalesce(lead(starts.key) over (order by starts.key) - 1, 9223372036854775807)
            from (
                select source.%1$I as key, row_number() over (order by source.%1$I) as position
                from %2$s as source
            ) as starts
            where (starts.position - 1) %% $3 = 0
            $plan$,
            plan_batches.source_key, plan_batches.source_relation
        ) using plan_batches.run_id, plan_batches.model, plan_batches.batch_size;
    end if;

    return (
        select count(*)
        from {{ ledger }}.batches
        where batches.run_id = plan_batches.run_id and batches.model = plan_batches.model
    );
end
$ledger$;

create or replace function {{ ledger }}.finish_load(run_id text, model text) returns void
language sql
set search_path from current
as $ledger$
    update {{ ledger }}.model_loads
    set finished_at = clock_timestamp()
    where model_loads.run_id = finish_load.run_id
        and model_loads.model = finish_load.model
        and model_loads.finished_at is null
        and not exists (
            select
            from {{ ledger }}.batches
            where batches.run_id = finish_load.run_id
                and batches.model = finish_load.model
                and batches.state <> 'done'
        );
$ledger$;
{% endmacro %}
