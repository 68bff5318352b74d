{#- Everything is built in the one schema of the target: the cutover moves tables by name. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ target.schema }}
{%- endmacro %}
