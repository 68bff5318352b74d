-- New rows continue after the built ones. An opportunity also continues the deals' sequence, so that the number of a deal
-- that was deleted long ago is not given out again.
select crm_migration.continue_numbers(
    'crm_build.opportunities', pg_catalog.pg_get_serial_sequence('public.deals', 'id')::regclass
);

select crm_migration.continue_numbers(('crm_build.' || built.name)::regclass)
from (
    values
        ('contact_organizations'), ('contact_preferred_principals'), ('opportunity_participants'),
        ('opportunity_products'), ('activities'), ('interaction_participants')
) as built (name);
