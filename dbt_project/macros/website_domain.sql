{#- The host of a website, for comparing. The scheme goes first: of a website like //host/path the rest looks like a path. -#}
{% macro website_domain(column) -%}
nullif(
        regexp_replace(
            regexp_replace(
                regexp_replace(lower(btrim({{ column }}, e' \t\r\n')), '^([a-z][a-z0-9+.-]*:)?//', ''),
                '[/?#].*$', ''
            ),
            '^([^@]*@)?(www\.)?|[.]?(:[0-9]*)?$', '', 'g'
        ),
        ''
    )
{%- endmacro %}
