{#- A text as an SQL literal. -#}
{% macro sql_literal(value) %}
    {%- if '\\' in value | string -%}
        {{- return("E'" ~ (value | string | replace('\\', '\\\\') | replace("'", "''")) ~ "'") -}}
    {%- endif -%}
    {{- return("'" ~ (value | string | replace("'", "''")) ~ "'") -}}
{% endmacro %}
