{#-
  The statement that loads one range: $1 and $2 are its first and last key. What stands before the line that
  batched_upsert_mark() gives is a whole statement too, for a range that has no row in the table yet.
-#}
{% macro batched_insert(target_table, sql, columns, carried) %}
    {%- set batch_key = config.require('batch_key') -%}
    {%- set unique_key = config.require('unique_key') -%}
    {%- set unique_key = [unique_key] if unique_key is string else unique_key -%}

    {%- set names, values = [], [] -%}
    {%- for column in columns if not column.generated -%}
        {%- do names.append(adapter.quote(column.name)) -%}
        {%- do values.append(carried_value(column.name, carried)) -%}
    {%- endfor -%}
    {%- for column in carried.appended if not column.generated -%}
        {%- do names.append(adapter.quote(column.name)) -%}
        {%- do values.append('carried.' ~ adapter.quote(column.name)) -%}
    {%- endfor -%}

    {%- set present, incoming, assignments = [], [], [] -%}
    {%- set keys = unique_key | map('tojson') | list -%}
    {#- an identity that is `always` generated cannot be assigned by an update -#}
    {%- set fixed = keys + [] -%}
    {%- for column in carried.appended if column.identity == 'a' -%}{%- do fixed.append(adapter.quote(column.name)) -%}{%- endfor -%}
    {%- for name in names if name not in fixed -%}
        {%- do present.append('present.' ~ name) -%}
        {%- do incoming.append('excluded.' ~ name) -%}
        {%- do assignments.append(name ~ ' = excluded.' ~ name) -%}
    {%- endfor -%}

    {#- rows are compared by *<>, byte by byte: json has no equality, and that of citext is a loose one -#}
    {%- set statement -%}
insert into {{ batched_name(target_table) }} as present ({{ names | join(', ') }})
overriding system value
select {{ values | join(', ') }}
from (
{{ batched_body(sql, batch_key) }}
) as model
{%- if carried.relation %}
inner join {{ carried.relation }} as carried
    on model.{{ adapter.quote(batch_key) }} = carried.{{ adapter.quote(carried.key) }}
    and carried.{{ adapter.quote(carried.key) }} between $1 and $2
{%- endif %}
order by model.{{ adapter.quote(batch_key) }}
{{ batched_upsert_mark() }}
on conflict ({{ keys | join(', ') }}) do update
set {{ assignments | join(', ') }}
where row({{ present | join(', ') }})::record *<> row({{ incoming | join(', ') }})::record
    {%- endset -%}
    {{- return(statement) -}}
{% endmacro %}

{% macro batched_upsert_mark() %}
    {{- return('-- rows that are there already') -}}
{% endmacro %}
