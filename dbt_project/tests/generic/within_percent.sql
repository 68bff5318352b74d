{% test within_percent(model, column_name) %}

    {{ config(tags=['generic']) }}

    select {{ column_name }}
    from {{ model }}
    where {{ column_name }} < 0
        or {{ column_name }} > 100

{% endtest %}
