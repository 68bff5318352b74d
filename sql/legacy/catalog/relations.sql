-- what an extension brought along is not the installation's
select
    relation.relname::text as name,
    case when relation.relkind in ('v', 'm') then 'view' else 'table' end as kind
from pg_catalog.pg_class as relation
where
    relation.relnamespace = to_regnamespace('public')
    and relation.relkind in ('r', 'p', 'f', 'v', 'm')
    and not relation.relispartition
    and not exists (
        select 1
        from pg_catalog.pg_depend as dependency
        where
            dependency.classid = 'pg_catalog.pg_class'::regclass
            and dependency.objid = relation.oid
            and dependency.deptype = 'e'
    )
order by relation.relname
