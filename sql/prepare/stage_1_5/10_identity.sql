-- New rows continue after the built ones.
do $$
declare
    built text;
    highest bigint;
begin
    foreach built in array array['products', 'principal_distributor_relationships']
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
