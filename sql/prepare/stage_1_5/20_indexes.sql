-- products
create index if not exists products_principal_organization_id_idx on crm_build.products (principal_organization_id);
create index if not exists products_category_idx on crm_build.products (category);
create index if not exists products_created_by_idx on crm_build.products (created_by);
create unique index if not exists products_one_live_sku_idx on crm_build.products (principal_organization_id, sku)
where deleted_at is null;

-- principal_distributor_relationships
create index if not exists principal_distributor_relationships_principal_id_idx
on crm_build.principal_distributor_relationships (principal_organization_id);
create index if not exists principal_distributor_relationships_distributor_id_idx
on crm_build.principal_distributor_relationships (distributor_organization_id);
create index if not exists principal_distributor_relationships_status_idx
on crm_build.principal_distributor_relationships (status);
create index if not exists principal_distributor_relationships_created_by_idx
on crm_build.principal_distributor_relationships (created_by);
create unique index if not exists principal_distributor_relationships_one_active_idx
on crm_build.principal_distributor_relationships (principal_organization_id, distributor_organization_id)
where status = 'active' and deleted_at is null;
