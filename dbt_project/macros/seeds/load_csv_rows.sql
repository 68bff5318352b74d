{#- dbt's own calls a macro for every value of a mapping file, which takes a second per thousand lines. -#}
{% macro postgres__load_csv_rows(model, agate_table) %}
    {%- set columns = get_seed_column_quoted_csv(model, agate_table.column_names) -%}
    {%- set line = '(' ~ (['%s'] * agate_table.column_names | length) | join(', ') ~ ')' -%}
    {%- set statements = [] -%}
    {%- for lines in agate_table.rows | batch(get_batch_size()) -%}
        {%- set values = [] -%}
        {%- for row in lines -%}{%- do values.extend(row) -%}{%- endfor -%}
        {%- set statement = 'insert into ' ~ (this.render() | replace('%', '%%')) ~ ' (' ~ columns ~ ') values ' ~ ([line] * lines | length) | join(', ') -%}
        {%- do adapter.add_query(statement, bindings=values, abridge_sql_log=True) -%}
        {%- do statements.append(statement) -%}
    {%- endfor -%}
    {#- dbt writes it into its compiled files -#}
    {{- return(statements | first) -}}
{% endmacro %}
