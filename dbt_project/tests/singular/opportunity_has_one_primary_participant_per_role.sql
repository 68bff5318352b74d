select
    opportunity_id,
    role
from {{ ref('opportunity_participants') }}
where is_primary
    and deleted_at is null
group by opportunity_id, role
having count(*) > 1
