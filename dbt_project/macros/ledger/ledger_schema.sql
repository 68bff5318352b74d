{#- Where the ledger of this build lives. Only a run of the wrapper writes to the control schema. -#}
{% macro ledger_schema() %}
    {{- return('crm_migration' if target.schema == 'crm_build' else adapter.quote(target.schema)) -}}
{% endmacro %}

{#- Which run this build belongs to. Read from the catalog when a model executes: `--vars` would parse the project again. -#}
{% macro current_build() %}
    {%- set builds_visible -%}
        select exists (
            select
            from pg_catalog.pg_class
            inner join pg_catalog.pg_namespace
                on pg_class.relnamespace = pg_namespace.oid
            where pg_namespace.nspname = 'crm_migration'
                and pg_class.relname = 'builds'
                and has_schema_privilege(pg_namespace.oid, 'usage')
                and has_table_privilege(pg_class.oid, 'select')
        )
    {%- endset -%}
    {%- set build = {'run_id': 'adhoc'} -%}
    {%- if run_query(builds_visible).rows[0][0] -%}
        {%- set query -%}
            select coalesce(
                (
                    select to_jsonb(builds)
                    from crm_migration.builds
                    where builds.schema_name = {{ sql_literal(target.schema) }}
                ),
                '{"run_id": "adhoc"}'
            )::text
        {%- endset -%}
        {%- do build.update(fromjson(run_query(query).rows[0][0])) -%}
    {%- endif -%}
    {{- return(build) -}}
{% endmacro %}
