-- What people did to a record since the migration.
select
    operation,
    changed_at,
    role_name as role
from crm_migration.changes
where table_name = any(%(tables)s) and key = %(key)s and changed_at >= %(since)s
order by id desc
limit %(most)s
