-- One page of organizations.
select
    page.id,
    page.name as title,
    page.organization_type::text as type,
    page.is_principal,
    page.is_distributor,
    (
        select count(*) from {opportunities} as theirs
        where theirs.customer_organization_id = page.id and theirs.deleted_at is null
    ) as opportunities
from (
    select id, name, organization_type, is_principal, is_distributor
    from public.companies
    where deleted_at is null and {match} and {beyond}
    order by {order}
    limit {limit}
) as page
order by {order}
