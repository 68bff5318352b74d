{#- Small pieces of the materialization. -#}

{% macro batched_key(load) %}
    {{- return(sql_literal(load.run_id) ~ ', ' ~ sql_literal(load.model)) -}}
{% endmacro %}

{#- A relation by schema and name only; `--empty` would make a subquery of it. -#}
{% macro batched_name(relation) %}
    {{- return(adapter.quote(relation.schema) ~ '.' ~ adapter.quote(relation.identifier)) -}}
{% endmacro %}

{% macro batched_relation(name) %}
    {{- return(source(*name.split('.')) if '.' in name else ref(name)) -}}
{% endmacro %}

{#- One value; text keeps its form, whatever it looks like. -#}
{% macro batched_query(expression) %}
    {%- call statement('value', fetch_result=True) -%} select to_json({{ expression }})::text {%- endcall -%}
    {%- set value = load_result('value').table.columns[0].values()[0] -%}
    {{- return(fromjson(value) if value is string else value) -}}
{% endmacro %}

{% macro batched_lock(load) %}
    {%- call statement() -%}
        select pg_advisory_xact_lock(hashtextextended(
            {{ sql_literal('crm-migrate load ' ~ this.schema ~ '/' ~ load.run_id ~ '/' ~ load.model) }}, 0
        ))
    {%- endcall -%}
{% endmacro %}

{% macro batched_pending(ledger, load) %}
    {%- call statement('pending', fetch_result=True) -%}
        select batch_no
        from {{ ledger }}.batches
        where run_id = {{ sql_literal(load.run_id) }} and model = {{ sql_literal(load.model) }} and state = 'pending'
        order by batch_no
    {%- endcall -%}
    {%- set numbers = [] -%}
    {%- for row in load_result('pending').data -%}{%- do numbers.append(row[0] | int) -%}{%- endfor -%}
    {{- return(numbers) -}}
{% endmacro %}

{% macro batched_refuse(load, state) %}
    {%- set reasons = {
        'changed': 'its query is no longer the one that its batches were loaded with',
        'dropped': 'its table was dropped after batches had been loaded into it',
        'truncated': 'its table was truncated or rewritten after batches had been loaded into it',
    } -%}
    {{ exceptions.raise_compiler_error(
        'Run ' ~ load.run_id ~ ' cannot go on with ' ~ load.model ~ ': ' ~ reasons[state] ~ '. Start a new run.'
    ) }}
{% endmacro %}

{#- A table without statistics is planned as if it were tiny. -#}
{% macro analyze_table() %}
    {%- if model.config.materialized == 'table' -%} analyze {{ this }} {%- endif -%}
{% endmacro %}
