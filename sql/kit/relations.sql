-- Tables and views of the CRM with their columns, as the generated types need them: one row per column, in order.
with recursive

-- a domain's values are those of what it is made of
types as (
    select
        pg_type.oid as declared,
        pg_type.oid as base
    from pg_catalog.pg_type
    where pg_type.typtype <> 'd'
    union all
    select
        pg_type.oid as declared,
        types.base
    from pg_catalog.pg_type
    inner join types
        on pg_type.typbasetype = types.declared
    where pg_type.typtype = 'd'
)

select
    relation.relname::text as relation,
    case when relation.relkind in ('v', 'm') then 'view' else 'table' end as kind,
    coalesce(obj_description(relation.oid, 'pg_class'), '') as relation_comment,
    attribute.attname::text as name,
    format_type(attribute.atttypid, attribute.atttypmod) as type,
    -- an array is told by its element, whatever its dimensions
    base.typcategory = 'A' as is_array,
    coalesce(element.typname, base.typname)::text as element,
    coalesce(element.typtype, base.typtype)::text as element_kind,
    coalesce(element_schema.nspname, base_schema.nspname)::text as element_schema,
    attribute.attnotnull or declared.typnotnull as not_null,
    attribute.atthasdef and attribute.attgenerated = '' or attribute.attidentity <> '' as has_default,
    attribute.attgenerated <> '' or attribute.attidentity = 'a' as is_generated,
    coalesce(col_description(relation.oid, attribute.attnum), '') as comment
from pg_catalog.pg_class as relation
inner join pg_catalog.pg_attribute as attribute
    on attribute.attrelid = relation.oid
    and attribute.attnum > 0
    and not attribute.attisdropped
inner join pg_catalog.pg_type as declared
    on declared.oid = attribute.atttypid
inner join types
    on types.declared = attribute.atttypid
inner join pg_catalog.pg_type as base
    on base.oid = types.base
inner join pg_catalog.pg_namespace as base_schema
    on base_schema.oid = base.typnamespace
left join types as element_types
    on element_types.declared = base.typelem
    and base.typcategory = 'A'
left join pg_catalog.pg_type as element
    on element.oid = element_types.base
left join pg_catalog.pg_namespace as element_schema
    on element_schema.oid = element.typnamespace
where relation.relnamespace = 'public'::regnamespace
    and relation.relkind in ('r', 'p', 'v', 'm')
    and not relation.relispartition
    and not exists (
        select from pg_catalog.pg_depend
        where pg_depend.classid = 'pg_catalog.pg_class'::regclass
            and pg_depend.objid = relation.oid
            and pg_depend.deptype = 'e'
    )
order by relation.relname collate "C", attribute.attnum
