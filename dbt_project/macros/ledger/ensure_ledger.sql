{#-
  The ledger of the batches: three tables and the functions that write them. A batch and the row that says it is done
  commit together, so whatever was killed goes on where it stopped.
-#}
{% macro ensure_ledger() %}
{%- set ledger = ledger_schema() -%}
{#- two builds may start at once, and `create or replace` does not wait for its like -#}
select pg_advisory_xact_lock(hashtextextended({{ sql_literal('crm-migrate ledger ' ~ ledger) }}, 0));
create schema if not exists {{ ledger }};
{{ ledger_tables(ledger) }}
{{ ledger_planning(ledger) }}
{{ ledger_loading(ledger) }}
{{ redo_functions(ledger) }}
commit;
{% endmacro %}

{% macro ledger_tables(ledger) %}
create table if not exists {{ ledger }}.model_loads (
    run_id text not null,
    model text not null,
    insert_sql text not null,
    insert_sql_md5 text not null,
    source_relation text not null,
    source_key text not null,
    -- a drop changes the oid, a truncate the file node: the ledger never says "done" over another table
    target_oid oid not null,
    target_filenode oid not null,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    primary key (run_id, model)
);

create table if not exists {{ ledger }}.batches (
    run_id text not null,
    model text not null,
    batch_no integer not null,
    -- both ends belong to the range, so that the highest possible key has a place
    key_lo bigint not null,
    key_hi bigint not null,
    state text not null default 'pending' check (state in ('pending', 'done')),
    rows_written bigint,
    rows_rejected bigint,
    attempts integer,
    ms numeric,
    started_at timestamptz,
    finished_at timestamptz,
    backend_pid integer,
    primary key (run_id, model, batch_no)
);

create table if not exists {{ ledger }}.rejected_records (
    run_id text not null,
    model text not null,
    key_value bigint not null,
    batch_no integer not null,
    sqlstate text not null,
    message text not null,
    detail text,
    constraint_name text,
    column_name text,
    source_row jsonb not null,
    logged_at timestamptz not null default clock_timestamp(),
    primary key (run_id, model, key_value)
);
{% endmacro %}
