with legacy_deals as (
    select count(*) > 0 as present
    from pg_catalog.pg_class as deals
    where deals.oid = to_regclass('public.deals') and deals.relkind in ('r', 'p')
)

select
    case
        when to_regclass('crm_archive.deals') is not null
            then to_regclass('public.opportunities') is not null or not legacy_deals.present
        -- the archive was purged, or the program never came so far; a table of the installation may be called opportunities
        else
            to_regclass('crm_migration.archives') is not null
            and to_regclass('public.opportunities') is not null
            and not legacy_deals.present
    end as migrated
from legacy_deals
