{#
    The host of a website, for comparing: without scheme, login, www., port and path, in lower case. Null where nothing is left.

    Arguments:
        column: an expression of type text.
#}
{% macro website_domain(column) -%}
nullif(
        regexp_replace(
            regexp_replace(lower(btrim({{ column }}, e' \t\r\n')), '^([a-z][a-z0-9+.-]*:)?//|[/?#].*$', '', 'g'),
            '^([^@]*@)?(www\.)?|[.]?(:[0-9]*)?$', '', 'g'
        ),
        ''
    )
{%- endmacro %}
