-- New rows continue after the built ones.
select crm_migration.continue_numbers(('crm_build.' || built.name)::regclass)
from (values ('products'), ('principal_distributor_relationships')) as built (name);
