{#-
  Replaces dbt's macro of this name, which also writes a seed's SQL to `<target>/run/<project>/<path of the CSV>`: with an
  absolute path of the seeds' folder that is the CSV itself, and the analyst's file would be overwritten.
-#}
{% macro noop_statement(name=None, message=None, code=None, rows_affected=None, res=None) -%}
    {%- set unused = caller() -%}
    {%- if name is not none -%}
        {{ store_raw_result(name, message=message, code=code, rows_affected=rows_affected, agate_table=res) }}
    {%- endif -%}
{%- endmacro %}
