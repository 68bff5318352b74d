-- One page of opportunities.
select
    page.id,
    page.name as title,
    page.stage::text,
    page.amount,
    customers.name as customer,
    principals.name as principal
from (
    select id, name, stage, amount, customer_organization_id, principal_organization_id
    from {opportunities}
    where deleted_at is null and {match} and {beyond}
    order by {order}
    limit {limit}
) as page
left join public.companies as customers on customers.id = page.customer_organization_id
left join public.companies as principals on principals.id = page.principal_organization_id
order by {order}
