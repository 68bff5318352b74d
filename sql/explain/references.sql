-- Foreign keys of one column that refer to a table, whoever made them. The build schema tells its own story.
select
    namespace.nspname::text as schema_name,
    source.relname::text as table_name,
    attribute.attname::text as column_name
from pg_catalog.pg_constraint as reference
inner join pg_catalog.pg_class as source
    on source.oid = reference.conrelid
inner join pg_catalog.pg_namespace as namespace
    on namespace.oid = source.relnamespace
inner join pg_catalog.pg_attribute as attribute
    on attribute.attrelid = reference.conrelid
    and attribute.attnum = reference.conkey[1]
where reference.contype = 'f'
    and reference.confrelid = to_regclass(%(table)s)
    and cardinality(reference.conkey) = 1
    and namespace.nspname <> all (array['crm_build', 'crm_archive'])
    -- a partition's key is its parent's
    and reference.conparentid = 0
order by 1, 2, 3
