-- the maintenance lock's own triggers are nobody's addition
select
    relation.relname::text as relation,
    defined.tgname::text as name
from pg_catalog.pg_trigger as defined
inner join pg_catalog.pg_class as relation on relation.oid = defined.tgrelid
inner join pg_catalog.pg_proc as body on body.oid = defined.tgfoid
where
    relation.relnamespace = to_regnamespace('public')
    and relation.relkind in ('r', 'p')
    and not defined.tgisinternal
    and body.pronamespace is distinct from to_regnamespace('crm_migration')
order by relation.relname, defined.tgname
