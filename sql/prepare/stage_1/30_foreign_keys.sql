-- Foreign keys between the built tables. Those to tables that are in use come with the cutover.
do $$
declare
    wanted record;
begin
    for wanted in
        select *
        from (
            values
            ('opportunity_participants', 'opportunity_participants_opportunity_id_fkey', 'opportunity_id', 'opportunities'),
            ('opportunity_products', 'opportunity_products_opportunity_id_fkey', 'opportunity_id', 'opportunities'),
            ('activities', 'activities_opportunity_id_fkey', 'opportunity_id', 'opportunities'),
            ('interaction_participants', 'interaction_participants_activity_id_fkey', 'activity_id', 'activities')
        ) as keys (child, name, child_column, parent)
    loop
        if not exists (
            select from pg_catalog.pg_constraint
            where pg_constraint.conname = wanted.name
                and pg_constraint.conrelid = format('crm_build.%I', wanted.child)::regclass
        ) then
            execute format(
                'alter table crm_build.%I add constraint %I foreign key (%I) references crm_build.%I (id) on delete cascade not valid',
                wanted.child, wanted.name, wanted.child_column, wanted.parent
            );
        end if;
    end loop;
end
$$;
