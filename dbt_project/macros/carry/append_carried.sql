{#- Appends the installation's columns to the new, empty table. -#}
{% macro append_carried(target_table, carried) %}
    {%- set table = batched_name(target_table) -%}
    {%- set renames = [] -%}
    {%- if carried.appended | selectattr('generated') | list -%}
        {#- a generated column speaks of the legacy columns by their names: they have them while it is added -#}
        {%- for own, legacy in carried.legacy_names.items() -%}
            {%- if legacy in carried.own -%}
                {%- do renames.append([legacy, legacy ~ '__target']) -%}
            {%- endif -%}
            {%- do renames.append([own, legacy]) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for old, new in renames -%}
        {%- call statement() -%}
            alter table {{ table }} rename column {{ adapter.quote(old) }} to {{ adapter.quote(new) }}
        {%- endcall -%}
    {%- endfor -%}
    {%- for column in carried.appended -%}
        {%- call statement() -%}
            alter table {{ table }} add column {{ adapter.quote(column.name) }} {{ column.type }}
            {%- if column.collation %} collate {{ column.collation }}{% endif %}
            {%- if column.generated %} generated always as ({{ column.expression }}) stored
            {%- elif column.identity %} generated {{ 'always' if column.identity == 'a' else 'by default' }} as identity
            {%- elif column.expression %} default {{ column.expression }}
            {%- endif %}
            {%- if column.not_null %} not null{% endif %}
        {%- endcall -%}
    {%- endfor -%}
    {%- for old, new in renames | reverse -%}
        {%- call statement() -%}
            alter table {{ table }} rename column {{ adapter.quote(new) }} to {{ adapter.quote(old) }}
        {%- endcall -%}
    {%- endfor -%}
{% endmacro %}
