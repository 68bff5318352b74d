alter table crm_build.products enable row level security;
alter table crm_build.principal_distributor_relationships enable row level security;
