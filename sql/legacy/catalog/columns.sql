select
    relation.relname::text as relation,
    attribute.attname::text as name,
    pg_catalog.format_type(attribute.atttypid, attribute.atttypmod) as type,
    attribute.attnotnull as not_null,
    attribute.attgenerated <> '' as generated
from pg_catalog.pg_attribute as attribute
inner join pg_catalog.pg_class as relation on relation.oid = attribute.attrelid
where
    relation.relnamespace = to_regnamespace('public')
    and relation.relkind in ('r', 'p')
    and attribute.attnum > 0
    and not attribute.attisdropped
order by relation.relname, attribute.attnum
