-- The principals and distributors that an organization works with, from its own side.
select
    case when pairs.principal_organization_id = {key} then 'distributor' else 'principal' end as other_is,
    others.id,
    others.name as title,
    pairs.status::text,
    pairs.commission_percent,
    pairs.origin,
    pairs.evidence,
    count(*) over () as total
from {relationships} as pairs
inner join public.companies as others
    on others.id = case
        when pairs.principal_organization_id = {key} then pairs.distributor_organization_id
        else pairs.principal_organization_id
    end
where {key} in (pairs.principal_organization_id, pairs.distributor_organization_id) and pairs.deleted_at is null
order by pairs.status, other_is, others.name, others.id
limit 100
