-- Behind every foreign key, every filter of the application and every "at most one". Built in the build schema, where
-- nobody waits for them.

-- opportunities
create index if not exists opportunities_customer_organization_id_idx on crm_build.opportunities (customer_organization_id);
create index if not exists opportunities_principal_organization_id_idx on crm_build.opportunities (principal_organization_id);
create index if not exists opportunities_distributor_organization_id_idx on crm_build.opportunities (distributor_organization_id);
create index if not exists opportunities_sales_id_idx on crm_build.opportunities (sales_id);
create index if not exists opportunities_stage_idx on crm_build.opportunities (stage, "index");
-- the compatibility view filters by the legacy word; a btree would refuse the texts of some kilobytes that deals may have here
create index if not exists opportunities_legacy_stage_idx on crm_build.opportunities using spgist (legacy_stage);
create index if not exists opportunities_status_idx on crm_build.opportunities (status);
create index if not exists opportunities_priority_idx on crm_build.opportunities (priority);
create index if not exists opportunities_category_idx on crm_build.opportunities using spgist (category);
create index if not exists opportunities_archived_at_idx on crm_build.opportunities (archived_at);
create index if not exists opportunities_estimated_close_date_idx on crm_build.opportunities (estimated_close_date);
create index if not exists opportunities_next_action_date_idx on crm_build.opportunities (next_action_date)
where next_action_date is not null;
create index if not exists opportunities_contact_ids_idx on crm_build.opportunities using gin (contact_ids);
-- next to empty: lets the notes under their old name leave out those of deleted opportunities at no cost
create index if not exists opportunities_deleted_idx on crm_build.opportunities (id) where deleted_at is not null;

-- contact_organizations
create index if not exists contact_organizations_contact_id_idx on crm_build.contact_organizations (contact_id);
create index if not exists contact_organizations_organization_id_idx on crm_build.contact_organizations (organization_id);
create index if not exists contact_organizations_created_by_idx on crm_build.contact_organizations (created_by);
create index if not exists contact_organizations_role_idx on crm_build.contact_organizations (role);
create unique index if not exists contact_organizations_one_live_link_idx
on crm_build.contact_organizations (contact_id, organization_id) where deleted_at is null;
create unique index if not exists contact_organizations_one_primary_organization_idx
on crm_build.contact_organizations (contact_id) where is_primary_organization and deleted_at is null;
create unique index if not exists contact_organizations_one_primary_contact_idx
on crm_build.contact_organizations (organization_id) where is_primary_contact and deleted_at is null;
create unique index if not exists contact_organizations_one_decision_maker_idx
on crm_build.contact_organizations (organization_id) where is_primary_decision_maker and deleted_at is null;

-- contact_preferred_principals
create index if not exists contact_preferred_principals_contact_id_idx on crm_build.contact_preferred_principals (contact_id);
create index if not exists contact_preferred_principals_principal_organization_id_idx
on crm_build.contact_preferred_principals (principal_organization_id);
create index if not exists contact_preferred_principals_created_by_idx on crm_build.contact_preferred_principals (created_by);
create unique index if not exists contact_preferred_principals_one_live_idx
on crm_build.contact_preferred_principals (contact_id, principal_organization_id) where deleted_at is null;

-- opportunity_participants
create index if not exists opportunity_participants_opportunity_id_idx on crm_build.opportunity_participants (opportunity_id);
create index if not exists opportunity_participants_organization_id_idx
on crm_build.opportunity_participants (organization_id, role);
create index if not exists opportunity_participants_created_by_idx on crm_build.opportunity_participants (created_by);
create unique index if not exists opportunity_participants_one_live_idx
on crm_build.opportunity_participants (opportunity_id, organization_id, role) where deleted_at is null;
create unique index if not exists opportunity_participants_one_primary_idx
on crm_build.opportunity_participants (opportunity_id, role) where is_primary and deleted_at is null;
create unique index if not exists opportunity_participants_one_customer_idx
on crm_build.opportunity_participants (opportunity_id) where role = 'customer' and deleted_at is null;

-- opportunity_products
create index if not exists opportunity_products_opportunity_id_idx on crm_build.opportunity_products (opportunity_id);
create index if not exists opportunity_products_product_id_idx on crm_build.opportunity_products (product_id);
create index if not exists opportunity_products_created_by_idx on crm_build.opportunity_products (created_by);

-- activities
create unique index if not exists activities_legacy_task_id_key on crm_build.activities (legacy_task_id);
create index if not exists activities_opportunity_id_idx on crm_build.activities (opportunity_id, activity_date);
create index if not exists activities_contact_id_idx on crm_build.activities (contact_id, activity_date);
create index if not exists activities_organization_id_idx on crm_build.activities (organization_id, activity_date);
create index if not exists activities_sales_id_idx on crm_build.activities (sales_id);
create index if not exists activities_created_by_idx on crm_build.activities (created_by);
create index if not exists activities_activity_type_idx on crm_build.activities (activity_type, activity_date);
create index if not exists activities_interaction_type_idx on crm_build.activities (interaction_type, activity_date);
create index if not exists activities_activity_date_idx on crm_build.activities (activity_date);
create index if not exists activities_follow_up_date_idx on crm_build.activities (follow_up_date) where follow_up_required;

-- interaction_participants
create index if not exists interaction_participants_activity_id_idx on crm_build.interaction_participants (activity_id);
create index if not exists interaction_participants_contact_id_idx on crm_build.interaction_participants (contact_id);
create index if not exists interaction_participants_organization_id_idx on crm_build.interaction_participants (organization_id);
create index if not exists interaction_participants_created_by_idx on crm_build.interaction_participants (created_by);
