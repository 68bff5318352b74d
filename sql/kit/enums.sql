-- The enums that columns may have, with their values in order.
select
    namespace.nspname::text as schema_name,
    pg_type.typname::text as name,
    array_agg(pg_enum.enumlabel::text order by pg_enum.enumsortorder) as labels
from pg_catalog.pg_type
inner join pg_catalog.pg_namespace as namespace
    on namespace.oid = pg_type.typnamespace
inner join pg_catalog.pg_enum
    on pg_enum.enumtypid = pg_type.oid
where namespace.nspname not in ('pg_catalog', 'information_schema', 'crm_build')
group by namespace.nspname, pg_type.typname
order by namespace.nspname, pg_type.typname
