select
    principal_organization_id,
    distributor_organization_id
from {{ ref('principal_distributor_relationships') }}
where status = 'active'
    and deleted_at is null
group by principal_organization_id, distributor_organization_id
having count(*) > 1
