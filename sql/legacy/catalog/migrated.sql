select
    to_regclass('crm_archive.deals') is not null
    and (
        to_regclass('public.opportunities') is not null
        or not exists (
            select 1
            from pg_catalog.pg_class as deals
            where deals.oid = to_regclass('public.deals') and deals.relkind in ('r', 'p')
        )
    ) as migrated
