{#-
  Columns that an installation added to a legacy table, which the contract of a model cannot know. They are read from
  the catalog when the model executes.

  config carry_from: {relation: 'source.table', key: its key, known: [columns of a stock table],
                      adopt: [target columns that may take the values of a column of the same name and type],
                      legacy_names: {target column: legacy column}, where the name differs}

  A column whose name is free is appended to the target. A name that the target uses for something else is adopted where
  that is allowed and the type is the same; else its values go into legacy_attributes, as text: {"column": "value"}.
-#}
{% macro carried_columns(columns) %}
    {%- set carry = config.get('carry_from') -%}
    {%- set carried = {'appended': [], 'adopted': [], 'attributes': []} -%}
    {%- if carry -%}
        {%- set relation = batched_name(batched_relation(carry.relation)) -%}
        {%- set own = {} -%}
        {%- for column in columns -%}{%- do own.update({column.name: column}) -%}{%- endfor -%}
        {%- for extra in installation_columns(relation, carry.known) -%}
            {%- if extra.name not in own -%}
                {%- do carried.appended.append(extra) -%}
            {%- elif extra.name in carry.get('adopt', []) and extra.type == own[extra.name].data_type -%}
                {%- do carried.adopted.append(extra.name) -%}
            {%- else -%}
                {%- do carried.attributes.append(extra.name) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if carried.appended or carried.adopted or carried.attributes -%}
            {%- do carried.update({
                'relation': relation, 'key': carry.key, 'legacy_names': carry.get('legacy_names', {}), 'own': own.keys() | list,
            }) -%}
        {%- endif -%}
    {%- endif -%}
    {{- return(carried) -}}
{% endmacro %}

{% macro installation_columns(relation, known) %}
    {%- set names = [] -%}
    {%- for name in known -%}{%- do names.append(sql_literal(name)) -%}{%- endfor -%}
    {{- return(batched_query("(
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'name', pg_attribute.attname,
                    'type', format_type(pg_attribute.atttypid, pg_attribute.atttypmod),
                    'not_null', pg_attribute.attnotnull,
                    'identity', pg_attribute.attidentity,
                    'generated', pg_attribute.attgenerated <> '',
                    'expression', pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid),
                    'collation', case
                        when pg_attribute.attcollation <> pg_type.typcollation
                            then format('%I.%I', pg_namespace.nspname, pg_collation.collname)
                    end
                )
                order by pg_attribute.attnum
            ),
            '[]'
        )
        from pg_catalog.pg_attribute
        inner join pg_catalog.pg_type
            on pg_attribute.atttypid = pg_type.oid
        left join pg_catalog.pg_attrdef
            on pg_attribute.attrelid = pg_attrdef.adrelid
            and pg_attribute.attnum = pg_attrdef.adnum
        left join pg_catalog.pg_collation
            on pg_attribute.attcollation = pg_collation.oid
        left join pg_catalog.pg_namespace
            on pg_collation.collnamespace = pg_namespace.oid
        where pg_attribute.attrelid = " ~ sql_literal(relation) ~ "::regclass
            and pg_attribute.attnum > 0
            and not pg_attribute.attisdropped
            and pg_attribute.attname <> all (array[" ~ names | join(', ') ~ "]::name[])
    )")) -}}
{% endmacro %}

{#- What a column of the target gets: the model's value, the adopted one, or the attributes with what found no place. -#}
{% macro carried_value(name, carried) %}
    {%- if name in carried.adopted -%}
        {{- return('carried.' ~ adapter.quote(name)) -}}
    {%- elif name == 'legacy_attributes' and carried.attributes -%}
        {%- set pairs = [] -%}
        {%- for attribute in carried.attributes -%}
            {%- do pairs.append(sql_literal(attribute) ~ ', carried.' ~ adapter.quote(attribute) ~ '::text') -%}
        {%- endfor -%}
        {{- return('nullif(jsonb_strip_nulls(jsonb_build_object(' ~ pairs | join(', ') ~ ")), '{}')") -}}
    {%- endif -%}
    {{- return('model.' ~ adapter.quote(name)) -}}
{% endmacro %}
