{#-
  The legacy database exists in two generations that spell some names differently. The catalog is asked when a model
  executes; parsing needs no database.
-#}

{% macro legacy_relation(names) %}
    {%- set found = [] -%}
    {%- for name in names -%}
        {#- every name is asked for, so that each spelling is a documented dependency -#}
        {%- set candidate = source('legacy', name) -%}
        {%- if execute and not found and legacy_has(name) -%}
            {%- do found.append(candidate) -%}
        {%- elif not execute and not found -%}
            {%- do found.append(candidate) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not found -%}
        {{ exceptions.raise_compiler_error('The legacy database has none of the tables ' ~ names | join(', ')) }}
    {%- endif -%}
    {{- return(found[0]) -}}
{% endmacro %}

{% macro legacy_column(table, names) %}
    {%- for name in names -%}
        {%- if not execute or legacy_has(table, name) -%}
            {{- return('"' ~ name ~ '"') -}}
        {%- endif -%}
    {%- endfor -%}
    {{ exceptions.raise_compiler_error('The legacy table ' ~ table ~ ' has none of the columns ' ~ names | join(', ')) }}
{% endmacro %}

{% macro legacy_has(table, column=none) %}
    {%- if not execute -%}
        {{- return(true) -}}
    {%- endif -%}
    {%- set query -%}
        select exists (
            select
            from pg_catalog.pg_class
            inner join pg_catalog.pg_namespace
                on pg_class.relnamespace = pg_namespace.oid
            {% if column is not none -%}
            inner join pg_catalog.pg_attribute
                on pg_class.oid = pg_attribute.attrelid
                and pg_attribute.attname = {{ sql_literal(column) }}
                and not pg_attribute.attisdropped
            {% endif -%}
            where pg_namespace.nspname = {{ sql_literal(var('legacy_schema')) }}
                and pg_class.relname = {{ sql_literal(table) }}
                and pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
        )
    {%- endset -%}
    {{- return(run_query(query).rows[0][0]) -}}
{% endmacro %}
