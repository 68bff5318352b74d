-- Where a record is looked for: whether the new tables are published, and what the older names are in this database.
select
    to_regclass(%(opportunities)s) is not null
    and not exists (
        select from pg_catalog.pg_class
        where pg_class.oid = to_regclass('public.deals') and pg_class.relkind in ('r', 'p')
    ) as migrated,
    to_regclass('crm_archive.deals') is not null as archived,
    to_regclass('crm_build.opportunities') is not null as built,
    -- the other notes' name goes with the old names, and in the end with the archive
    to_regclass('public."contactNotes"') is not null as is_2025,
    to_regclass('crm_migration.runs') is not null as known
