{#-
  Marks where the range of a batch belongs in a model that is `batched`, and the keys that are made anew in a table. As it
  stands it is valid SQL that keeps every row, so the model can be run and unit-tested by itself.

  A model without a mark is filtered from outside, on its batch_key; PostgreSQL pushes that down through most queries,
  but a range does not travel from one side of a join to the other.
-#}
{% macro batch_filter(column) -%}
    (true /* range of the batch: {{ column }} */)
{%- endmacro %}

{% macro batched_body(sql, batch_key) %}
    {%- set mark = '\\(true /\\* range of the batch: (.*?) \\*/\\)' -%}
    {%- if modules.re.search(mark, sql) -%}
        {{- return(modules.re.sub(mark, '(\\1 between $1 and $2)', sql)) -}}
    {%- endif -%}
    {{- return(
        'select * from (\n' ~ sql ~ '\n) as unfiltered where unfiltered.' ~ adapter.quote(batch_key) ~ ' between $1 and $2'
    ) -}}
{% endmacro %}
