-- Products and relationships refer to companies that are flagged.
create trigger crm_check_principal before insert or update of principal_organization_id, deleted_at on public.products
for each row when (new.deleted_at is null)
execute function crm_compat.check_company_flag('principal_organization_id', 'principal');
create trigger crm_check_principal before insert or update of principal_organization_id, deleted_at
on public.principal_distributor_relationships
for each row when (new.deleted_at is null)
execute function crm_compat.check_company_flag('principal_organization_id', 'principal');
create trigger crm_check_distributor before insert or update of distributor_organization_id, deleted_at
on public.principal_distributor_relationships
for each row when (new.deleted_at is null)
execute function crm_compat.check_company_flag('distributor_organization_id', 'distributor');

create trigger crm_set_audit_columns before insert or update on public.products
for each row execute function crm_compat.set_audit_columns();
create trigger crm_set_audit_columns before insert or update on public.principal_distributor_relationships
for each row execute function crm_compat.set_audit_columns();
