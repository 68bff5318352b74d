select
    contact_id,
    organization_id
from {{ ref('contact_organizations') }}
where deleted_at is null
group by contact_id, organization_id
having count(*) > 1
