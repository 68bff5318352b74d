-- a table of another schema is named with it
select
    case when schema.nspname = 'public' then '' else schema.nspname || '.' end || referring.relname as relation,
    key.conname::text as name
from pg_catalog.pg_constraint as key
inner join pg_catalog.pg_class as referring on referring.oid = key.conrelid
inner join pg_catalog.pg_namespace as schema on schema.oid = referring.relnamespace
where
    key.contype = 'f'
    and key.confrelid = to_regclass('public.deals')
    and key.conparentid = 0
order by relation, name
