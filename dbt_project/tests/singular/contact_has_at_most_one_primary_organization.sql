select contact_id
from {{ ref('contact_organizations') }}
where is_primary_organization
    and deleted_at is null
group by contact_id
having count(*) > 1
