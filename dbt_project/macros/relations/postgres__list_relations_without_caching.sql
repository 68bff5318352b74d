{#- A replacement of dbt's own, which puts the name of the database into the statement as it is. -#}
{% macro postgres__list_relations_without_caching(schema_relation) %}
    {% call statement('list_relations_without_caching', fetch_result=True) -%}
        select
            {{ sql_literal(schema_relation.database) }}::text as database,
            pg_class.relname::text as name,
            pg_namespace.nspname::text as schema,
            case pg_class.relkind when 'v' then 'view' when 'm' then 'materialized_view' else 'table' end as type
        from pg_catalog.pg_class
        inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
        where pg_class.relkind in ('r', 'p', 'v', 'm')
            and lower(pg_namespace.nspname) = lower({{ sql_literal(schema_relation.schema) }})
    {%- endcall %}
    {{ return(load_result('list_relations_without_caching').table) }}
{% endmacro %}
