-- holds for: 4984673181701201
-- by: deal_id
-- A deal that changed, or whose company, category, principal, distributor or agreement means something else now.
select id as key from {deals}
union all
select deals.deal_id
from crm_build.stg_legacy__deals as deals
inner join {int_companies__roles} as roles on roles.company_id = deals.company_id
union all
select deals.deal_id
from crm_build.stg_legacy__deals as deals
inner join {int_companies__category_principals} as principals on principals.category_key = lower(btrim(deals.category))
union all
select kept.deal_id
from crm_build.int_deals__organizations as kept
inner join {int_companies__roles} as roles on roles.company_id = kept.principal_organization_id
union all
select kept.deal_id
from crm_build.int_deals__organizations as kept
inner join {int_companies__roles} as roles on roles.company_id = kept.distributor_organization_id
union all
select kept.deal_id
from crm_build.int_deals__organizations as kept
inner join {int_organizations__agreements} as agreements
    on agreements.principal_organization_id = kept.principal_organization_id
    and agreements.distributor_organization_id = kept.distributor_organization_id
