-- New rows continue after the built ones. An opportunity also continues the deals' sequence, so that the number of a deal
-- that was deleted long ago is not given out again.
select pg_catalog.setval(
    pg_catalog.pg_get_serial_sequence('crm_build.opportunities', 'id'),
    greatest(
        (select max(opportunities.id) from crm_build.opportunities),
        pg_catalog.pg_sequence_last_value(pg_catalog.pg_get_serial_sequence('public.deals', 'id')::regclass),
        1
    ),
    exists (select from crm_build.opportunities)
    or pg_catalog.pg_sequence_last_value(pg_catalog.pg_get_serial_sequence('public.deals', 'id')::regclass) is not null
);

do $$
declare
    built text;
    highest bigint;
begin
    foreach built in array array[
        'contact_organizations', 'contact_preferred_principals', 'opportunity_participants', 'opportunity_products',
        'activities', 'interaction_participants'
    ]
    loop
        execute format('select max(id) from crm_build.%I', built) into highest;
        perform pg_catalog.setval(
            pg_catalog.pg_get_serial_sequence(format('crm_build.%I', built), 'id'),
            greatest(highest, 1),
            highest is not null
        );
    end loop;
end
$$;
