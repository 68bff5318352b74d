-- From the new tables to those that were in use. NOT VALID: the rows were built from the very rows they refer to, and are
-- checked before the maintenance lock is released, outside of this transaction.
do $$
declare
    wanted record;
begin
    for wanted in
        select *
        from (
            values
            ('public.opportunities', 'opportunities', 'customer_organization_id', 'companies', 'on update cascade on delete cascade'),
            ('public.opportunities', 'opportunities', 'principal_organization_id', 'companies', 'on delete set null'),
            ('public.opportunities', 'opportunities', 'distributor_organization_id', 'companies', 'on delete set null'),
            ('public.opportunities', 'opportunities', 'sales_id', 'sales', 'on delete set null'),
            ('public.contact_organizations', 'contact_organizations', 'contact_id', 'contacts', 'on delete cascade'),
            ('public.contact_organizations', 'contact_organizations', 'organization_id', 'companies', 'on delete cascade'),
            ('public.contact_organizations', 'contact_organizations', 'created_by', 'sales', 'on delete set null'),
            ('public.contact_preferred_principals', 'contact_preferred_principals', 'contact_id', 'contacts', 'on delete cascade'),
            ('public.contact_preferred_principals', 'contact_preferred_principals', 'principal_organization_id', 'companies', 'on delete cascade'),
            ('public.contact_preferred_principals', 'contact_preferred_principals', 'created_by', 'sales', 'on delete set null'),
            ('public.opportunity_participants', 'opportunity_participants', 'organization_id', 'companies', 'on delete cascade'),
            ('public.opportunity_participants', 'opportunity_participants', 'created_by', 'sales', 'on delete set null'),
            ('public.opportunity_products', 'opportunity_products', 'created_by', 'sales', 'on delete set null'),
            ('public.activities', 'activities', 'contact_id', 'contacts', 'on delete cascade'),
            ('public.activities', 'activities', 'organization_id', 'companies', 'on delete cascade'),
            ('public.activities', 'activities', 'legacy_task_id', 'tasks', 'on delete cascade'),
            ('public.activities', 'activities', 'sales_id', 'sales', 'on delete set null'),
            ('public.activities', 'activities', 'created_by', 'sales', 'on delete set null'),
            ('public.interaction_participants', 'interaction_participants', 'contact_id', 'contacts', 'on delete cascade'),
            ('public.interaction_participants', 'interaction_participants', 'organization_id', 'companies', 'on delete cascade'),
            ('public.interaction_participants', 'interaction_participants', 'created_by', 'sales', 'on delete set null')
        ) as keys (relation, prefix, child_column, parent, actions)
    loop
        if not exists (
            select from pg_catalog.pg_constraint
            where pg_constraint.conrelid = wanted.relation::regclass
                and pg_constraint.conname = format('%s_%s_fkey', wanted.prefix, wanted.child_column)
        ) then
            execute format(
                'alter table %s add constraint %I foreign key (%I) references public.%I (id) %s not valid',
                wanted.relation::regclass,
                format('%s_%s_fkey', wanted.prefix, wanted.child_column),
                wanted.child_column,
                wanted.parent,
                wanted.actions
            );
        end if;
    end loop;
end
$$;
